"""Working the queue over HTTP: later, held, released, cancelled, rerouted; and as whom mail is sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clients import Door, letter, send
from http_door import Http, http_of
from ledger import Ledger
from relay_process import Relay, provider
from waiting import free_port, never, until

MAKE = Callable[..., Relay]
QUICK = {"failures": 1, "open": "1s", "max_open": "1s"}
INVOICES = {"address": "billing@example.com", "name": "Billing", "reply_to": "help@example.com"}


def compose(http: Http, name: str, **more: Any) -> str:
    order = {"from": "app@client.test", "to": [f"{name}@example.com"], "subject": "hello", "text": "Hello.\n"}
    return str(http("POST", "/v1/messages", order | more).must(202)["id"])


@pytest.fixture
def stuck(relay: MAKE, ledger: Callable[[], Ledger]) -> tuple[Http, list[str], Ledger, Ledger]:
    """Three messages for a provider that is down, and another provider that no route leads to."""
    upstream, other = ledger(), ledger()
    upstream.stop()
    one = relay(
        providers=[provider("one", upstream.port), provider("other", other.port, priority=9)],
        routes=[{"match": {"recipient": "*"}, "providers": ["one"]}],
        circuit=QUICK,
    ).start()
    http = http_of(one)
    return http, [compose(http, f"r{number}", tags=["bulk"]) for number in range(3)], upstream, other


def bulk(http: Http, action: str, where: dict[str, Any], **more: Any) -> Any:
    return http("POST", "/v1/queue/actions", {"action": action, "filter": where} | more).must(200)


def state(http: Http, id: str) -> str:
    return str(http.get(f"/v1/messages/{id}")["state"])


def test_send_at_is_not_before(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    http = http_of(relay(providers=[provider("one", upstream.port)]).start())
    begun, ahead = time.monotonic(), 2.5
    at = (datetime.now(UTC) + timedelta(seconds=ahead)).isoformat()
    later = compose(http, "later", send_at=at)
    compose(http, "now")
    shown = http.get(f"/v1/messages/{later}")
    assert shown["state"] == "scheduled"
    assert shown["recipients"][0]["due_at"][:19] == at[:19]
    assert upstream.wait_for(1)[0].recipients == ("now@example.com",)
    assert upstream.wait_for(2)[1].at - begun >= ahead - 0.1
    until(lambda: state(http, later) == "accepted", 5, "it is accepted")


def test_send_at_goes_when_a_relay_was_down_then(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)]).start()
    at = (datetime.now(UTC) + timedelta(seconds=1.5)).isoformat()
    later = compose(http_of(one), "later", send_at=at)
    one.kill()
    never(lambda: upstream.taken, 1.6, "a relay that is down sends")
    one.start()
    upstream.wait_for(1)
    until(lambda: state(http_of(one), later) == "accepted", 5, "it is accepted")


@pytest.mark.parametrize("action", ["hold", "cancel", "reroute", "retry"])
def test_a_dry_run_changes_nothing(stuck: tuple[Http, list[str], Ledger, Ledger], action: str) -> None:
    http, ids, _, other = stuck
    more = {"provider": "other"} if action == "reroute" else {}
    would = bulk(http, action, {"to": "*@example.com"}, dry_run=True, **more)
    assert (sorted(would["changed"]), would["dry_run"]) == (sorted(ids), True)
    never(lambda: other.taken, 0.3, "a dry run sends")
    assert {state(http, id) for id in ids} <= {"queued", "deferred", "sending"}


def test_hold_and_release(stuck: tuple[Http, list[str], Ledger, Ledger]) -> None:
    http, ids, upstream, _ = stuck
    http("POST", f"/v1/messages/{ids[0]}/hold").must(200)
    until(lambda: state(http, ids[0]) == "held", 5, "it is held")
    assert bulk(http, "release", {}, dry_run=True)["changed"] == [ids[0]]
    upstream.start()
    upstream.wait_for(2)
    never(lambda: len(upstream.taken) > 2, 1, "held mail leaves")
    http("POST", f"/v1/messages/{ids[0]}/release").must(200)
    assert upstream.wait_for(3)[2].recipients == ("r0@example.com",)


def test_cancel_and_reroute(stuck: tuple[Http, list[str], Ledger, Ledger]) -> None:
    http, ids, upstream, other = stuck
    assert bulk(http, "cancel", {"id": ids[1]})["changed"] == [ids[1]]
    until(lambda: state(http, ids[1]) == "cancelled", 5, "it is cancelled")
    http("POST", f"/v1/messages/{ids[1]}/hold").refused(409)
    http("POST", f"/v1/messages/{ids[2]}/reroute", {"provider": "nobody"}).refused(422)
    http("POST", f"/v1/messages/{ids[2]}/reroute", {"provider": "other"}).must(200)
    assert other.wait_for(1)[0].recipients == ("r2@example.com",)
    upstream.start()
    assert upstream.wait_for(1)[0].recipients == ("r0@example.com",)
    until(lambda: http.get("/v1/messages")["data"] == [], 5, "the queue is empty")
    assert len(upstream.taken) == 1


def test_pages_filters_and_tags(stuck: tuple[Http, list[str], Ledger, Ledger]) -> None:
    http, ids, _, _ = stuck
    first = http.get("/v1/messages", limit=2)
    assert ([one["id"] for one in first["data"]], first["has_more"]) == (ids[:2], True)
    rest = http.get("/v1/messages", limit=2, after=ids[1])
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (ids[2:], False)
    assert [one["id"] for one in http.get("/v1/messages", to="R1@*")["data"]] == [ids[1]]
    assert len(http.get("/v1/messages", tag="bulk")["data"]) == 3
    assert http.get("/v1/messages", tag="other")["data"] == []


def test_the_timeline_has_the_conversation_without_the_password(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    upstream.script.login = ("app", "s3cret-pw")
    one = relay(providers=[provider("one", upstream.port, username="app", password="s3cret-pw")]).start()
    http = http_of(one)
    id = compose(http, "bob")
    upstream.wait_for(1)
    until(lambda: state(http, id) == "accepted", 5, "it is accepted")
    timeline = http.get(f"/v1/messages/{id}")["timeline"]
    attempt = next(event for event in timeline if event.get("conversation"))
    said = str(attempt["conversation"])
    assert "MAIL FROM" in said.upper()
    assert "250 2.0.0 Ok: taken as 1" in said
    assert "s3cret" not in said
    assert "AHBwAHMzY3JldC1wdw==" not in said


def head(mail: bytes) -> dict[str, str]:
    lines = mail.partition(b"\r\n\r\n")[0].decode().replace("\r\n ", " ").split("\r\n")
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("door", ["field", "header", "listener"])
def test_identities(relay: MAKE, ledger: Callable[[], Ledger], door: str) -> None:
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)], identities={"invoices": INVOICES})
    port = free_port()
    one.config["listeners"].append({"name": "invoices", "listen": f"127.0.0.1:{port}", "identity": "invoices"})
    http = http_of(one.start())
    if door == "field":
        order = {"to": ["you@example.com"], "subject": "hello", "text": "Hello.\n", "identity": "invoices"}
        http("POST", "/v1/messages", order).must(202)
    elif door == "header":
        send(one.door, ["you@example.com"], letter(X_Relay_Identity="invoices"))
    else:
        send(Door(port=port), ["you@example.com"], letter())
    mail = upstream.wait_for(1)[0]
    headers = head(mail.data)
    assert headers["from"] == "Billing <billing@example.com>"
    assert headers["reply-to"] == "help@example.com"
    assert "x-relay-identity" not in headers
    assert headers["subject"] == "hello"


def test_an_identity_that_does_not_exist_is_refused(relay: MAKE) -> None:
    http = http_of(relay(identities={"invoices": INVOICES}).start())
    order = {"to": ["you@example.com"], "subject": "hello", "text": "Hello.\n", "identity": "invoice"}
    refusal = http("POST", "/v1/messages", order).refused(422)
    assert "invoices" in str(refusal)
    assert "identity" in str(refusal["errors"][0]["loc"])


def test_a_provider_that_hangs_blocks_no_caller(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    """Seed b: wrong mail settings must not freeze the application."""
    upstream = ledger()
    upstream.script.dot_delay = 30
    http = http_of(relay(providers=[provider("one", upstream.port)]).start())
    begun = time.monotonic()
    for number in range(5):
        compose(http, f"r{number}")
    assert time.monotonic() - begun < 5
    upstream.script.dot_delay = 0
