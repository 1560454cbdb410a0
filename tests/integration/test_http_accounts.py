"""Who may: open to loopback until somebody is known, then by token only; users and tokens made by hand at once."""

from __future__ import annotations

import smtplib
import time
from collections.abc import Callable

import pytest
from certificates import Certificate
from clients import Door, letter, send, smtp
from http_door import PROVIDERS, http_of
from relay_process import Relay
from waiting import until

MAKE = Callable[..., Relay]
SECRET = "a l0ng pass phrase"
READS = {"queue": "/v1/messages", "providers": PROVIDERS, "admin": "/v1/tokens"}


def add_user(one: Relay, name: str, *options: str) -> None:
    done = one.cli("user", "add", name, "--password-stdin", *options, given=f"{SECRET}\n")
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr


def create_token(one: Relay, name: str, *options: str) -> str:
    return str(one.ask("token", "create", "--name", name, *options)["token"])


def test_open_to_loopback_until_somebody_is_known(relay: MAKE) -> None:
    one = relay().start()
    stranger = http_of(one)
    assert stranger("GET", "/v1/messages").status == 200
    add_user(one, "ann")
    refusal = stranger("GET", "/v1/messages")
    assert refusal.refused(401)["title"] == "Unauthorized"
    assert refusal.headers["www-authenticate"].startswith("Bearer")
    for path in ("/healthz", "/readyz", "/metrics"):
        assert stranger("GET", path).status == 200
    assert stranger.as_user("ann", SECRET)("GET", "/v1/messages").status == 200
    assert one.ask("queue", "list")["data"] == [], "the control socket needs no token"
    one.restart()
    assert stranger("GET", "/v1/messages").status == 401
    assert one.cli("user", "remove", "ann").returncode == 0
    assert stranger("GET", "/v1/messages").status == 200


def test_H5_a_token_works_until_it_is_revoked(relay: MAKE) -> None:
    one = relay().start()
    token = create_token(one, "ci", "--scope", "queue")
    http = http_of(one, token)
    assert http("GET", "/v1/messages").status == 200
    assert "providers" in http("GET", PROVIDERS).refused(403)["detail"]
    listed = one.cli("token", "list")
    assert "ci" in listed.stdout
    assert token not in listed.stdout
    assert token not in one.log_text()
    one.restart()
    assert http("GET", "/v1/messages").status == 200
    other = create_token(one, "other", "--scope", "admin")
    assert one.cli("token", "revoke", "ci").returncode == 0
    assert http("GET", "/v1/messages").status == 401
    assert http_of(one, other)("GET", "/v1/messages").status == 200, "admin may do the rest, too"
    for wrong in (other[:-1], other + "x", other.swapcase(), "", "null"):
        assert http_of(one, wrong)("GET", "/v1/messages").status == 401


@pytest.mark.parametrize("scope", READS)
def test_H5_a_scope_opens_its_own_and_no_other(relay: MAKE, scope: str) -> None:
    one = relay().start()
    http = http_of(one, create_token(one, "ci", "--scope", scope))
    for needed, path in READS.items():
        assert http("GET", path).status == (200 if scope in (needed, "admin") else 403), path
    order = {"from": "a@client.test", "to": ["b@example.com"], "subject": "s", "text": "t"}
    assert http("POST", "/v1/messages", order).status == (202 if scope == "admin" else 403)


def test_a_user_added_while_it_runs_logs_in_at_a_listener(relay: MAKE, certificate: Certificate) -> None:
    one = relay(users=[{"name": "first", "password": "known"}])
    one.config["listeners"][0] |= {
        "tls": "starttls",
        "cert": str(certificate.cert),
        "key": str(certificate.key),
        "auth": "required",
    }
    one.start()
    door = Door(port=one.smtp_port, ca=certificate.ca, user="ann", password=SECRET)
    with pytest.raises(smtplib.SMTPAuthenticationError):
        smtp(door)
    add_user(one, "ann")
    send(door, ["bob@example.com"], letter())
    assert one.cli("user", "remove", "ann").returncode == 0
    with pytest.raises(smtplib.SMTPAuthenticationError):
        smtp(door)
    assert one.cli("user", "remove", "first").returncode == 1, "it stands in the file"


def test_removing_a_user_ends_the_sessions(relay: MAKE) -> None:
    one = relay().start()
    create_token(one, "stays", "--scope", "admin")
    add_user(one, "ann")
    http = http_of(one).as_user("ann", SECRET)
    assert http("GET", "/v1/messages").status == 200
    assert one.cli("user", "remove", "ann").returncode == 0
    assert http("GET", "/v1/messages").status == 401
    assert http_of(one).login("ann", SECRET).status in (400, 401)


def test_logins_that_fail_are_slowed_down_and_logged_once_each(relay: MAKE) -> None:
    one = relay().start()
    add_user(one, "ann")
    http = http_of(one)
    answers = [http.login("ann", f"wrong {number}") for number in range(30)]
    statuses = {answer.status for answer in answers}
    assert 429 in statuses
    assert statuses <= {400, 401, 429}
    assert int(next(answer for answer in answers if answer.status == 429).headers["retry-after"]) >= 1
    assert "wrong 1" not in one.log_text()


def test_with_none_running_accounts_are_made_in_the_spool(relay: MAKE) -> None:
    one = relay()
    one.write()
    add_user(one, "ann", "--scope", "queue")
    token = create_token(one, "ci", "--scope", "providers")
    one.start()
    stranger = http_of(one)
    assert stranger("GET", PROVIDERS).status == 401
    assert http_of(one, token)("GET", PROVIDERS).status == 200
    ann = stranger.as_user("ann", SECRET)
    assert (ann("GET", "/v1/messages").status, ann("GET", PROVIDERS).status) == (200, 403)
    until(lambda: [user["name"] for user in one.ask("user", "list")["data"]] == ["ann"], 1, "she is listed")


def test_every_change_is_in_the_audit_log(relay: MAKE) -> None:
    one = relay().start()
    add_user(one, "ann")
    create_token(one, "ci", "--scope", "queue")
    http = http_of(one).as_user("ann", SECRET)
    plain = {"name": "p", "provider_type": "smtp", "smtp_host": "smtp.example.invalid", "is_active": False}
    id = http("POST", PROVIDERS, plain).must(201)["id"]
    http("PATCH", f"{PROVIDERS}{id}/", {"priority": 2}).must(200)
    http("DELETE", f"{PROVIDERS}{id}/").must(204)
    one.cli("token", "revoke", "ci")
    lines = one.log()
    told = [(line.get("who"), line.get("what") or line["event"], line.get("target")) for line in lines if "who" in line]
    assert [(who, target) for who, _, target in told] == [
        ("control", "ann"),
        ("control", "ci"),
        ("ann", "p"),
        ("ann", "p"),
        ("ann", "p"),
        ("control", "ci"),
    ], told


def test_a_token_with_an_end_ends(relay: MAKE) -> None:
    one = relay().start()
    create_token(one, "stays", "--scope", "admin")
    http = http_of(one, create_token(one, "short", "--scope", "queue", "--expires", "2s"))
    assert http("GET", "/v1/messages").status == 200
    begun = time.monotonic()
    until(lambda: http("GET", "/v1/messages").status == 401, 5, "it expired")
    assert time.monotonic() - begun > 0.5
