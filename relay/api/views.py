"""Messages, results and statistics as JSON-able data.

Called by the operations; pure. The same shapes leave the API and `relay --json`. It never shows a body or a subject.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from relay.api.timeline import happened
from relay.model import ENDED, State, TimelineEvent
from relay.ports import Acted, MessageView, Page, QueueStats, RecipientView

Why = Callable[[str], str]
"""Why nothing of a lane moves, "" when it can."""

# What is said of a recipient that waits and whose entry and lane give no reason.
_PLAIN_REASONS = {
    State.QUEUED: "waits for its turn",
    State.SENDING: "is being sent now",
    State.DEFERRED: "waits for its next attempt",
    State.SCHEDULED: "waits for the time it was scheduled for",
    State.CAPTURED: "captured: there was no provider to send it; release it when there is one",
}
# States in which it is the lane that keeps mail from moving. Held and captured mail stays for its own reason.
_BY_HAND = "release, retry, reroute or cancel it"
_MOVING = frozenset({State.QUEUED, State.DEFERRED, State.SCHEDULED})


def moment(at: float | None) -> str | None:
    """RFC 3339 in UTC with milliseconds; None for no time."""
    if not at:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def message_json(view: MessageView, why: Why, now: float, *, timeline: bool = False) -> dict[str, Any]:
    """A message. Every recipient that waits says why; so does the message, with the reason of its own state."""
    recipients = [_recipient_json(recipient, why, now) for recipient in view.recipients]
    reason = next((r["reason"] for r in recipients if r["state"] == view.state), "")
    shown: dict[str, Any] = {
        "id": view.id,
        "state": str(view.state),
        "reason": reason,
        "from": view.sender,
        "recipients": recipients,
        "size": view.size,
        "source": view.source,
        "tags": list(view.labels.tags) if view.labels else [],
        "metadata": dict(view.labels.metadata) if view.labels else {},
        "received_at": moment(view.received_at),
        "ended_at": moment(view.ended_at),
        "expires_at": moment(view.expires_at),
    }
    return shown | ({"timeline": [*map(_event_json, happened(view))]} if timeline else {})


def _recipient_json(recipient: RecipientView, why: Why, now: float) -> dict[str, Any]:
    return {
        "address": recipient.address,
        "state": str(recipient.state),
        "reason": _reason(recipient, why, now) or _PLAIN_REASONS.get(recipient.state, ""),
        "provider": recipient.provider,
        "tries": recipient.tries,
        "due_at": None if recipient.state in ENDED else moment(recipient.due_at),
    }


def _reason(recipient: RecipientView, why: Why, now: float) -> str:
    """What keeps it now. What it was put off for counts until it is due; a lane that stands still counts always, but
    for mail that nobody wants sent yet.
    """
    own = recipient.reason
    if recipient.state is State.HELD:
        return f"{own or 'held'}; {_BY_HAND}"
    if recipient.state is State.SCHEDULED and (recipient.due_at or 0.0) > now:
        return "; ".join(part for part in (own, f"scheduled: it goes at {moment(recipient.due_at)}") if part)
    stuck = why(recipient.lane) if recipient.state in _MOVING and recipient.lane else ""
    if not (stuck and own) or (recipient.due_at or 0.0) <= now or all(part in stuck for part in own.split("; ")):
        return stuck or own
    return f"{own}; and {stuck}"


def _event_json(event: TimelineEvent) -> dict[str, Any]:
    return {
        "at": moment(event.at),
        "kind": event.kind,
        "provider": event.provider,
        "recipients": list(event.recipients),
        "detail": event.detail,
        "conversation": list(event.conversation),
    }


def page_json(page: Page, why: Why, now: float) -> dict[str, Any]:
    """A page of messages. A lane is asked about once: a page is often one lane."""
    known: dict[str, str] = {}

    def once(lane: str) -> str:
        if lane not in known:
            known[lane] = why(lane)
        return known[lane]

    return {"data": [message_json(view, once, now) for view in page.data], "has_more": page.has_more}


def acted_json(action: str, acted: Acted, *, dry_run: bool) -> dict[str, Any]:
    return {"action": action, "dry_run": dry_run, "changed": list(acted.changed), "skipped": dict(acted.skipped)}


def stats_json(stats: QueueStats, now: float) -> dict[str, Any]:
    """`oldest_age`: seconds the oldest message that neither ended nor was captured has waited; null: there is none."""
    return {
        "states": {str(state): count for state, count in stats.states.items()},
        "oldest_at": moment(stats.oldest),
        "oldest_age": None if stats.oldest is None else max(0.0, round(now - stats.oldest, 3)),
        "live_bytes": stats.live_bytes,
        "max_bytes": stats.max_bytes,
        "free_bytes": stats.free_bytes,
        "healthy": stats.healthy,
        "detail": stats.detail,
    }
