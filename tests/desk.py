"""A desk and an explainer for tests of the API and the command line: a dictionary of messages, no spool.

It keeps to what `relay.ports` says of a Desk, simply: globs, states, ages, one state per message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from typing import Any

from msgspec.structs import replace

from relay.model import ENDED, MessageId, State, TimelineEvent
from relay.ports import Acted, Filter, MessageView, Page, QueueStats, RecipientView

NOW = 1_795_000_000.0
RESULT = {
    "retry": State.QUEUED,
    "hold": State.HELD,
    "release": State.QUEUED,
    "cancel": State.CANCELLED,
    "reroute": State.QUEUED,
}


def message(id: str, state: State = State.QUEUED, **changed: Any) -> MessageView:
    """`address`, `reason`, `provider`, `due_at`, `lane` go to its only recipient, the rest to the message."""
    recipient = RecipientView(
        address=changed.pop("address", "bob@b.example"),
        state=state,
        reason=changed.pop("reason", ""),
        provider=changed.pop("provider", ""),
        tries=1,
        due_at=changed.pop("due_at", NOW + 30),
        lane=changed.pop("lane", "" if state in ENDED else "default:7"),
    )
    fields: dict[str, Any] = {
        "sender": "alice@a.example",
        "recipients": (recipient,),
        "size": 4096,
        "source": "internal",
        "received_at": NOW - 60,
        "timeline": (TimelineEvent(at=NOW - 50, kind="attempt", provider="primary", detail="451 4.3.0 busy"),),
    }
    return MessageView(id=MessageId(id), state=state, **(fields | changed))


class FakeDesk:
    """`acts` remembers what was ordered; `broken` is raised by stats."""

    def __init__(self, messages: Iterable[MessageView] = ()) -> None:
        self.messages = {view.id: view for view in messages}
        self.acts: list[tuple[str, Filter, str, bool]] = []
        self.broken: Exception | None = None

    def _matching(self, where: Filter) -> list[MessageView]:
        return [view for _, view in sorted(self.messages.items()) if matches(view, where)]

    async def find(self, where: Filter, *, limit: int, after: str = "") -> Page:
        found = [replace(view, timeline=()) for view in self._matching(where) if view.id > after]
        return Page(data=tuple(found[:limit]), has_more=len(found) > limit)

    async def show(self, message: str) -> MessageView | None:
        return self.messages.get(MessageId(message))

    async def act(self, action: str, where: Filter, now: float, *, provider: str = "", dry_run: bool = False) -> Acted:
        self.acts.append((action, where, provider, dry_run))
        changed, skipped = [], {}
        for view in self._matching(where):
            if action == "release" and view.state not in (State.HELD, State.CAPTURED):
                skipped[view.id] = "it is not held"
                continue
            changed.append(view.id)
            if not dry_run:
                self.messages[view.id] = replace(view, state=RESULT[action])
        return Acted(changed=tuple(changed), skipped=skipped)

    async def stats(self) -> QueueStats:
        if self.broken:
            raise self.broken
        states: dict[str, int] = {}
        for view in self.messages.values():
            states[view.state] = states.get(view.state, 0) + 1
        return QueueStats(
            states=states, oldest=NOW - 60, live_bytes=4096, max_bytes=10**9, free_bytes=10**8, healthy=True
        )


def matches(view: MessageView, where: Filter) -> bool:
    return (
        (not where.id or view.id == where.id)
        and fnmatch(view.sender.lower(), where.sender.lower() or "*")
        and any(fnmatch(r.address.lower(), where.recipient.lower() or "*") for r in view.recipients)
        and (not where.provider or any(r.provider == where.provider for r in view.recipients))
        and (not where.states or view.state in where.states)
        and (where.older is None or view.received_at < where.older)
        and (where.ended or view.state not in ENDED)
        and (not where.tag or where.tag in (view.labels.tags if view.labels else ()))
        and (not where.text or where.text.lower() in _seen(view))
    )


def _seen(view: MessageView) -> str:
    tags = view.labels.tags if view.labels else ()
    return "\n".join((view.id, view.sender, *(r.address for r in view.recipients), *tags)).lower()


class FakeExplain:
    """`stuck`: lane to why nothing of it moves."""

    def __init__(self, stuck: Mapping[str, str] | None = None) -> None:
        self.stuck = dict(stuck or {})

    def explain(self, *, sender: str, recipient: str, size: int, client: str, now: float) -> Mapping[str, Any]:
        providers = [
            {"name": "primary", "usable": False, "reason": "circuit open"},
            {"name": "backup", "usable": True, "reason": ""},
        ]
        return {"from": sender, "to": recipient, "size": size, "rule": "default", "providers": providers}

    def why(self, lane: str, now: float) -> str:
        return self.stuck.get(lane, "")
