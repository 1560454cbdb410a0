"""What an attempt leaves behind, as one settlement: the usual case at once, everything else by the ledger.

Called by worker with everything that happened under one lease. Never stores, sends or asks.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from relay.delivery.attempt import Park, Tried
from relay.delivery.ledger import Ledger, Setting, Settled, accepted, addresses, attempt_events, relayed
from relay.delivery.retry import backoff, deadline
from relay.model import NO_ROUTE, DeliveryOutcome, Lease, Owed, Settlement, State, TimelineEvent, Verdict

MOST_CRASHES = 3


def settle(lease: Lease, tried: Sequence[Tried], park: Park | None, setting: Setting) -> Settled:
    """`tried`: the transactions made under this lease, in order. `park`: what the dispatcher answered last, if that."""
    return delivered(lease, tried, park, setting.now) or Ledger(lease, tried, park, setting).close()


def crashed(lease: Lease, error: str, setting: Setting, tried: Sequence[Tried] = ()) -> Settled:
    """An exception while the entry was handled, a bug: try again later, hold it the third time."""
    owed = lease.entry.owed
    crashes = owed.crashes + 1
    due = setting.now + backoff(crashes, setting.policy.retry, setting.rng)
    state = State.HELD if crashes >= MOST_CRASHES else State.DEFERRED
    remainder = replace(owed, crashes=crashes, state=state, due_at=due, since=due, reason=f"internal error: {error}")
    return _set_aside(lease, remainder, "crashed" if state is State.DEFERRED else "held", setting, tried)


def held(lease: Lease, reason: str, setting: Setting, tried: Sequence[Tried] = ()) -> Settled:
    """Set aside for people, for `reason`; it leaves only by their hand and never expires."""
    return _set_aside(lease, replace(lease.entry.owed, state=State.HELD, reason=reason), "held", setting, tried)


def _set_aside(lease: Lease, owed: Owed, kind: str, setting: Setting, tried: Sequence[Tried]) -> Settled:
    """All of it but what `tried` has already handed over: that must not be sent twice because of a bug of ours."""
    taken = {o.recipient.address: o for one in tried for o in one.outcomes if o.verdict is Verdict.ACCEPTED}
    left = tuple(recipient for recipient in owed.recipients if recipient.address not in taken)
    due = deadline(lease.entry.message, owed, setting.policy.retry, setting.now)
    event = TimelineEvent(at=setting.now, kind=kind, recipients=addresses(left), detail=owed.reason)
    return Settled(
        settlement=Settlement(
            token=lease.token,
            ended=tuple(accepted(outcome) for outcome in taken.values()),
            remainders=(replace(owed, recipients=left, deadline=due),) if left else (),
            usage=tuple(one.spent for one in tried if one.spent),
            events=(*(event for one in tried for event in attempt_events(one, setting.now)), event),
        )
    )


# The usual case: one transaction, all accepted.


def delivered(lease: Lease, tried: Sequence[Tried], park: Park | None, now: float) -> Settled | None:
    """`settle` where nothing is left to be judged, None where something is."""
    if len(tried) != 1 or park is not None or not _clean(lease, tried[0].outcomes):
        return None
    return _delivered(lease, tried[0], now)


def _clean(lease: Lease, outcomes: Sequence[DeliveryOutcome]) -> bool:
    if len(outcomes) != len(lease.entry.owed.recipients):
        return False
    for outcome in outcomes:  # noqa: SIM110 - for every message, and mostly one
        if outcome.verdict is not Verdict.ACCEPTED:
            return False
    return True


def _delivered(lease: Lease, tried: Tried, now: float) -> Settled:
    message = lease.entry.message
    alone = len(message.envelope.recipients) == 1 and not tried.send.failed_over_from
    return Settled(
        settlement=Settlement(
            token=lease.token,
            ended=tuple([accepted(outcome) for outcome in tried.outcomes]),
            usage=(tried.spent,) if tried.spent else (),
            events=(_plainly(tried, now),) if alone else tuple(attempt_events(tried, now)),
        ),
        notices=relayed(message, tried.outcomes, now),
    )


def _plainly(tried: Tried, now: float) -> TimelineEvent:
    """Of a message that ends with its only recipient: who that is and the reply stand in the record once already."""
    send = tried.send
    return TimelineEvent(
        at=now,
        kind="attempt",
        provider=send.provider,
        conversation=tried.outcomes[0].conversation,
        rule=NO_ROUTE if send.rule is None else send.rule,
        rewrite=send.rewrite,
    )
