"""What a settlement and an operator's wish make of a lease: pure decisions, shared by both spools.

Called by `memory`, `work` and `upkeep`. It does no I/O and changes nothing it is given.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from relay.model import Ended, Owed, Recipient, Settlement, State, TimelineEvent

HOLD = "hold"
CANCEL = "cancel"
HELD_BY_HAND = "held by an operator"
WAITING = frozenset({State.QUEUED, State.DEFERRED, State.SCHEDULED})

STATES = tuple(State)
RANK = {state: rank for rank, state in enumerate(STATES)}


def state_of(rank: object, otherwise: State) -> State:
    """`otherwise` for a rank there is none of, which is a flipped bit (hazard G6)."""
    return STATES[rank] if type(rank) is int and 0 <= rank < len(STATES) else otherwise


class ConservationError(Exception):
    """A settlement that loses, doubles or invents recipients: a bug of its caller. Nothing of it was done."""


class Result(Struct, frozen=True, kw_only=True):
    """What is left of a lease: who ended, what is owed still, and what to tell of it."""

    ended: tuple[Ended, ...]
    remainders: tuple[Owed, ...]
    events: tuple[TimelineEvent, ...]


def settle(owed: Owed, done: Settlement, wish: str, now: float) -> Result:
    """The settlement with the operator's wish applied. Raises ConservationError."""
    conserve(owed.recipients, done)
    remainders = tuple([normal(remainder) for remainder in done.remainders]) if done.remainders else ()
    if not wish or not remainders:
        return Result(ended=done.ended, remainders=remainders, events=done.events)
    if wish == HOLD:
        held = tuple(replace(remainder, state=State.HELD, reason=HELD_BY_HAND) for remainder in remainders)
        return Result(ended=done.ended, remainders=held, events=(*done.events, TimelineEvent(at=now, kind="held")))
    gone = tuple(cancelled(recipient) for remainder in remainders for recipient in remainder.recipients)
    event = TimelineEvent(at=now, kind="cancelled", recipients=tuple(e.recipient.address for e in gone))
    return Result(ended=done.ended + gone, remainders=(), events=(*done.events, event))


def conserve(recipients: tuple[Recipient, ...], done: Settlement) -> None:
    """Claimed recipients = handed over + failed for good + still owed."""
    after = [end.recipient.address for end in done.ended]
    if not done.remainders and after == [recipient.address for recipient in recipients]:
        return
    for remainder in done.remainders:
        if not remainder.recipients:
            raise ConservationError(f"settlement {done.token} has a remainder of nobody")
        after += [recipient.address for recipient in remainder.recipients]
    if sorted(after) != sorted([recipient.address for recipient in recipients]):
        raise ConservationError(f"settlement {done.token} does not account for exactly the recipients of its lease")


def cancelled(recipient: Recipient, why: str = "") -> Ended:
    return Ended(recipient=recipient, state=State.CANCELLED, reply=why)


def normal(owed: Owed) -> Owed:
    """What is settled back waits again, whatever it was called while it was sent."""
    return replace(owed, state=waiting_state(owed)) if owed.state is State.SENDING else owed


def offered(owed: Owed) -> Owed:
    """As a worker gets it: what was scheduled is now plain mail."""
    return replace(owed, state=waiting_state(owed)) if owed.state is State.SCHEDULED else owed


def waiting_state(owed: Owed) -> State:
    return State.DEFERRED if owed.tries else State.QUEUED


def tries_after(owed: Owed, events: Iterable[TimelineEvent]) -> int:
    """How often it was tried, for the record of those who end now."""
    return owed.tries + ("attempt" in [event.kind for event in events])


def first(states: Iterable[State]) -> State:
    """The state a message shows: the first of its recipients' states in the order of the enumeration."""
    return STATES[min(RANK[state] for state in states)]
