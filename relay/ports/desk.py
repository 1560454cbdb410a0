"""The desk: people looking at the queue, acting on it, and asking why.

Part of `relay.ports`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct, field

from relay.model import Labels, MessageId, Rewrite, State, TimelineEvent


class Filter(Struct, frozen=True, kw_only=True):
    """Which messages. "" and None mean any. Addresses are globs without regard to case; `older`: received before.

    `tag`: exactly. `text`: part of the id, the sender, a recipient or a tag, without regard to case.
    """

    id: str = ""
    sender: str = ""
    recipient: str = ""
    provider: str = ""
    states: tuple[State, ...] = ()
    older: float | None = None
    ended: bool = False
    tag: str = ""
    text: str = ""


class RecipientView(Struct, frozen=True, kw_only=True):
    """One recipient's state. `reason`: why it waits, or the last reply. `lane`: of its entry, if that waits."""

    address: str
    state: State
    provider: str = ""
    reason: str = ""
    tries: int = 0
    due_at: float | None = None
    lane: str = ""


class MessageView(Struct, frozen=True, kw_only=True):
    """A message as people see it. `timeline` is filled by `show` only. `identity`, `via`: as in Message."""

    id: MessageId
    state: State
    sender: str
    recipients: tuple[RecipientView, ...]
    size: int
    source: str
    received_at: float
    ended_at: float | None = None
    expires_at: float | None = None
    labels: Labels | None = None
    identity: Rewrite | None = None
    via: str = ""
    timeline: tuple[TimelineEvent, ...] = ()


class Page(Struct, frozen=True, kw_only=True):
    data: tuple[MessageView, ...]
    has_more: bool


class Acted(Struct, frozen=True, kw_only=True):
    """`changed`: messages the action changed (or would, on a dry run). `skipped`: id to why not."""

    changed: tuple[MessageId, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)


class QueueStats(Struct, frozen=True, kw_only=True):
    """`states`: messages by state. `oldest`: received_at of the oldest not ended, not captured. Sizes in bytes."""

    states: Mapping[str, int]
    oldest: float | None
    live_bytes: int
    max_bytes: int
    free_bytes: int
    healthy: bool
    detail: str = ""


class Desk(Protocol):
    async def find(self, where: Filter, *, limit: int, after: str = "") -> Page:
        """Oldest first, by id. `after`: the last id of the page before. `where.ended`: history too."""

    async def show(self, message: str) -> MessageView | None: ...

    async def act(self, action: str, where: Filter, now: float, *, provider: str = "", dry_run: bool = False) -> Acted:
        """hold | release | retry | reroute | cancel. On a message being sent, hold and cancel act after the attempt."""

    async def stats(self) -> QueueStats: ...


class Explain(Protocol):
    """The dispatcher's answer to "why": plain JSON-able data, see `relay.delivery.explain`."""

    def explain(self, *, sender: str, recipient: str, size: int, client: str, now: float) -> Mapping[str, Any]: ...

    def why(self, lane: str, now: float) -> str:
        """Why nothing of this lane moves, or "" when it can."""
