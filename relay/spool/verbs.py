"""What an operator's action does to one entry. Pure, one table, shared by both spools.

Used by the desks. The rules are the contract's: captured mail leaves only by release or cancel, held mail only by
release, retry, reroute or cancel, and what is being sent is first let finish.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from relay.delivery.router import pinned_lane
from relay.model import Owed, State
from relay.spool.settling import CANCEL, HELD_BY_HAND, HOLD, waiting_state

ACTIONS = ("hold", "release", "retry", "reroute", "cancel")

_WAITING = (State.QUEUED, State.DEFERRED, State.SCHEDULED)
_FROM: dict[str, tuple[State, ...]] = {
    "hold": _WAITING,
    "release": (State.HELD, State.CAPTURED),
    "retry": (*_WAITING, State.HELD),
    "reroute": (*_WAITING, State.HELD),
    "cancel": (*_WAITING, State.HELD, State.CAPTURED),
}
_WISHES = {"hold": HOLD, "cancel": CANCEL}
KINDS = {"hold": "held", "release": "released", "retry": "retried", "reroute": "rerouted", "cancel": "cancelled"}
"""What the timeline calls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """Exactly one of: `owed` (the entry, changed), `cancelled`, `wish` (for the settlement), `refused` (why not)."""

    owed: Owed | None = None
    cancelled: bool = False
    wish: str = ""
    refused: str = ""


def rule(action: str, owed: Owed, now: float, provider: str) -> Ruling:
    """The action on an entry; `owed.state` is SENDING when it is leased."""
    if owed.state is State.SENDING:
        wish = _WISHES.get(action, "")
        return Ruling(wish=wish, refused="" if wish else "is being sent")
    if owed.state not in _FROM[action]:
        return Ruling(refused=_why_not(action, owed.state))
    if action == "cancel":
        return Ruling(cancelled=True)
    return Ruling(owed=_changed(action, owed, now, provider))


def _changed(action: str, owed: Owed, now: float, provider: str) -> Owed:
    if action == "hold":
        return replace(owed, state=State.HELD, reason=HELD_BY_HAND)
    if action == "reroute":
        owed = replace(owed, pin=provider, lane=pinned_lane(owed.lane, provider), avoid=(), refused=())
        if owed.state is State.SCHEDULED:
            return owed
    if action == "release" and owed.begun > now:  # held, it forgot nothing: it was for later and still is
        return replace(owed, state=State.SCHEDULED, due_at=owed.begun, reason="")
    begun = min(owed.begun, now)
    return replace(owed, state=waiting_state(owed), since=now, due_at=now, begun=begun, avoid=(), reason="")


def _why_not(action: str, state: State) -> str:
    if state is State.CAPTURED:
        return "is captured: only release or cancel moves it"
    if action == "hold":
        return "is held already"
    return f"is {state}, not held"


def check(action: str, provider: str) -> None:
    """ValueError for an action there is none of, or a reroute to nowhere."""
    if action not in ACTIONS:
        raise ValueError(f"no such action: {action}; there are {', '.join(ACTIONS)}")
    if action == "reroute" and not provider:
        raise ValueError("reroute needs a provider")
