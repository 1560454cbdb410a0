"""The spool in memory: the executable specification of the one on disk, and the fake for tests of other rooms.

Implements Intake, Work, Budget, Desk and Happenings of `ports`. It keeps nothing over a restart and never touches a
disk; it is plain rather than fast.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Collection, Sequence

from relay.events import Observer, nobody
from relay.model import (
    Appetite,
    Body,
    Claim,
    Happening,
    Lease,
    MessageId,
    QueueEntry,
    Reply,
    Reservation,
    Settlement,
    Spent,
    State,
    Submission,
    Usage,
)
from relay.ports import CLAIMED, BodyWriter, Clock, Placement
from relay.spool import ids, settling
from relay.spool.lanes import OVERDUE, route_key, spend
from relay.spool.limits import CLAIMED_FOR, Gauge, SpoolLimits, weight
from relay.spool.memory_desk import MemoryDesk
from relay.spool.memory_state import Entry, Live, Store
from relay.spool.placing import crowded_out, debts
from relay.spool.usage import Ledger
from relay.spool.views import Gone


class MemoryWriter:
    """A BodyWriter that needs no disk."""

    def __init__(self) -> None:
        self.size = 0
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> bool:
        self.size += len(data)
        self._pieces.append(bytes(data))
        return False

    async def drain(self) -> None:
        """Nothing piles up."""

    async def finish(self) -> Body:
        return Body(size=self.size, data=b"".join(self._pieces))

    async def discard(self) -> None:
        self._pieces.clear()


class MemorySpool(MemoryDesk):
    """`place` may be replaced at any time (reload)."""

    def __init__(
        self,
        place: Placement,
        limits: SpoolLimits | None = None,
        *,
        observe: Observer = nobody,
        free: Callable[[], int] = lambda: 1 << 62,
        clock: Clock = time.time,
    ) -> None:
        self.place = place
        self._free = free
        super().__init__(Store(), Gauge(limits or SpoolLimits(), free()), observe, clock)
        self._ids = ids.IdSource()
        self._tokens = itertools.count(1)
        self._leases: dict[int, tuple[Live, Entry]] = {}
        self._ledger = Ledger()
        self._claimed_at = 0.0

    @property
    def limits(self) -> SpoolLimits:
        """May be replaced at any time (reload)."""
        return self._gauge.limits

    @limits.setter
    def limits(self, limits: SpoolLimits) -> None:
        self._gauge.limits = limits

    # Intake

    def new_id(self, now: float) -> MessageId:
        return ids.encode(self._ids.next(now))

    def admits(self, size: int) -> Reply | None:
        return self._gauge.admits(size)

    def writer(self, message: MessageId) -> BodyWriter:
        return MemoryWriter()

    async def accept(
        self, batch: Sequence[Submission], *, claim: Claim | None = None, happening: Happening | None = None
    ) -> Reply | None:
        size = sum(submission.message.size for submission in batch) + weight(happening)
        refused = self._gauge.takes(len(batch), size)
        if refused is not None:
            return refused
        if claim is not None:
            if self._in_use(claim.owner, claim.key, claim.at):
                return CLAIMED
            self._store.claims[claim.owner, claim.key] = claim
        if happening is not None:
            self._store.happenings[ids.decode(happening.id)] = happening
        for submission in batch:
            self._insert(submission)
        return None

    async def claimed(self, owner: str, key: str) -> Claim | None:
        return self._in_use(owner, key, self._clock())

    def _in_use(self, owner: str, key: str, now: float) -> Claim | None:
        claim = self._store.claims.get((owner, key))
        return claim if claim and claim.at > now - CLAIMED_FOR else None

    def _insert(self, submission: Submission) -> None:
        message = submission.message
        entries = [Entry(owed) for owed, _ in debts(submission, self.place)]
        self._store.live[message.id] = Live(message, submission.body, entries)
        self._gauge.grow(message.size)
        self._news.set()

    # Work

    async def claim(self, appetite: Appetite, now: float) -> Sequence[Lease]:
        self._news.clear()
        self._claimed_at = now
        waiting = [(live, entry) for live in self._store.live.values() for entry in live.entries if entry.waits]
        overdue = sorted((pair for pair in waiting if pair[1].owed.deadline <= now), key=lambda p: p[1].owed.deadline)
        taken = overdue[:OVERDUE]
        due = sorted((pair for pair in waiting if pair[1].owed.due_at <= now and pair not in taken), key=_age)
        return [self._lease(live, entry) for live, entry in taken + _in_turn(due, appetite)]

    def _lease(self, live: Live, entry: Entry) -> Lease:
        token = next(self._tokens)
        entry.leased = True
        self._leases[token] = (live, entry)
        return Lease(
            token=token, entry=QueueEntry(id=entry.id, message=live.message, owed=settling.offered(entry.owed))
        )

    async def body(self, message: MessageId) -> Body | None:
        live = self._store.live.get(message)
        return live.body if live else None

    async def settle(self, done: Sequence[Settlement]) -> Collection[int]:
        honoured: list[int] = []
        broken: settling.ConservationError | None = None
        for settlement in done:
            try:
                honoured += self._settle(settlement)
            except settling.ConservationError as error:
                broken = error
        if broken:
            raise broken
        return honoured

    def _settle(self, done: Settlement) -> list[int]:
        if done.token not in self._leases:
            return []
        live, entry = self._leases[done.token]
        now = self._clock()
        result = settling.settle(entry.owed, done, entry.wish, now)
        del self._leases[done.token]
        tries = settling.tries_after(entry.owed, done.events)
        live.entries.remove(entry)
        live.entries += [Entry(remainder) for remainder in result.remainders]
        live.past += [Gone(ended=ended, tries=tries) for ended in result.ended]
        live.past += result.events
        self._end(live, now)
        for spent in done.usage:
            self._ledger.spend(spent)
        for notice in done.notices:
            self._insert(notice)
        self._news.set()
        return [done.token]

    def can_settle(self) -> bool:
        return True

    async def wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._news.wait(), min(seconds, self._next_due()))
        except TimeoutError:
            return

    def wake(self) -> None:
        self._news.set()

    def _next_due(self) -> float:
        """Seconds until something comes due that was not when it was claimed last."""
        times = [e.owed.due_at for live in self._store.live.values() for e in live.entries if e.waits]
        return min((at for at in times if at > self._claimed_at), default=float("inf")) - self._clock()

    # Budget

    async def usage(self, now: float) -> Sequence[Usage]:
        return self._ledger.usage(now)

    async def reserve(self, wanted: Sequence[Reservation]) -> bool:
        for reservation in wanted:
            self._ledger.reserve(reservation)
        return True

    async def spend(self, done: Sequence[Spent]) -> bool:
        for spent in done:
            self._ledger.spend(spent)
        return True

    # Upkeep

    async def maintain(self, now: float) -> None:
        """What is done every few seconds: old history and captured mail that is too much go."""
        self._gauge.free = self._free()
        self._prune_captured(now)
        self._prune_history(now)
        self._prune_happenings(now)
        for key, claim in [*self._store.claims.items()]:
            if claim.at <= now - CLAIMED_FOR:
                del self._store.claims[key]

    def _prune_captured(self, now: float) -> None:
        most, room = self.limits.captured_messages, self.limits.captured_bytes
        kept = size = 0
        for live in sorted(self._store.live.values(), key=lambda live: live.message.id, reverse=True):
            if all(entry.owed.state is not State.CAPTURED for entry in live.entries):
                continue
            kept, size = kept + 1, size + live.message.size
            if kept > most or size > room:
                self._cancel(live, crowded_out(most, room), now)

    def _prune_history(self, now: float) -> None:
        records = sorted(self._store.history.values(), key=lambda record: record.ended_at)
        beyond = max(0, len(records) - self.limits.max_messages)
        for n, record in enumerate(records):
            if n < beyond or record.ended_at < now - self.limits.keep:
                del self._store.history[record.message.id]

    def _prune_happenings(self, now: float) -> None:
        kept = sorted(self._store.happenings, reverse=True)[: self.limits.max_messages]
        self._store.happenings = {
            number: happening
            for number in kept
            if (happening := self._store.happenings[number]).at >= now - self.limits.keep
        }

    async def close(self) -> None:
        """Nothing is kept."""


def _age(pair: tuple[Live, Entry]) -> tuple[float, str, int]:
    live, entry = pair
    return entry.owed.due_at, live.message.id, entry.id


def _in_turn(due: list[tuple[Live, Entry]], appetite: Appetite) -> list[tuple[Live, Entry]]:
    """Oldest first within a lane, one of each lane before two of any, within the room of the route keys."""
    lanes: dict[str, list[tuple[Live, Entry]]] = {}
    for pair in due:
        lanes.setdefault(pair[1].owed.lane, []).append(pair)
    left = dict(appetite.room)
    taken: list[tuple[Live, Entry]] = []
    for turn in itertools.zip_longest(*lanes.values()):
        for pair in turn:
            if pair is None or len(taken) >= appetite.total:
                continue
            key = route_key(pair[1].owed.lane)
            if left.get(key, 1) > 0:
                spend(left, key)
                taken.append(pair)
    return taken
