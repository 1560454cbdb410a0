"""What is done at start and every few seconds: recovery, pruning, giving space back.

Part of the SQLite spool. Every step is small enough that nobody notices; it never touches mail that is on its way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import apsw

from relay.db.answers import answer
from relay.db.changes import apply
from relay.db.errors import StorageFailed, StorageFull
from relay.db.writer import Operation, Task, vacuum
from relay.spool import happenings, ids, keys, tally, usage
from relay.spool.acting import Acting, Order, decide
from relay.spool.books import Books
from relay.spool.lanes import NEVER
from relay.spool.limits import Gauge
from relay.spool.placing import crowded_out
from relay.spool.settling import CANCEL, HOLD
from relay.spool.work import Work

# New mail that no worker took in this time waits in the database like any other.
UNCLAIMED = 5.0
PRUNED = 2000
ROUNDS = 25
COUNTING = 200
# Space is given back in idle steps, and only when it is much: what is free is soon used again.
SPARE_PAGES = 4096
VACUUM_PAGES = 256
# Further ahead than any retry: such a time was made by a clock that was wrong (hazard G7).
FAR = 86400.0

_VOID = """
UPDATE entry SET waiting = 1, due_at = min(due_at, :now),
    state = iif(iif(json_valid(owed), coalesce(owed ->> 'tries', 0), 0) > 0, 2, 0)
WHERE state = 1
"""
_WISHED = "UPDATE entry SET state = 4, waiting = 0, wish = '' WHERE wish = ? AND state IN (0, 2)"
_CANCEL = "SELECT DISTINCT message FROM entry WHERE wish = ? AND state IN (0, 2) ORDER BY message"
# +waiting: read in the order of the table, once. By an index every row is looked up for itself, 3 s for a million.
_FAR = "UPDATE entry SET due_at = :now WHERE +waiting = 1 AND state <> 3 AND due_at > :far"
_STEP = "UPDATE entry SET due_at = due_at - ? WHERE waiting = 1 AND state <> 3"
# A time that is no number sorts behind all that are; alone in its lane it counts as due, so that the claim sees it.
_TIME = "iif(typeof({0}) IN ('real', 'integer', 'null'), {0}, 0.0)"
_LANES = f"""
SELECT json_group_array(json_array(lane, {_TIME.format("due")}))
FROM (SELECT CAST(lane AS TEXT) AS lane, min(due_at) AS due FROM entry WHERE waiting = 1 GROUP BY lane)
"""  # nosec B608
_NO_LANE = "UPDATE entry SET state = 4, waiting = 0 WHERE +waiting = 1 AND typeof(lane) <> 'text'"
_LOST = "UPDATE entry SET state = 4, waiting = 0 WHERE waiting = 1 AND CAST(lane AS BLOB) IS ?"
_DEADLINE = f"SELECT {_TIME.format('at')} FROM (SELECT min(deadline) AS at FROM entry WHERE waiting = 1)"  # nosec B608
_LARGEST = """
SELECT max(coalesce((SELECT max(id) FROM message), 0), coalesce((SELECT max(id) FROM history), 0),
           coalesce((SELECT max(id) FROM event), 0))
"""
# What is owed keeps its file whatever became of its row, which a flipped bit may have given another number (hazard G6).
_FILES = """
SELECT json_group_array(value) FROM json_each(?)
WHERE EXISTS (SELECT 1 FROM message WHERE id = value) OR EXISTS (SELECT 1 FROM entry WHERE message = value)
"""
_PRUNE_OLD = "DELETE FROM history WHERE id IN (SELECT id FROM history WHERE ended_at < ? ORDER BY ended_at LIMIT ?)"
_PRUNE_MANY = "DELETE FROM history WHERE id IN (SELECT id FROM history ORDER BY ended_at LIMIT ?)"
_CROWDED = """
SELECT json_group_array(message) FROM (
    SELECT message, row_number() OVER newest AS n, sum(size) OVER newest AS total
    FROM (SELECT DISTINCT e.message, m.size FROM entry AS e JOIN message AS m ON m.id = e.message WHERE e.state = 5)
    WINDOW newest AS (ORDER BY message DESC))
WHERE n > ? OR total > ?
"""


def start(connection: apsw.Connection, books: Books, now: float) -> int:
    """Recover, and learn what is there. Gives back the largest id."""
    recover(connection, now)
    largest: int = _value(connection, _LARGEST)
    load(connection, books, largest)
    return largest


def recover(connection: apsw.Connection, now: float) -> None:
    """Make the queue whole after the process before this one ended, however it did."""
    with connection:
        usage.recover(connection, now)
        # The lock proves that no other process lives: every lease is void, its mail due now, oldest first.
        connection.execute(_VOID, {"now": now})
        connection.execute(_WISHED, (HOLD,))
        connection.execute(_FAR, {"now": now, "far": now + FAR})
        connection.execute(_NO_LANE)
        wished: list[Any] = connection.execute(_CANCEL, (CANCEL,)).fetchall()
        if wished:
            order = Order(action="cancel", now=now)
            apply(connection, decide(connection, order, [number for (number,) in wished], frozenset()).changes)


def load(connection: apsw.Connection, books: Books, largest: int) -> None:
    """What the process must know: lanes, deadlines, live bytes; and files that belong to no message go."""
    learn_lanes(books, _first_due(connection))
    gauge = books.gauge
    gauge.uncounted = range(largest + 1)
    tally.add(gauge, tally.count(connection, gauge.uncounted, tally.AT_START, gauge.limits.max_size))
    _remove_orphans(connection, books)


def _first_due(connection: apsw.Connection) -> tuple[list[tuple[str, float]], float]:
    """When each lane is first due, and the first deadline: one scan of an index."""
    deadline = _value(connection, _DEADLINE)
    lanes: list[tuple[str | None, float | None]] = answer(connection, _LANES)
    known: list[tuple[str, float]] = []
    for lane, due_at in lanes:
        if lane is not None and lane.isascii() and isinstance(due_at, int | float):
            known.append((lane, due_at))
        else:  # a flipped bit: nobody could claim it by that name or time, so it is held, for people to see
            connection.execute(_LOST, (lane if lane is None else lane.encode("utf-8", "surrogateescape"),))
    return known, deadline if isinstance(deadline, int | float) else NEVER if deadline is None else 0.0


def learn_lanes(books: Books, first: tuple[list[tuple[str, float]], float]) -> None:
    lanes, deadline = first
    for lane, due_at in lanes:
        books.lanes.add(lane, due_at, deadline)


def _remove_orphans(connection: apsw.Connection, books: Books) -> None:
    names = books.files.names()
    numbers = [number for name in names if (number := ids.find(name)) is not None]
    wanted = {ids.encode(number) for number in json.loads(_value(connection, _FILES, (json.dumps(numbers),)))}
    books.files.remove(name for name in names if name not in wanted)


def _value(connection: apsw.Connection, statement: str, values: Any = ()) -> Any:
    rows: list[Any] = connection.execute(statement, values).fetchall()
    return rows[0][0] if rows else None


class Upkeep:
    def __init__(self, books: Books, work: Work, acting: Acting, free: Callable[[], int], now: float) -> None:
        self._books = books
        self._work = work
        self._acting = acting
        self._free = free
        self._last = now

    async def maintain(self, now: float) -> None:
        """Every few seconds: give back what nobody took, prune, measure the disk, give space back."""
        books = self._books
        books.gauge.free = self._free()
        books.reserve.fill(books.gauge.free - books.gauge.limits.low_disk)
        if books.database.failure:
            return
        await self._work.give_back(now - UNCLAIMED)
        with contextlib.suppress(StorageFailed):  # a damaged page: told by whoever met it
            await self._tidy(now)

    async def _tidy(self, now: float) -> None:
        await self._count()
        await self._mend_clock(now)
        await self._prune_captured(now)
        await self._prune("SELECT count(*) FROM history", _prune, now)
        await self._prune(happenings.COUNT, happenings.prune, now)
        await self._prune_keys(now)
        await self._run(lambda connection: usage.prune(connection, now))
        await self._run(_give_space_back)

    async def _count(self) -> None:
        for _ in range(COUNTING):
            if not self._books.gauge.uncounted or not await self._done(_Count(self._books.gauge)):
                return

    async def _mend_clock(self, now: float) -> None:
        """The clock went back by an hour: what waits for a retry must not wait an hour longer (hazard G7)."""
        step, self._last = self._last - now, now
        if step > 60.0:
            learn_lanes(self._books, await self._run(partial(_step_back, step=step)) or ([], NEVER))

    async def _prune_captured(self, now: float) -> None:
        limits = self._books.gauge.limits
        most, size = limits.captured_messages, limits.captured_bytes
        crowded = await self._books.look(lambda c: json.loads(_value(c, _CROWDED, (most, size))))
        order = Order(action="cancel", now=now, why=crowded_out(most, size))
        for start in range(0, len(crowded), PRUNED):
            numbers = crowded[start : start + PRUNED]
            await self._acting.carry_out(order, partial(decide, order=order, numbers=numbers, unclaimed=frozenset()))

    async def _prune(self, count: str, prune: Callable[..., int], now: float) -> None:
        """What is kept for people, by age and by number."""
        limits = self._books.gauge.limits
        for _ in range(ROUNDS):
            many = await self._books.look(lambda c: _value(c, count))
            beyond = min(PRUNED, many - limits.max_messages)
            if not await self._run(partial(prune, before=now - limits.keep, beyond=beyond, most=PRUNED)):
                return

    async def _prune_keys(self, now: float) -> None:
        for _ in range(ROUNDS):
            if not await self._run(partial(keys.prune, now=now, most=PRUNED)):
                return

    async def _run(self, task: Task) -> Any:
        return await self._done(_Step(task))

    async def _done(self, step: _Step) -> Any:
        self._books.database.write(step)
        return await step.done


def _step_back(connection: apsw.Connection, step: float) -> tuple[list[tuple[str, float]], float]:
    connection.execute(_STEP, (step,))
    return _first_due(connection)


def _prune(connection: apsw.Connection, before: float, beyond: int, most: int) -> int:
    connection.execute(_PRUNE_OLD, (before, most))
    pruned = connection.changes()
    if beyond > pruned:
        connection.execute(_PRUNE_MANY, (beyond - pruned,))
        pruned = beyond
    return pruned


def _give_space_back(connection: apsw.Connection) -> None:
    if _value(connection, "PRAGMA freelist_count") > SPARE_PAGES:
        vacuum(connection, VACUUM_PAGES)


class _Step(Operation):
    """A small piece of upkeep; when the disk refuses, it is simply done again the next time."""

    __slots__ = ("done",)

    def __init__(self, task: Task) -> None:
        super().__init__(task=task)
        self.done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def finished(self, result: Any, error: Exception | None) -> None:
        if self.done.done():
            return
        if error is None or isinstance(error, StorageFull | StorageFailed):
            self.done.set_result(result)
        else:
            self.done.set_exception(error)


class _Count(_Step):
    """Some more of the mail that was there at start. It counts when it is told, among the settlements: not later."""

    __slots__ = ("_gauge",)

    def __init__(self, gauge: Gauge) -> None:
        super().__init__(partial(tally.count, ids=gauge.uncounted, most=tally.STEP, largest=gauge.limits.max_size))
        self._gauge = gauge

    def finished(self, result: Any, error: Exception | None) -> None:
        if error is None:
            tally.add(self._gauge, result)
        super().finished(result, error)
