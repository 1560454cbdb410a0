"""H8: passwords and tokens that came in over HTTP or by command are nowhere to be read again, on the disk neither."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from http_door import PROVIDERS, Http, http_of, local
from ledger import Ledger
from relay_process import Relay
from waiting import until

MAKE = Callable[..., Relay]
CANARY = "c4n4ry-Zr8"
PROVIDER, REFUSED, USER = f"{CANARY}-provider", f"{CANARY}-refused", f"{CANARY}-user"


def in_disguise(secret: str) -> Iterator[bytes]:
    """As it is, and as base64 in each of its alignments: of AUTH PLAIN, of AUTH LOGIN, of anything."""
    yield secret.encode()
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + secret.encode())
        yield whole[4 if shift else 0 : -4]


def assert_clean(where: str, data: bytes, secrets: list[str]) -> None:
    found = [secret for secret in secrets for form in in_disguise(secret) if form in data]
    assert not found, f"{found} in {where}"


def said_by_api(http: Http, message: str) -> Iterator[tuple[str, bytes]]:
    for path in (
        *(PROVIDERS, f"{PROVIDERS}1/", f"{PROVIDERS}statistics/", f"{PROVIDERS}health_status/"),
        *("/v1/messages", f"/v1/messages/{message}", "/v1/queue/stats", "/v1/explain?from=a@b.test&to=c@d.test"),
        *("/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/users", "/v1/tokens"),
    ):
        yield path, http("GET", path).body
    wrong = local(1, name="", smtp_password=PROVIDER, smtp_host=5, unknown=PROVIDER)
    for method, path, body in (
        ("POST", PROVIDERS, wrong),
        ("PATCH", f"{PROVIDERS}1/", wrong),
        ("POST", f"{PROVIDERS}1/update_credentials/", {"smtp_password": [PROVIDER], PROVIDER[:10]: 1}),
        ("POST", f"{PROVIDERS}1/update_credentials/", {"smtp_password": f"{PROVIDER}\r\n"}),
        ("POST", f"{PROVIDERS}1/test/", {"test_email": "a@example.com"}),
        ("POST", f"{PROVIDERS}1/health_check/", None),
    ):
        yield f"{method} {path}", http(method, path, body).body
    yield "half a document", http.send("POST", PROVIDERS, json.dumps(wrong)[:-3].encode(), JSON).body
    yield "a login", http.login("ann", f"{USER}-wrong").body


JSON = {"Content-Type": "application/json"}


@pytest.mark.slow
def test_H8_secrets_are_nowhere(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    """Slow: a dozen commands, each a process, and all that the API says, twice."""
    upstream = ledger()
    upstream.script.login = ("app", PROVIDER)
    one = relay(log={"level": "debug", "format": "json"})
    one.config["http"] |= {"allow_private_providers": True}
    one.start()
    added = one.cli("user", "add", "ann", "--password-stdin", "--scope", "admin", given=f"{USER}\n")
    assert added.returncode == 0, added.stderr
    http = http_of(one).as_user("ann", USER)
    token = one.ask("token", "create", "--name", "ci", "--scope", "queue")["token"]
    secrets = [PROVIDER, REFUSED, USER, http.token, token]

    settings = local(upstream.port, smtp_username="app", smtp_password=PROVIDER)
    http("POST", PROVIDERS, settings).must(201)
    order = {"from": "app@client.test", "to": ["bob@example.com"], "subject": "hello", "text": "Hello.\n"}
    message = http("POST", "/v1/messages", order).must(202)["id"]
    upstream.wait_for(1)
    said = [(path, body) for path, body in said_by_api(http, message)]
    http("POST", f"{PROVIDERS}1/update_credentials/", {"smtp_password": REFUSED}).must(200)
    waiting = http("POST", "/v1/messages", order).must(202)["id"]
    until(lambda: http.get(f"{PROVIDERS}1/")["health_status"] == "unhealthy", 10, "the provider refuses it")
    said += said_by_api(http, waiting)
    for command in (("provider", "list"), ("provider", "show", "upstream"), ("user", "list"), ("token", "list")):
        for options in ((), ("--json",)):
            done = one.cli(*command, *options)
            assert done.returncode == 0, (command, done.stderr)
            said.append((" ".join(command), (done.stdout + done.stderr).encode()))
    said.append(("the arguments of the process", Path(f"/proc/{one.pid}/cmdline").read_bytes()))
    said.append(("its environment", Path(f"/proc/{one.pid}/environ").read_bytes()))
    one.cli("key", "rotate")
    said += files(one)
    one.terminate()
    said += files(one)
    for where, data in said:
        assert_clean(where, data, secrets)
    for path in ("spool.db", "relay.log"):
        assert any(where.endswith(path) for where, _ in said), path


def files(one: Relay) -> list[tuple[str, bytes]]:
    """All that lies in its folder: log, database and its journal, bodies, key."""
    return [(str(path), path.read_bytes()) for path in one.folder.rglob("*") if path.is_file()]
