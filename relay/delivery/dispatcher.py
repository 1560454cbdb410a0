"""The brain: which provider a message goes to now, or why it has to wait.

Called by spool (place), worker (appetite, choose, finished) and app (probes, reload). Never waits and does no I/O;
state changes when something is decided, so callers need no locks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from random import Random
from typing import Any

from msgspec.structs import replace

from relay.delivery import explain
from relay.delivery.attempt import Attempt, Park, Send, Tried, taken
from relay.delivery.limits import Meter
from relay.delivery.order import PATIENCE, alone, gone, origin, park, pick, stranded, unaccompanied, undisputed, walk
from relay.delivery.policy import DeliveryPolicy
from relay.delivery.provider import MOST_IN_FLIGHT, Obstacle, ProviderState
from relay.delivery.retry import NEVER, warn_at
from relay.delivery.router import Path, Router, pin_key, pinned_lane, via
from relay.delivery.status import ProviderStatus, status
from relay.events import FailedOver, Observer
from relay.model import (
    Appetite,
    Berth,
    DeliveryOutcome,
    Limits,
    Message,
    Provider,
    Recipient,
    Reservation,
    Rewrite,
    Route,
    State,
    Submission,
    Usage,
)

FAILOVERS_REMEMBERED = 10_000


class Dispatcher:
    """`capture`: no provider exists, new mail that names none is only kept. All of it changes by `replace`."""

    def __init__(
        self,
        providers: Iterable[Provider],
        routes: Sequence[Route],
        policy: DeliveryPolicy,
        *,
        rng: Random,
        observe: Observer,
        capture: bool = False,
    ) -> None:
        self.policy = policy
        self._rng = rng
        self._observe = observe
        self._in_flight = 0
        self._meters: dict[str, Meter] = {}
        self._reserved: dict[int, Meter] = {}
        self._failed_over: dict[tuple[str, str, str], None] = {}
        self._states: dict[str, ProviderState] = {}
        self._gone: dict[str, str] = {}
        self.replace(providers, routes, policy, now=0.0, capture=capture)

    def replace(
        self,
        providers: Iterable[Provider],
        routes: Sequence[Route],
        policy: DeliveryPolicy,
        *,
        now: float,
        capture: bool = False,
    ) -> None:
        """Live reload. An unchanged provider keeps its state, a changed one that was out is probed at once."""
        old = self._states
        providers = tuple(providers)
        for name in old.keys() - {provider.name for provider in providers}:
            del self._meters[name]  # another may have the name next; `load` knows what this one used if it comes back
        self.policy = policy
        self.capture = capture
        self._states = {p.name: self._state(p, old.get(p.name), now) for p in providers}
        self._router = Router(routes)
        self._gone = {key: name for key, name in self._gone.items() if name not in self._states}
        self._candidates: dict[str, tuple[ProviderState, ...]] = {
            **dict.fromkeys(self._gone, ()),
            **{pin_key(name): (state,) for name, state in self._states.items()},
            **{key: self._of(path) for key, path in self._router.paths.items()},
        }

    def load(self, usage: Iterable[Usage]) -> None:
        """What was used of the quotas, at least: before this process started, or while there was no limit."""
        for used in usage:  # also of providers that are not there now: a reload may bring them back
            self._meters.setdefault(used.provider, Meter(used.provider, Limits())).load(used)

    def rename(self, names: Mapping[str, str]) -> None:
        """Old names to new ones: what was used and learnt goes along. `replace` follows at once."""
        states = {new: self._states.pop(old) for old, new in names.items() if old in self._states}
        meters = {new: self._meters.pop(old) for old, new in names.items() if old in self._meters}
        for state in states.values():
            state.in_flight = 0  # what is on its way ends under the old name
        for new, meter in meters.items():
            meter.provider = new
        self._states |= states
        self._meters |= meters

    @property
    def header_names(self) -> frozenset[str]:
        """Lower-case names of the headers that routes match on."""
        return self._router.header_names

    # New mail.

    def place(self, submission: Submission) -> Sequence[Berth]:
        """Which lanes a new message lies in, and whether it may go to a worker at once (ports.Placement)."""
        message = submission.message
        groups = self._groups(message, message.envelope.recipients, submission.headers)
        return [self._berth(path, recipients, submission) for path, recipients in groups]

    def _berth(self, path: Path, recipients: tuple[Recipient, ...], submission: Submission) -> Berth:
        message = submission.message
        lane = path.lane(message.source)
        if self.capture and not message.via:
            return Berth(lane=lane, recipients=recipients, state=State.CAPTURED, ready=False, deadline=NEVER)
        now, begun = message.received_at, submission.due_at
        if begun <= now:
            deadline = min(message.expires_at, warn_at(now, self.policy.retry))
            ready = _usable(self._candidates[path.key], now)
            return Berth(lane=lane, recipients=recipients, ready=ready, deadline=deadline)
        # Whatever its deadline, a lease before it is due would send it early.
        deadline = max(min(message.expires_at, warn_at(begun, self.policy.retry)), begun)
        state = State.SCHEDULED
        return Berth(lane=lane, recipients=recipients, state=state, ready=False, deadline=deadline, due_at=begun)

    # Mail that is owed.

    def appetite(self, now: float) -> Appetite:
        """What a worker can take now. Call `choose` on what it was given before asking again."""
        room = {key: self._room(candidates, now) for key, candidates in self._candidates.items()}
        return Appetite(total=max(0, MOST_IN_FLIGHT - self._in_flight), room=room)

    def choose(self, attempt: Attempt, now: float) -> Send | Park:
        """What to do with the entry now; routes are looked up anew, so a repaired configuration counts at once."""
        parks: list[Park] = []
        for path, recipients in self._groups(attempt.entry.message, attempt.pending, attempt.headers):
            step = self._choose(path, recipients, attempt, now)
            if isinstance(step, Send):
                return step
            parks.append(step)
        return min(parks, key=lambda park: park.until)

    def finished(self, send: Send, outcomes: Sequence[DeliveryOutcome], now: float) -> Tried:
        """A Send is over: give back its place, end its reservation, learn. No outcomes: it was never made."""
        self._in_flight -= 1
        state = self._states.get(send.provider)
        if state is not None:
            state.in_flight = max(0, state.in_flight - 1)
        spent = None
        if send.reservation is not None:
            used = taken(outcomes, send.reservation)
            spent = self._reserved.pop(send.reservation.id).settle(send.reservation, used, now)
        if state is not None and (state.provider is send.settings or state.provider == send.settings):
            state.learn(outcomes, send.size, now)
        return Tried(send=send, outcomes=tuple(outcomes), spent=spent)

    def begin(self, provider: Provider, sender: str, to: Recipient, size: int, now: float) -> Send | Obstacle | None:
        """A transaction that a person asks for, with this provider even while it is out: it is a probe as well.

        An Obstacle: a limit of it is used up. None: it is no longer as it was. Like any Send it ends with `finished`.
        """
        state = self._states.get(provider.name)
        if state is None or state.provider != provider:
            return None
        obstacle = state.quota(now)
        if obstacle is not None:
            return obstacle
        reservation = self._reserve(state, 1, now)
        state.in_flight += 1
        self._in_flight += 1
        return Send(
            settings=state.provider,
            recipients=(to,),
            sender=sender,
            lane="",
            size=size,
            reservation=reservation,
            alone=True,
        )

    def learned(self, provider: str, outcomes: Sequence[DeliveryOutcome], now: float, *, size: int = 0) -> None:
        """What outcomes say about the provider. `finished` calls it; `size`: of the message, 0 if unknown."""
        state = self._states.get(provider)
        if state is not None:
            state.learn(outcomes, size, now)

    def wakes_at(self, now: float) -> float | None:
        """When room may appear by itself (a minute over, a pause, a quota), None: never. For the worker's wait."""
        obstacles = [state.obstacle(now) for state in self._states.values()]
        return min((o.until for o in obstacles if o is not None and o.until > now), default=None)

    # Probes: the app makes them, by its own timer.

    def next_probe(self) -> float | None:
        """When `probes_due` will next have something, None: nothing is out."""
        return min((at for state in self._states.values() if (at := state.probe_at)), default=None)

    def probes_due(self, now: float) -> list[Provider]:
        """Providers to be probed now, with EHLO and AUTH. They are the caller's until it says `probed`."""
        due = [state for state in self._states.values() if 0 < state.probe_at <= now]
        for state in due:
            state.probing(now)
        return [state.provider for state in due]

    def hurry(self, provider: str, now: float) -> None:
        """Somebody says that it is mended: if it is out, a probe is due."""
        state = self._states.get(provider)
        if state is not None:
            state.hurry(now)

    def probed(self, provider: Provider, outcome: DeliveryOutcome | None, now: float) -> None:
        """What a probe found, also one that people asked for. None: all well. Of an older provider it says nothing."""
        state = self._states.get(provider.name)
        if state is not None and state.provider == provider:
            state.probed(outcome, now)

    # For people.

    def statuses(self, now: float) -> tuple[ProviderStatus, ...]:
        return tuple(status(state, now) for state in self._states.values())

    def explain(self, *, sender: str, recipient: str, size: int, client: str, now: float) -> Mapping[str, Any]:
        """The walk that `choose` would make for such a message, with reasons (ports.Explain)."""
        path, assumed = self._router.guess(sender, recipient, client)
        message = explain.example(sender, recipient, size, client, now)
        options = walk(self._asked(path), message, (), (), now)
        chosen = pick(options, message, False)
        question = explain.Question(message=message, path=path, assumed=assumed, capture=self.capture)
        return explain.answer(question, options, chosen, now)

    def why(self, lane: str, now: float) -> str:
        """Why nothing of this lane moves and what happens next, or "" when it can."""
        key = lane.partition(":")[0]
        candidates = self._candidates.get(key)
        if key in self._gone:
            return gone(self._gone[key])
        if self.capture and not candidates:
            return explain.NO_PROVIDER
        return "" if candidates is None else explain.standstill(candidates, now)

    def hosts(self) -> Mapping[str, str]:
        """Host names by provider, for reports."""
        return {name: state.provider.host for name, state in self._states.items()}

    # Inside.

    def _state(self, provider: Provider, old: ProviderState | None, now: float) -> ProviderState:
        if old is not None and old.provider == provider:
            old.circuit.policy = self.policy.circuit
            return old
        meter = self._meters.setdefault(provider.name, Meter(provider.name, provider.limits))
        meter.limits = provider.limits
        state = ProviderState(provider, self.policy.circuit, meter, self._observe)
        if old is not None:
            state.inherit(old, now)
        return state

    def _groups(
        self, message: Message, recipients: tuple[Recipient, ...], headers: Mapping[str, str]
    ) -> Sequence[tuple[Path, tuple[Recipient, ...]]]:
        """Recipients by where they go: by routes, unless the message names its provider."""
        if not message.via:
            return self._router.groups(message.envelope.sender, recipients, message.source, headers)
        path = via(message.via, exists=message.via in self._states)
        if path.key not in self._candidates:  # its lane gets no room before there is one
            self._gone[path.key] = message.via
            self._candidates[path.key] = ()
        return ((path, recipients),)

    def _of(self, path: Path) -> tuple[ProviderState, ...]:
        """The candidates of a path in order. A route that names a provider means it, active or not."""
        return tuple(s for s in self._asked(path) if path.providers or s.provider.active)

    def _asked(self, path: Path) -> Sequence[ProviderState]:
        """The candidates and, for people who wonder, those that nothing but being inactive keeps from being ones."""
        found = [s for name in path.providers or self._states if (s := self._states.get(name))]
        return sorted((s for s in found if not s.provider.reserved), key=_priority)

    def _room(self, candidates: Sequence[ProviderState], now: float) -> int:
        """Room of the tier that mail of this lane would go to now.

        Behind a tier that paces us the next one counts too: what has waited long enough goes there. Not behind one
        that is merely busy, or entries would be claimed only to be put back.
        """
        for _, tier in groupby(candidates, key=_priority):
            seen = [(state, state.obstacle(now)) for state in tier]
            if any(obstacle is None for _, obstacle in seen):
                return sum(state.room(now) for state, obstacle in seen if obstacle is None)
            if any(obstacle is not None and obstacle.kind == "busy" for _, obstacle in seen):
                return 0
        return 0

    def _choose(self, path: Path, recipients: tuple[Recipient, ...], attempt: Attempt, now: float) -> Send | Park:
        message, owed = attempt.entry.message, attempt.entry.owed
        candidates, lane = self._candidates[path.key], path.lane(message.source)
        if owed.pin in self._states:
            candidates, lane = self._candidates[pin_key(owed.pin)], pinned_lane(lane, owed.pin)
        if message.via and not candidates:
            return stranded(message.via, lane, now)
        if not (attempt.avoid or attempt.refused) and (first := undisputed(candidates, message, now)) is not None:
            return self._send(first, path, recipients, attempt, lane, now, last=unaccompanied(candidates, first))
        options = walk(candidates, message, attempt.avoid, attempt.refused, now)
        impatient = now - (owed.since or message.received_at) >= PATIENCE
        chosen = pick(options, message, impatient)
        if chosen is None:
            return park(options, lane, owed.since or message.received_at, impatient, now)
        last = alone(options, chosen, attempt.refused)
        send = self._send(chosen.state, path, recipients, attempt, lane, now, last=last)
        before = origin(options, chosen)
        if before is None:
            return send
        reason = before.obstacle.reason if before.obstacle else ""
        send = replace(send, failed_over_from=before.state.provider.name, reason=reason)
        self._count_failover(message, send)
        return send

    def _send(
        self,
        state: ProviderState,
        path: Path,
        recipients: tuple[Recipient, ...],
        attempt: Attempt,
        lane: str,
        now: float,
        *,
        last: bool,
    ) -> Send:
        message = attempt.entry.message
        if len(recipients) > 1:
            recipients = recipients[: state.most_recipients(len(recipients), now)]
        send = Send(
            settings=state.provider,
            recipients=recipients,
            sender=_sender(message, path.rewrite),
            lane=lane,
            size=message.size,
            rewrite=path.rewrite,
            reservation=self._reserve(state, len(recipients), now),
            alone=last,
            rule=path.rule,
        )
        state.in_flight += 1
        self._in_flight += 1
        return send

    def _count_failover(self, message: Message, send: Send) -> None:
        """Once per message: one that is split, or comes again, goes the same way and is the same failover."""
        key = (message.id, send.failed_over_from, send.provider)
        if key in self._failed_over:
            return
        self._failed_over[key] = None
        if len(self._failed_over) > FAILOVERS_REMEMBERED:
            del self._failed_over[next(iter(self._failed_over))]
        self._observe(
            FailedOver(message=message.id, origin=send.failed_over_from, target=send.provider, reason=send.reason)
        )

    def _reserve(self, state: ProviderState, recipients: int, now: float) -> Reservation | None:
        limits = state.provider.limits
        if not limits.metered:
            return None
        amount = recipients if limits.count == "recipients" else 1
        reservation = state.meter.reserve(amount, now, self._rng.getrandbits(62))
        self._reserved[reservation.id] = state.meter
        return reservation


def _usable(candidates: Sequence[ProviderState], now: float) -> bool:
    for state in candidates:  # noqa: SIM110 - for every message, and mostly the first
        if state.obstacle(now) is None:
            return True
    return False


def _priority(state: ProviderState) -> int:
    return state.provider.priority


def _sender(message: Message, rewrite: Rewrite | None) -> str:
    """The null sender stays null whatever a route says: a bounce must never be answered (hazard E2)."""
    sender = message.envelope.sender
    return rewrite.envelope_from if sender and rewrite and rewrite.envelope_from else sender
