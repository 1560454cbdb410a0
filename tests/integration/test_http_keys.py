"""The key of the secrets in the spool: a wrong one stops the start and changes nothing; it can be rotated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from http_door import PROVIDERS, http_of, local
from ledger import Ledger
from relay_process import Relay
from waiting import until

MAKE = Callable[..., Relay]
PASSWORD = "s3cret-pw"


@pytest.fixture
def stopped(relay: MAKE, ledger: Callable[[], Ledger]) -> tuple[Relay, Ledger]:
    """A relay that was stopped with a provider that needs its password, and a message that waits for it."""
    upstream = ledger()
    upstream.script.login = ("app", PASSWORD)
    upstream.stop()
    one = relay(retry={"first": "1s"})
    one.config["http"] |= {"allow_private_providers": True}
    one.start()
    add(one, upstream)
    send(one, "early@example.com")
    assert one.terminate() == 0
    return one, upstream


def add(one: Relay, upstream: Ledger) -> None:
    settings = local(upstream.port, smtp_username="app", smtp_password=PASSWORD)
    http_of(one)("POST", PROVIDERS, settings).must(201)


def send(one: Relay, to: str) -> None:
    order = {"from": "app@client.test", "to": [to], "subject": "hello", "text": "Hello.\n"}
    http_of(one)("POST", "/v1/messages", order).must(202)


def key_of(one: Relay) -> Path:
    return one.folder / "spool" / "secret.key"


def bytes_of(one: Relay) -> dict[str, bytes]:
    """The key and the database; SQLite's own files beside it come and go."""
    files = (path for path in (one.folder / "spool").rglob("*") if path.is_file())
    return {path.name: path.read_bytes() for path in files if path.suffix in (".db", ".key")}


def test_the_key_is_made_once_and_only_ours(stopped: tuple[Relay, Ledger]) -> None:
    key = key_of(stopped[0])
    assert key.stat().st_mode & 0o777 == 0o600
    assert PASSWORD.encode() not in b"".join(bytes_of(stopped[0]).values())


@pytest.mark.parametrize("wrong", ["another", "garbage", "empty", "missing"])
def test_H12_a_wrong_key_stops_the_start_and_changes_nothing(stopped: tuple[Relay, Ledger], wrong: str) -> None:
    one, upstream = stopped
    right = key_of(one).read_bytes()
    if wrong == "missing":
        key_of(one).unlink()
    else:
        key_of(one).write_bytes({"another": Fernet.generate_key(), "garbage": b"no key", "empty": b""}[wrong])
    before = bytes_of(one)
    done = one.run_to_end()
    assert done.returncode in (1, 2), done.stderr
    said = [line for line in done.stderr.splitlines() if str(key_of(one)) in line or "secret.key" in line]
    assert said, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert bytes_of(one) == before

    key_of(one).write_bytes(right)
    key_of(one).chmod(0o600)
    upstream.start()
    one.start()
    assert upstream.wait_for(1)[0].recipients == ("early@example.com",)


@pytest.mark.parametrize("running", [True, False])
def test_rotation_encrypts_everything_anew(stopped: tuple[Relay, Ledger], running: bool) -> None:
    one, upstream = stopped
    before = key_of(one).read_bytes()
    if running:
        one.start()
    done = one.cli("key", "rotate")
    assert done.returncode == 0, done.stderr
    after = key_of(one).read_bytes()
    assert after != before
    assert before.strip() not in after
    assert key_of(one).stat().st_mode & 0o777 == 0o600
    assert after.decode().strip() not in done.stdout + done.stderr
    if running:
        one.restart()
    else:
        one.start()
    upstream.start()
    upstream.wait_for(1)
    until(
        lambda: http_of(one).get(PROVIDERS)[0]["health_status"] == "healthy", 5, "its password still is the right one"
    )
    one.terminate()
    key_of(one).write_bytes(before)
    assert one.run_to_end().returncode in (1, 2), "the old key is of no use any more"
    key_of(one).write_bytes(after)
