"""What happened to a message, in order and complete, from what was kept of it.

Called by `views`; pure. The spool keeps what cannot be told in another way: how mail came in, which route led to an
attempt and what became of each recipient is put in its place here, and the short form of a conversation written out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace

from relay.model import ENDED, NO_ROUTE, Rewrite, State, TimelineEvent
from relay.ports import MessageView
from relay.smtp.transcript import expanded, is_brief

_FINAL = frozenset({"attempt", "expired", "cancelled"})
"""Kinds of events that can be the last of a recipient."""


class _Way(NamedTuple):
    """How the mail was led at last; told again only when it changes."""

    rule: int | None = None
    provider: str = ""
    rewrite: Rewrite | None = None


def happened(view: MessageView) -> Iterator[TimelineEvent]:
    """accepted, rewritten, then for each attempt routed, rewritten, failover, attempt, outcome; and what else was."""
    view = replace(view, timeline=tuple(_spelled_out(event, view) for event in view.timeline))
    yield _accepted(view)
    if view.identity is not None:
        yield _rewritten(view.received_at, view.identity, "as the identity asks")
    way = _Way()
    outcomes = _outcomes(view)
    for place, event in enumerate(view.timeline):
        if event.rule is not None:
            now = _Way(event.rule, event.provider, event.rewrite)
            yield from _led(event, way, now, view.via)
            way = now
        yield event
        yield from outcomes.pop(place, ())
    for left in outcomes.values():
        yield from left


def _accepted(view: MessageView) -> TimelineEvent:
    """The first thing that happened to every message: it needs no row in the spool."""
    everybody = tuple(recipient.address for recipient in view.recipients)
    lanes = dict.fromkeys(recipient.lane for recipient in view.recipients if recipient.lane)
    queued = f", queued in {' '.join(lanes)}" if lanes else ""
    detail = f"from {view.source}, {view.size} bytes{queued}"
    return TimelineEvent(at=view.received_at, kind="accepted", recipients=everybody, detail=detail)


def _led(event: TimelineEvent, before: _Way, now: _Way, via: str) -> Iterator[TimelineEvent]:
    if now[:2] != before[:2]:
        yield TimelineEvent(
            at=event.at, kind="routed", provider=now.provider, recipients=event.recipients, detail=_rule(now, via)
        )
    if now.rewrite is not None and now.rewrite != before.rewrite and now.rewrite != Rewrite():
        yield _rewritten(event.at, now.rewrite, "as the route asks")


def _rule(way: _Way, via: str) -> str:
    if via:
        return "it names its provider" if way.provider == via else f"rerouted; it names {via}"
    return "no route matched: any active provider" if way.rule == NO_ROUTE else f"routes[{way.rule}] matched"


def _rewritten(at: float, changes: Rewrite, why: str) -> TimelineEvent:
    parts = (
        ("envelope sender", changes.envelope_from),
        ("From", changes.header_from),
        ("Reply-To", changes.reply_to),
    )
    detail = "; ".join(f"{name}: {value}" for name, value in parts if value)
    return TimelineEvent(at=at, kind="rewritten", detail=f"{detail}, {why}")


def _spelled_out(event: TimelineEvent, view: MessageView) -> TimelineEvent:
    if event.kind == "attempt" and not event.detail and view.recipients:
        # It was the end of the message and of its only recipient: it stands there.
        [one, *_] = view.recipients
        event = replace(event, recipients=(one.address,), detail=f"accepted: {one.reason}")
    if not is_brief(event.conversation) or not event.recipients:
        return event
    reply = event.detail.partition(": ")[2]
    said = expanded(event.conversation, view.sender, event.recipients[0], view.size, reply)
    return replace(event, conversation=said)


# What became of recipients: behind the last event that was about them.


def _outcomes(view: MessageView) -> dict[int, list[TimelineEvent]]:
    """By the place in the timeline behind which they belong."""
    ends = [(place, event) for place, event in enumerate(view.timeline) if event.kind in _FINAL]
    last = {address: place for place, event in ends for address in event.recipients}
    general = max((place for place, event in ends if not event.recipients), default=-1)
    groups: dict[tuple[int, str, str, str], list[str]] = {}
    for one in view.recipients:
        if one.state in ENDED:
            place = last.get(one.address, -1)
            if one.state is State.CANCELLED:  # by hand it is all that is left, without names
                place = max(place, general)
            groups.setdefault((place, str(one.state), one.provider, one.reason), []).append(one.address)
    outcomes: dict[int, list[TimelineEvent]] = {}
    for (place, state, provider, reason), about in groups.items():
        event = TimelineEvent(
            at=view.timeline[place].at if place >= 0 else view.ended_at or view.received_at,
            kind="outcome",
            provider=provider,
            recipients=tuple(about),
            detail=f"{state}: {reason}" if reason else state,
        )
        outcomes.setdefault(place, []).append(event)
    return outcomes
