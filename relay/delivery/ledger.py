"""The books of one lease that did not go the usual way: who has ended, who is owed what and when, who is told.

Called by settle. Never stores, sends or asks; the numbers must add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from relay.delivery.attempt import Park, Tried, counts, joined, moves_on
from relay.delivery.notices import BOUNCE, DELAY, RELAYED, UNREPORTED, Fate, Notice, reportable, wanted
from relay.delivery.policy import DeliveryPolicy, Uncertain
from relay.delivery.retry import backoff, begun, deadline, steady, warn_at
from relay.delivery.router import pinned_lane
from relay.model import (
    NO_ROUTE,
    DeliveryOutcome,
    Ended,
    Fault,
    Lease,
    Message,
    Owed,
    Recipient,
    Settlement,
    State,
    TimelineEvent,
    Verdict,
)


class Settled(Struct, frozen=True, kw_only=True):
    """The settlement, and the notices that `notices.compose` has yet to turn into its `notices`."""

    settlement: Settlement
    notices: tuple[Notice, ...] = ()


class Setting(Struct, frozen=True, kw_only=True):
    """What is judged by. `uptime`: seconds of monotonic time since the clock was last known not to have stepped."""

    policy: DeliveryPolicy
    now: float
    uptime: float
    rng: Random


class Ledger:
    """Remainders are first kept as conditions: recipients with equal ones share a remainder."""

    def __init__(self, lease: Lease, tried: Sequence[Tried], park: Park | None, setting: Setting) -> None:
        self._lease = lease
        self._message = lease.entry.message
        self._owed = lease.entry.owed
        self._tried = tried
        self._park = park
        self._setting = setting
        self._retry = setting.policy.retry
        self._now = setting.now
        self._heard = _by_recipient(tried)
        self._waits: dict[int, float] = {}
        self._ended: list[Ended] = []
        self._remainders: dict[tuple[Owed, bool], list[Recipient]] = {}
        self._fates: dict[str, list[Fate]] = {BOUNCE: [], DELAY: []}
        self._events = [event for one in tried for event in attempt_events(one, self._now)]

    def close(self) -> Settled:
        for recipient in self._owed.recipients:
            self._enter(recipient)
        remainders = [r for (owed, judged), group in self._remainders.items() for r in self._timed(owed, judged, group)]
        self._note_parking()
        outcomes = [heard[-1][1] for heard in self._heard.values()]
        notices = (*self._notices(), *relayed(self._message, outcomes, self._now))
        settlement = Settlement(
            token=self._lease.token,
            ended=tuple(self._ended),
            remainders=tuple(remainders),
            usage=tuple(one.spent for one in self._tried if one.spent),
            events=tuple(self._events),
        )
        _conserved(self._owed, settlement)
        return Settled(settlement=settlement, notices=notices)

    # One recipient.

    def _enter(self, recipient: Recipient) -> None:
        heard = self._heard.get(recipient.address)
        if heard is None:
            owed, judged = self._untried(), self._park is not None and not self._park.waiting
            return self._owe(recipient, owed, judged)
        one, outcome = heard[-1]
        if outcome.verdict is Verdict.ACCEPTED:
            return self._ended.append(accepted(outcome))
        if outcome.verdict is Verdict.REJECTED and not self._movable(one, outcome):
            return self._reject(outcome)
        return self._owe(recipient, *self._again(one, outcome))

    def _owe(self, recipient: Recipient, owed: Owed, judged: bool) -> None:
        self._remainders.setdefault((replace(owed, recipients=()), judged), []).append(recipient)

    def _reject(self, outcome: DeliveryOutcome) -> None:
        reply = str(outcome.reply)
        self._ended.append(
            Ended(recipient=outcome.recipient, state=State.FAILED, provider=outcome.provider, reply=reply)
        )
        self._fates[BOUNCE].append(_fate(outcome, self._now))

    def _movable(self, one: Tried, outcome: DeliveryOutcome) -> bool:
        return moves_on(outcome, one.send.alone, self._owed.tries)

    def _untried(self) -> Owed:
        """Nothing was sent to it: split off, or no provider could be used. That is no try."""
        park = self._park
        if park is None:
            return replace(self._owed, state=State.QUEUED, due_at=self._now)
        owed = replace(self._owed, reason=park.reason, lane=park.lane)
        if park.waiting:
            state = State.DEFERRED if park.until > self._now else State.QUEUED
            return replace(owed, state=state, due_at=park.until, since=self._since())
        return self._new_round(owed, self._parked_until(owed.tries))

    def _again(self, one: Tried, outcome: DeliveryOutcome) -> tuple[Owed, bool]:
        """What is owed to a recipient that was put off, and whether warning and expiry are judged now."""
        owed = replace(self._remembered(one, outcome), reason=f"{outcome.provider}: {outcome.reply}")
        if outcome.fault is Fault.UNCERTAIN:
            return self._uncertain(owed, outcome)
        if _split(one, outcome):
            return replace(owed, state=State.QUEUED, due_at=self._now), False
        if not self._movable(one, outcome):
            return self._new_round(owed, self._wait(owed.tries, outcome)), True
        if self._park is None:
            return replace(owed, state=State.QUEUED, due_at=self._now, since=self._since()), False
        if self._park.waiting:
            return replace(owed, state=State.DEFERRED, due_at=self._park.until, since=self._since()), True
        refused = counts(outcome) and outcome.verdict is Verdict.DEFERRED
        due = self._wait(owed.tries, outcome) if refused else self._parked_until(owed.tries)
        return self._new_round(owed, due), True

    def _uncertain(self, owed: Owed, outcome: DeliveryOutcome) -> tuple[Owed, bool]:
        """The same provider first: pinned to it, or (failover) by the order, which is the same for the same message."""
        reason = f"{outcome.provider}: the answer after the final dot was lost; it may have been delivered"
        policy = self._setting.policy.uncertain
        if policy is Uncertain.HOLD:
            return replace(owed, state=State.HELD, reason=reason), False
        if policy is Uncertain.RETRY_SAME:
            pin = owed.pin or outcome.provider
            owed = replace(owed, pin=pin, lane=pinned_lane(owed.lane, pin))
        return self._new_round(replace(owed, reason=reason), self._wait(owed.tries, outcome)), True

    def _remembered(self, one: Tried, outcome: DeliveryOutcome) -> Owed:
        """With what all of this lease's providers answered about this recipient, not only the last one."""
        heard = self._heard[outcome.recipient.address]
        counted = any(counts(o) for _, o in heard) and not _split(one, outcome)
        movable = [o for each, o in heard if self._movable(each, o)]
        return replace(
            self._owed,
            tries=self._owed.tries + counted,
            lane=one.send.lane,
            avoid=joined(self._owed.avoid, movable, Verdict.DEFERRED),
            refused=joined(self._owed.refused, movable, Verdict.REJECTED),
        )

    # Times.

    def _new_round(self, owed: Owed, due: float) -> Owed:
        return replace(owed, state=State.DEFERRED, due_at=due, since=due, avoid=())

    def _wait(self, tries: int, outcome: DeliveryOutcome) -> float:
        if outcome.retry_after is not None:
            return self._now + max(outcome.retry_after, 1.0)
        return self._backoff(tries)

    def _parked_until(self, tries: int) -> float:
        """When a provider may be usable; if one is already and has had its turn, our own back-off.

        A lane that is shut lets nothing out until one recovers, and then what it holds should not sleep on.
        What failed without being a try (a host that hangs up at MAIL) must not be repeated at the first pace for days:
        there the wait grows with the age of the message.
        """
        if self._park and self._park.shut:
            return self._now
        if self._park and self._park.until > self._now:
            return self._park.until
        age = self._now - begun(self._message, self._owed)
        return max(self._backoff(tries), self._now + min(age / 10, self._retry.max))

    def _backoff(self, tries: int) -> float:
        """One roll of the dice per number of tries, so that recipients with the same fate stay together."""
        if tries not in self._waits:
            self._waits[tries] = self._now + backoff(tries, self._retry, self._setting.rng)
        return self._waits[tries]

    def _since(self) -> float:
        return self._owed.since or self._message.received_at

    # Warning and expiry.

    def _timed(self, owed: Owed, judged: bool, group: list[Recipient]) -> Iterable[Owed]:
        """The remainder, or nothing if it has expired."""
        believed = judged and steady(owed.tries, self._setting.uptime)
        if believed and self._now >= self._message.expires_at:
            return self._expire(owed, group)
        if believed and not owed.warned and self._now >= warn_at(begun(self._message, owed), self._retry):
            owed = replace(owed, warned=True)
            self._fates[DELAY] += [Fate(recipient=r, reply=owed.reason, at=self._now) for r in group]
        due = deadline(self._message, owed, self._retry, self._now)
        return [replace(owed, recipients=tuple(group), deadline=due)]

    def _expire(self, owed: Owed, group: list[Recipient]) -> Iterable[Owed]:
        for recipient in group:
            heard = self._heard.get(recipient.address)
            outcome = heard[-1][1] if heard else None
            provider = outcome.provider if outcome else ""
            reply = str(outcome.reply) if outcome and outcome.reply.code else owed.reason
            self._ended.append(Ended(recipient=recipient, state=State.EXPIRED, provider=provider, reply=reply))
            fate = Fate(recipient=recipient, provider=provider, reply=reply, status="4.4.7", at=self._now)
            self._fates[BOUNCE].append(fate)
        event = TimelineEvent(at=self._now, kind="expired", recipients=addresses(group), detail=owed.reason)
        self._events.append(event)
        return ()

    # Telling.

    def _notices(self) -> Iterable[Notice]:
        if not reportable(self._message, self._setting.policy.bounces):
            return
        for kind, name in ((BOUNCE, "bounced"), (DELAY, "warned")):
            fates = tuple(fate for fate in self._fates[kind] if wanted(kind, fate.recipient))
            if fates:
                about = addresses(fate.recipient for fate in fates)
                self._events.append(TimelineEvent(at=self._now, kind=name, recipients=about))
                yield Notice(kind=kind, message=self._message, fates=fates)

    def _note_parking(self) -> None:
        """Once per reason, or a day of waiting would fill the timeline."""
        park = self._park
        if park is not None and not park.waiting and park.reason != self._owed.reason:
            self._events.append(TimelineEvent(at=self._now, kind="parked", detail=park.reason))


def _by_recipient(tried: Sequence[Tried]) -> dict[str, list[tuple[Tried, DeliveryOutcome]]]:
    heard: dict[str, list[tuple[Tried, DeliveryOutcome]]] = {}
    for one in tried:
        for outcome in one.outcomes:
            heard.setdefault(outcome.recipient.address, []).append((one, outcome))
    return heard


def _split(one: Tried, outcome: DeliveryOutcome) -> bool:
    """One recipient too many for a transaction that took others: no failure (hazard F4). Alone it is one."""
    return outcome.signal == "split" and any(other.signal != "split" for other in one.outcomes)


def _fate(outcome: DeliveryOutcome, now: float) -> Fate:
    return Fate(recipient=outcome.recipient, provider=outcome.provider, reply=str(outcome.reply), at=now)


def attempt_events(one: Tried, now: float) -> Iterable[TimelineEvent]:
    """One for each different answer, and one in front if the mail did not go where it would have gone first.

    The first says by which route, the first attempt what was said; it is the same for all.
    """
    send = one.send
    rule: int | None = NO_ROUTE if send.rule is None else send.rule
    rewrite = send.rewrite
    if send.failed_over_from:
        detail = f"instead of {send.failed_over_from}: {send.reason}"
        yield TimelineEvent(at=now, kind="failover", provider=send.provider, detail=detail, rule=rule, rewrite=rewrite)
        rule = rewrite = None
    conversation = one.outcomes[0].conversation if one.outcomes else ()
    for detail, about in _answers(one).items():
        yield TimelineEvent(
            at=now,
            kind="attempt",
            provider=send.provider,
            recipients=tuple(about),
            detail=detail,
            conversation=conversation,
            rule=rule,
            rewrite=rewrite,
        )
        conversation, rule, rewrite = (), None, None


def _answers(one: Tried) -> dict[str, list[str]]:
    heard: dict[str, list[str]] = {}
    for outcome in one.outcomes:
        word = "uncertain" if outcome.fault is Fault.UNCERTAIN else outcome.verdict
        heard.setdefault(f"{word}: {outcome.reply}", []).append(outcome.recipient.address)
    return heard


def addresses(recipients: Iterable[Recipient]) -> tuple[str, ...]:
    return tuple(recipient.address for recipient in recipients)


def _conserved(owed: Owed, settlement: Settlement) -> None:
    """claimed = handed over + failed for good + still owed. Anything else would lose or duplicate mail: refuse."""
    left = [ended.recipient.address for ended in settlement.ended]
    left += [recipient.address for remainder in settlement.remainders for recipient in remainder.recipients]
    if sorted(left) != sorted(addresses(owed.recipients)):
        raise AssertionError("settlement does not account for every recipient exactly once")


def accepted(outcome: DeliveryOutcome) -> Ended:
    return Ended(recipient=outcome.recipient, state=State.ACCEPTED, provider=outcome.provider, reply=str(outcome.reply))


def relayed(message: Message, outcomes: Iterable[DeliveryOutcome], now: float) -> tuple[Notice, ...]:
    """RFC 3461 6.2.2: SUCCESS was asked for and the upstream did not take over the DSN parameters.

    `bounces.send` does not silence it: somebody asked for it in so many words.
    """
    told = [o for o in outcomes if o.recipient.notify and o.verdict is Verdict.ACCEPTED and o.signal != "dsn"]
    if not told:
        return ()
    fates = tuple(_fate(o, now) for o in told if wanted(RELAYED, o.recipient))
    if not fates or not message.envelope.sender or message.source.kind in UNREPORTED:
        return ()
    return (Notice(kind=RELAYED, message=message, fates=fates),)
