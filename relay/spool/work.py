"""The worker's side: claim, body, settle, wait.

Part of the SQLite spool; implements `ports.Work`. In steady state, new mail that is sent at once, it asks the database
nothing: a claim comes from memory, a settlement is one row of a commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import apsw

from relay.db.answers import is_damage
from relay.db.errors import StorageFailed, StorageFull
from relay.db.writer import Operation
from relay.events import MessageEnded
from relay.model import Appetite, Body, Lease, MessageId, Settlement, State
from relay.spool import claims, rows, settling, usage
from relay.spool.books import Books
from relay.spool.ids import decode
from relay.spool.leases import NOBODY_ENDED, Held
from relay.spool.settling import RANK, state_of

_log = logging.getLogger(__name__)

# A settlement must not be lost to a full disk: the mail was sent. It is written again until there is room.
AGAIN = 1.0


class Work:
    def __init__(self, books: Books) -> None:
        self._books = books
        self._bodies = _BodyReads(books)
        self._claimed_at = 0.0

    async def claim(self, appetite: Appetite, now: float) -> Sequence[Lease]:
        books = self._books
        books.news.clear()
        self._claimed_at = now
        if books.database.failure:
            return ()  # what cannot be settled must not be sent
        total, room = max(appetite.total, 0), appetite.room
        wanted = books.lanes.pick(total - min(books.ready.available(total, room), total // 2), room, now)
        overdue = books.lanes.deadline <= now
        if wanted or overdue:
            refill = Refill(books, partial(claims.take, wanted=wanted, overdue=overdue, now=now), now)
            books.database.write(refill)
            await refill.landed
        return [held.lease for held in books.ready.take(total, room)]

    async def body(self, message: MessageId) -> Body | None:
        return self._books.cache.get(message) or await self._bodies.get(message)

    async def settle(self, done: Sequence[Settlement]) -> Collection[int]:
        departures: list[Departure] = []
        broken: settling.ConservationError | None = None
        for settlement in done:
            held = self._books.leases.get(settlement.token)
            if held is None:
                continue
            try:
                departures.append(Departure(self._books, held, settlement))
            except settling.ConservationError as error:
                broken = error
        for departure in departures:
            self._books.database.write(departure)
        honoured = [departure.token for departure in departures if await departure.honoured]
        if broken:
            raise broken
        return honoured

    async def give_back(self, before: float) -> None:
        """New mail that no worker took for long waits like any other: it has deadlines, and people see it wait."""
        stale = self._books.ready.drain(before)
        await self.settle([Settlement(token=h.lease.token, remainders=(h.lease.entry.owed,)) for h in stale])

    async def wait(self, seconds: float) -> None:
        books = self._books
        if books.news.is_set():
            return
        until = books.lanes.next_due(self._claimed_at) - books.clock()
        over = books.loop.call_later(max(0.0, min(seconds, until)), books.news.set)
        try:
            await books.news.wait()
        finally:
            over.cancel()


class Refill(Operation):
    """A claim that asks the database. What it leases goes to the ready ones, also when the claimer has gone."""

    __slots__ = ("_books", "_now", "landed")

    def __init__(self, books: Books, take: Callable[[apsw.Connection], claims.Taken], now: float) -> None:
        super().__init__(task=take)
        self._books = books
        self._now = now
        self.landed: asyncio.Future[None] = books.loop.create_future()

    def finished(self, result: Any, error: Exception | None) -> None:
        if self._books.again(self, error):
            return
        if not self.landed.done():  # before anything else: whoever waits must not wait for ever
            self.landed.set_result(None)
        if error is None:
            self._land(result)
        elif is_damage(error):
            _log.error("claiming failed: %s; look at the disk and the system's log", error)

    def _land(self, taken: claims.Taken) -> None:
        books = self._books
        for problem in taken.damaged:
            if not books.saw(problem):
                _log.error("a part of the queue cannot be read: %s; restore the spool from a backup", problem)
        for lane, due_at in taken.next_due.items():
            books.lanes.refresh(lane, due_at)
        if taken.deadline is not None:
            books.lanes.deadline = taken.deadline
        for row in taken.rows + taken.overdue:
            held = claims.held(row, next(books.tokens), self._now)
            if held is None:
                books.database.write(Operation(task=partial(claims.quarantine, row=row)))
                continue
            held.overdue = row in taken.overdue
            books.leases[held.lease.token] = held
            books.ready.put(held)


class Departure(Operation):
    """One settlement on its way to the disk. The lease is consumed when it is decided, not when it is written."""

    __slots__ = ("_arrivals", "_books", "_held", "_result", "honoured", "token")

    def __init__(self, books: Books, held: Held, done: Settlement) -> None:
        entry, now = held.lease.entry, books.clock()
        everybody = entry.message.envelope.recipients
        result = settling.settle(entry.owed, done, held.wish, now)
        self._books, self._held, self._result, self.token = books, held, result, done.token
        self._arrivals = [books.board(notice) for notice in done.notices]
        tries = settling.tries_after(entry.owed, done.events)
        changes = [rows.debt(held.number, owed, everybody) for owed in result.remainders]
        changes.append(rows.done(held.number, held.part, now, result.ended, result.events, tries))
        for arrival in self._arrivals:
            changes += arrival.changes
        changes += [usage.spend(spent) for spent in done.usage]
        super().__init__(changes, None if held.alone else self._look)
        self.honoured: asyncio.Future[bool] = books.loop.create_future()
        del books.leases[done.token]
        books.cache.drop(entry.message.id)

    def _look(self, connection: apsw.Connection) -> int | None:
        """The state in which the message ended, if it did: only the database knows of its other entries."""
        found: list[Any] = connection.execute("SELECT state FROM history WHERE id = ?", (self._held.number,)).fetchall()
        return found[0][0] if found else None

    def finished(self, result: Any, error: Exception | None) -> None:
        if self._books.again(self, error):
            return
        if isinstance(error, StorageFull):
            self._books.loop.call_later(AGAIN, self._books.database.write, self)
            return
        if error is not None:
            self._fail(error)
        if not self.honoured.done():
            self.honoured.set_result(error is None)
        if error is None:
            self._land(result)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, StorageFailed):
            self._books.database.fail(str(error))
        for arrival in self._arrivals:
            self._books.sink(arrival)
        if not isinstance(error, StorageFailed) and not self.honoured.done():
            # A bug or a damaged page, of this settlement only: its caller may settle it in another way.
            self._books.leases[self.token] = self._held
            self.honoured.set_exception(error)

    def _land(self, state: int | None) -> None:
        books, result = self._books, self._result
        for owed in result.remainders:
            books.wait_for(owed)
        for arrival in self._arrivals:
            books.gauge.grow(arrival.submission.message.size)
            books.land(arrival)
        if self._held.alone and not result.remainders:
            state = min([self._held.best, *[RANK[end.state] for end in result.ended]])
        if state is not None and state < NOBODY_ENDED:
            message = self._held.lease.entry.message
            ended(books, message.id, self._held.number, message.size, state, self._held.file)
        books.news.set()


def ended(books: Books, message: MessageId, number: int, size: int, state: int, file: bool) -> None:
    """The last recipient of a message left the queue, durably."""
    books.gauge.shrink(number, size)
    if file:
        books.loop.run_in_executor(None, books.files.remove, [message])
    books.observe(MessageEnded(message=message, state=state_of(state, State.CANCELLED)))


class _BodyReads:
    """Reads bodies from the database, all that are wanted at once in one go; each file for itself."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._wanted: dict[int, asyncio.Future[claims.Stored]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, message: MessageId) -> Body | None:
        number = decode(message)
        wanted = self._wanted.get(number)
        if wanted is None:
            wanted = self._wanted[number] = asyncio.get_running_loop().create_future()
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        stored = await asyncio.shield(wanted)
        if not stored.file:
            return stored.body
        return await asyncio.to_thread(self._books.files.find, message, stored.size, stored.crc)

    async def _read(self) -> None:
        try:
            while self._wanted:
                wanted, self._wanted = self._wanted, {}
                await self._answer(wanted)
        finally:
            self._reading = None

    async def _answer(self, wanted: dict[int, asyncio.Future[claims.Stored]]) -> None:
        try:
            damaged: list[Exception] = []
            found = await self._books.database.work.ask(lambda c: claims.bodies(c, list(wanted), damaged))
            for problem in damaged:
                self._books.saw(problem)
        except Exception:  # whatever it is, somebody waits for each of them: it is held for people to look at
            found = {}
        for number, future in wanted.items():
            if not future.done():
                future.set_result(found.get(number, claims.Stored()))
