"""The whole story of a message, as `relay queue show` tells it: in the queue, in the history, after kill -9."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from clients import letter, send
from ledger import Ledger
from relay_process import Relay, provider
from waiting import until

MAKE = Callable[..., Relay]
TOLD = re.compile("S: 535").search
SHOP = {"address": "shop@example.com", "name": "Shop", "reply_to": "help@example.com"}


def story(one: Relay, message: str) -> list[dict[str, Any]]:
    timeline = one.ask("queue", "show", message)["timeline"]
    assert [event["at"] for event in timeline] == sorted(event["at"] for event in timeline)
    return list(timeline)


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["kind"] for event in events]


def test_usual_mail(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    one = relay(providers=[provider("one", ledger().port)]).start()
    message = send(one.door, ["you@example.com"], letter())
    one.wait_for_states(message, you="accepted")
    accepted, routed, attempt, outcome = events = story(one, message)
    assert kinds(events) == ["accepted", "routed", "attempt", "outcome"]
    assert accepted["detail"].startswith("from smtp internal 127.0.0.1, ")
    assert (routed["provider"], routed["detail"]) == ("one", "no route matched: any active provider")
    assert [line[:12] for line in attempt["conversation"]] == [
        *("C: MAIL FROM", "S: 250 2.1.0", "C: RCPT TO:<", "S: 250 2.1.5", "C: DATA", "S: 354"),
        *("C: <message,", "S: 250 2.0.0"),
    ]
    assert attempt["conversation"][-1] == f"S: {outcome['detail'].removeprefix('accepted: ')}"
    assert (outcome["recipients"], outcome["provider"]) == (["you@example.com"], "one")


def test_a_winding_way_survives_kill_9(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    first, second = ledger(), ledger()
    first.script.dot = "451 4.3.0 busy: come back in 3600 seconds"
    one = relay(providers=[provider("first", first.port), provider("second", second.port, priority=2)])
    one.config["identities"] = {"shop": SHOP}
    one.config["routes"] = [
        {"match": {"sender": "nobody@example.com"}},
        {"match": {"sender": "shop@example.com"}, "rewrite": {"envelope_from": "bounce@example.com"}},
    ]
    one.start()
    message = send(one.door, ["you@example.com"], b"X-Relay-Identity: shop\r\n" + letter())
    one.wait_for_states(message, you="deferred")
    one.kill()
    one.start()
    assert kinds(story(one, message)) == ["accepted", "rewritten", "routed", "rewritten", "attempt"]
    one.ask("queue", "reroute", message, "--provider", "second")
    one.wait_for_states(message, you="accepted")
    events = story(one, message)
    assert kinds(events) == [
        *("accepted", "rewritten", "routed", "rewritten", "attempt", "rerouted"),
        *("routed", "attempt", "outcome"),
    ]
    assert events[1]["detail"] == "From: Shop <shop@example.com>; Reply-To: help@example.com, as the identity asks"
    assert events[2]["detail"] == "routes[1] matched"
    assert events[3]["detail"] == "envelope sender: bounce@example.com, as the route asks"
    assert events[4]["conversation"][0].startswith("C: MAIL FROM:<bounce@example.com>")
    assert "S: 451 4.3.0 busy: come back in 3600 seconds" in events[4]["conversation"]
    assert (events[-1]["provider"], events[-1]["detail"][:9]) == ("second", "accepted:")
    [taken] = second.taken
    assert taken.sender == "bounce@example.com"
    assert b"\r\nFrom: Shop <shop@example.com>\r\n" in taken.data and b"Identity" not in taken.data


def test_H8_no_password_is_told(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    upstream.script.login = ("me", "the right one")
    one = relay(providers=[provider("one", upstream.port, username="me", password="cAnary-81c2-secret")]).start()
    message = send(one.door, ["you@example.com"], letter())
    shown = until(lambda: next(filter(TOLD, [one.cli("queue", "show", message).stdout]), ""), 10, "it was refused")
    assert "-- AUTH PLAIN" in shown and "\nsaid\t" in shown
    assert "cAnary" not in shown
