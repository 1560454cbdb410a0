"""Why mail goes where it goes, or does not go: the dispatcher's walk in words, plain JSON-able data.

Called by dispatcher for api and cli. Decides nothing: it is given what was decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from relay.delivery.order import Option
from relay.delivery.provider import Obstacle, ProviderState
from relay.delivery.router import Path
from relay.model import Envelope, Message, MessageId, Recipient, Rewrite, Source

NO_PROVIDER = "no provider exists: it goes when one is added"
CAPTURED = "no provider exists: mail is only kept; add a provider, then release it"

_NEXT = {
    "inactive": "mail waits until it is activated",
    "suspended": "repair its user name or password; it is probed again",
    "circuit": "it is probed again",
    "day": "goes",
    "month": "goes",
    "minute": "goes",
    "throttled": "mail goes on",
    "busy": "mail goes on as soon as a transaction ends",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A message that does not exist, and the path it would take if what is `assumed` holds."""

    message: Message
    path: Path
    assumed: tuple[str, ...] = ()
    capture: bool = False


def example(sender: str, recipient: str, size: int, client: str, now: float) -> Message:
    """The message that the question is about."""
    envelope = Envelope(sender=sender, recipients=(Recipient(address=recipient),))
    source = Source(kind="smtp", client=client)
    return Message(
        id=MessageId("explain"),
        envelope=envelope,
        prefix=b"",
        size=size,
        source=source,
        received_at=now,
        expires_at=now,
    )


def answer(question: Question, options: Sequence[Option], chosen: Option | None, now: float) -> dict[str, Any]:
    """`rule`: index of the route, null: none matched. `goes_to`: the provider it would be given to now, or null."""
    path, message = question.path, question.message
    goes_to = None if chosen is None or question.capture else chosen.state.provider.name
    return {
        "rule": path.rule,
        "assumed": list(question.assumed),
        "lane": path.lane(message.source),
        "from": _from(message, path.rewrite),
        "goes_to": goes_to,
        "summary": _summary(question, options, goes_to, now),
        "providers": [_option(option, now) for option in options],
    }


def standstill(candidates: Sequence[ProviderState], now: float) -> str:
    """One sentence: the cause and what happens next; "" if one of them can be used."""
    if not candidates:
        return "no active provider for this route: add or activate one"
    obstacles = [(state, state.obstacle(now)) for state in candidates]
    if any(obstacle is None for _, obstacle in obstacles):
        return ""
    return "; ".join(_sentence(state, obstacle) for state, obstacle in obstacles if obstacle)


def moment(at: float) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _sentence(state: ProviderState, obstacle: Obstacle) -> str:
    then = _NEXT.get(obstacle.kind, "mail waits")
    when = f" at {moment(obstacle.until)}" if obstacle.until and obstacle.kind != "busy" else ""
    return f"{state.provider.name}: {obstacle.reason}; {then}{when}"


def _summary(question: Question, options: Sequence[Option], goes_to: str | None, now: float) -> str:
    if question.capture:
        return CAPTURED
    if goes_to is not None:
        return f"it would be sent through {goes_to} now"
    return standstill([option.state for option in options], now) or "it would wait"


def _from(message: Message, rewrite: Rewrite | None) -> dict[str, str]:
    """The null sender stays null; "" for a header means it stays as it is."""
    sender = message.envelope.sender
    changed = rewrite or Rewrite()
    return {
        "envelope": changed.envelope_from if sender and changed.envelope_from else sender,
        "header": changed.header_from,
        "reply_to": changed.reply_to,
    }


def _option(option: Option, now: float) -> dict[str, Any]:
    state, obstacle = option.state, option.obstacle
    return {
        "name": state.provider.name,
        "priority": state.provider.priority,
        "weight": state.provider.weight,
        "usable": obstacle is None,
        "reason": obstacle.reason if obstacle else "",
        "until": moment(obstacle.until) if obstacle and obstacle.until else None,
        "quota": dict(state.meter.left(now)),
    }
