"""The whole story of a message from what is kept of it, also of one that was kept by an older version."""

from __future__ import annotations

from typing import Any

from relay.api.timeline import happened
from relay.model import NO_ROUTE, MessageId, Rewrite, State, TimelineEvent
from relay.ports import MessageView, RecipientView

SHORT = ("250 2.1.0 Ok", "250 2.1.5 Ok", "354 go ahead", " SIZE=4096")
LONG = ("C: MAIL FROM:<a@example.com>", "S: 451 4.3.0 busy", "C: RSET", "S: 250 2.0.0 Ok")


def gone(address: str, state: State = State.ACCEPTED, reply: str = "250 2.0.0 Ok: queued as 4F") -> RecipientView:
    return RecipientView(address=address, state=state, provider="primary", reason=reply, tries=1)


def waiting(address: str, lane: str = "default:7") -> RecipientView:
    return RecipientView(address=address, state=State.DEFERRED, tries=1, due_at=900.0, lane=lane)


def view(*recipients: RecipientView, events: tuple[TimelineEvent, ...] = (), **more: Any) -> MessageView:
    given: dict[str, Any] = {
        "id": MessageId("0b"),
        "state": recipients[0].state,
        "sender": "a@example.com",
        "recipients": recipients,
        "size": 4096,
        "source": "smtp internal 10.0.0.5 crm",
        "received_at": 100.0,
        "timeline": events,
    }
    return MessageView(**{**given, **more})


def attempt(*recipients: str, detail: str = "accepted: 250 2.0.0 Ok: queued as 4F", **more: Any) -> TimelineEvent:
    given: dict[str, Any] = {"at": 200.0, "kind": "attempt", "provider": "primary", "rule": NO_ROUTE}
    return TimelineEvent(recipients=recipients, detail=detail, **{**given, **more})


def story(shown: MessageView) -> list[tuple[str, str]]:
    return [(event.kind, event.detail) for event in happened(shown)]


def test_mail_that_names_its_provider_is_led_there_by_no_route() -> None:
    first = attempt("b@x", provider="integration/3", detail="deferred: 451 later")
    shown = view(gone("b@x"), events=(first, attempt("b@x", at=300.0)), via="integration/3")
    assert [told for told in story(shown) if told[0] == "routed"] == [
        ("routed", "it names its provider"),
        ("routed", "rerouted; it names integration/3"),
    ]


def test_mail_that_goes_the_usual_way() -> None:
    shown = view(gone("b@x"), events=(attempt("b@x", conversation=SHORT),))
    events = list(happened(shown))
    assert story(shown) == [
        ("accepted", "from smtp internal 10.0.0.5 crm, 4096 bytes"),
        ("routed", "no route matched: any active provider"),
        ("attempt", "accepted: 250 2.0.0 Ok: queued as 4F"),
        ("outcome", "accepted: 250 2.0.0 Ok: queued as 4F"),
    ]
    assert [event.at for event in events] == [100.0, 200.0, 200.0, 200.0]
    assert [event.provider for event in events] == ["", "primary", "primary", "primary"]
    assert events[2].conversation == (
        "C: MAIL FROM:<a@example.com> SIZE=4096",
        "S: 250 2.1.0 Ok",
        "C: RCPT TO:<b@x>",
        "S: 250 2.1.5 Ok",
        "C: DATA",
        "S: 354 go ahead",
        "C: <message, 4096 bytes>",
        "S: 250 2.0.0 Ok: queued as 4F",
    )


def test_what_stands_in_the_record_once_is_told_where_it_belongs() -> None:
    short = TimelineEvent(at=200.0, kind="attempt", provider="primary", conversation=SHORT, rule=NO_ROUTE)
    shown = view(gone("b@x"), events=(short,))
    assert list(happened(shown)) == list(happened(view(gone("b@x"), events=(attempt("b@x", conversation=SHORT),))))


def test_mail_that_waits_says_in_which_lanes() -> None:
    assert story(view(waiting("b@x"), waiting("c@x"), waiting("d@x", "ab:1"))) == [
        ("accepted", "from smtp internal 10.0.0.5 crm, 4096 bytes, queued in default:7 ab:1")
    ]


def test_what_identity_and_route_changed_and_a_failover() -> None:
    rewrite = Rewrite(envelope_from="bounce@example.com", header_from="Billing <billing@example.com>")
    events = (
        attempt("b@x", detail="deferred: 451 4.3.0 busy", conversation=LONG, rule=2, rewrite=rewrite),
        TimelineEvent(
            at=260.0, kind="failover", provider="backup", detail="instead of primary: busy", rule=2, rewrite=rewrite
        ),
        attempt("b@x", at=260.0, provider="backup", rule=None),
    )
    identity = Rewrite(header_from="Shop <shop@example.com>", reply_to="help@example.com")
    shown = view(gone("b@x"), events=events, identity=identity)
    assert story(shown) == [
        ("accepted", "from smtp internal 10.0.0.5 crm, 4096 bytes"),
        ("rewritten", "From: Shop <shop@example.com>; Reply-To: help@example.com, as the identity asks"),
        ("routed", "routes[2] matched"),
        (
            "rewritten",
            "envelope sender: bounce@example.com; From: Billing <billing@example.com>, as the route asks",
        ),
        ("attempt", "deferred: 451 4.3.0 busy"),
        ("routed", "routes[2] matched"),
        ("failover", "instead of primary: busy"),
        ("attempt", "accepted: 250 2.0.0 Ok: queued as 4F"),
        ("outcome", "accepted: 250 2.0.0 Ok: queued as 4F"),
    ]
    assert next(event for event in happened(shown) if event.kind == "attempt").conversation == LONG


def test_the_way_is_told_again_only_when_it_changes() -> None:
    tries = tuple(attempt("b@x", detail="deferred: 451 4.3.0 busy", at=200.0 + n) for n in range(3))
    assert [kind for kind, _ in story(view(waiting("b@x"), events=tries))] == [
        *("accepted", "routed", "attempt", "attempt", "attempt")
    ]


def test_outcomes_stand_behind_what_decided_them() -> None:
    refused = "550 5.1.1 no such user"
    events = (
        attempt("b@x", "c@x"),
        attempt("d@x", detail=f"rejected: {refused}", rule=None),
        attempt("e@x", detail="deferred: 451 4.2.0 later", rule=None),
        TimelineEvent(at=200.0, kind="bounced", recipients=("d@x",)),
        TimelineEvent(at=300.0, kind="cancelled"),
    )
    people = (
        gone("b@x"),
        gone("c@x"),
        gone("d@x", State.FAILED, refused),
        gone("e@x", State.CANCELLED, ""),
    )
    told = [(event.kind, event.recipients, event.detail) for event in happened(view(*people, events=events))]
    assert told[2:] == [
        ("attempt", ("b@x", "c@x"), "accepted: 250 2.0.0 Ok: queued as 4F"),
        ("outcome", ("b@x", "c@x"), "accepted: 250 2.0.0 Ok: queued as 4F"),
        ("attempt", ("d@x",), f"rejected: {refused}"),
        ("outcome", ("d@x",), f"failed: {refused}"),
        ("attempt", ("e@x",), "deferred: 451 4.2.0 later"),
        ("bounced", ("d@x",), ""),
        ("cancelled", (), ""),
        ("outcome", ("e@x",), "cancelled"),
    ]


def test_an_old_record_is_shown_without_what_it_does_not_say() -> None:
    old = attempt("b@x", rule=None)
    assert [kind for kind, _ in story(view(gone("b@x"), events=(old,)))] == ["accepted", "attempt", "outcome"]
    captured = view(gone("b@x", State.CANCELLED, "capture keeps the newest 10000 messages"), ended_at=500.0)
    [_, outcome] = happened(captured)
    assert (outcome.at, outcome.detail) == (500.0, "cancelled: capture keeps the newest 10000 messages")
