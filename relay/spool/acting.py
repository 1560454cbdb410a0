"""Acting on the queue: hold, release, retry, reroute, cancel, a chunk of messages to a transaction.

Part of the SQLite spool; the acting half of `ports.Desk`. What a rule means is in `verbs`; here it is made durable.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import apsw

from relay.db.answers import answer, answer_each
from relay.db.changes import Change, Kind, apply
from relay.db.writer import Operation
from relay.model import Message, MessageId, Owed, TimelineEvent
from relay.ports import Acted, Filter
from relay.spool import desk, ids, rows, search, settling, verbs
from relay.spool.books import Books
from relay.spool.settling import STATES
from relay.spool.work import Work, ended

CHUNK = 200
STRETCH = 2000
"""Entries that one transaction looks through: a search that finds little must not keep commits waiting for the rest."""

DAMAGED = "is damaged"
_ENTRIES = """
SELECT json_group_array(json_array(m.id, m.meta, m.size, m.received_at, m.expires_at, m.body IS NULL,
    (SELECT json_group_array(json_array(part, lane, state, due_at, deadline, owed)) FROM entry WHERE message = m.id)))
FROM message AS m WHERE m.id IN (SELECT value FROM json_each(?))
"""
_OUTCOME = "SELECT json_group_array(json_array(id, state)) FROM history WHERE id IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An action as it was asked for. `why`: for the record of those it cancels."""

    action: str
    now: float
    provider: str = ""
    why: str = ""


@dataclass(slots=True)
class Chunk:
    """What an order did to some messages. `gone`: id, size, state, body is a file, of those that ended."""

    last: int = -1
    changed: list[int] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    waiting: list[Owed] = field(default_factory=list)
    wishes: list[tuple[int, int, str]] = field(default_factory=list)
    cancelled: dict[int, tuple[int, bool]] = field(default_factory=dict)
    gone: list[tuple[int, int, int, bool]] = field(default_factory=list)


class Acting:
    def __init__(self, books: Books, work: Work) -> None:
        self._books = books
        self._work = work

    async def act(self, action: str, where: Filter, now: float, *, provider: str = "", dry_run: bool = False) -> Acted:
        verbs.check(action, provider)
        order = Order(action=action, now=now, provider=provider)
        if not dry_run:
            # New mail that no worker has taken is not being sent: it lies down first and is acted on like any other.
            await self._work.give_back(float("inf"))
        newest = await self._books.look(_newest)  # mail that comes meanwhile is not chased
        changed: list[MessageId] = []
        skipped: dict[str, str] = {}
        last = -1
        while last < newest:
            span = await self._books.look(partial(_stretch, rest=range(last + 1, newest + 1)))
            chunk = await self._chunk(order, where, span, dry_run)
            changed += [ids.encode(number) for number in chunk.changed]
            skipped |= chunk.skipped
            last = chunk.last if chunk.last >= 0 else span.stop - 1
        return Acted(changed=tuple(changed), skipped=skipped)

    async def _chunk(self, order: Order, where: Filter, span: range, dry_run: bool) -> Chunk:
        asked = search.Search(where, desk.ready_ids(self._books))

        def choose(connection: apsw.Connection) -> Chunk:
            chosen = search.numbers(connection, search.LIVE, asked, span, CHUNK, [])
            return decide(connection, order, chosen, frozenset(json.loads(asked.ready)) if dry_run else frozenset())

        if dry_run:
            return await self._books.look(choose)
        return await self.carry_out(order, choose)

    async def carry_out(self, order: Order, choose: Callable[[apsw.Connection], Chunk]) -> Chunk:
        """One transaction of what `choose` decides. A wish whose lease was settled meanwhile is acted on again."""

        def task(connection: apsw.Connection) -> Chunk:
            chunk = choose(connection)
            apply(connection, chunk.changes)
            _see_who_ended(connection, chunk)
            return chunk

        operation = _Act(self._books, task)
        self._books.database.write(operation)
        chunk = await operation.done
        missed = self._wish(chunk)
        if missed:
            await self.carry_out(order, lambda connection: decide(connection, order, missed, frozenset()))
        return chunk

    def _wish(self, chunk: Chunk) -> list[int]:
        """Tell the leases; gives back the messages whose lease is gone."""
        if not chunk.wishes:
            return []
        leases = {(held.number, held.part): held for held in self._books.leases.values()}
        missed: list[int] = []
        for number, part, wish in chunk.wishes:
            held = leases.get((number, part))
            if held is None:
                missed.append(number)
            else:
                held.wish = wish
        return missed


class _Act(Operation):
    """A chunk on its way to the disk."""

    __slots__ = ("_books", "done")

    def __init__(self, books: Books, task: Callable[[apsw.Connection], Chunk]) -> None:
        super().__init__(task=task)
        self._books = books
        self.done: asyncio.Future[Chunk] = asyncio.get_running_loop().create_future()

    def finished(self, result: Any, error: Exception | None) -> None:
        if self._books.again(self, error):
            return
        if not self.done.done():  # before anything else: whoever waits must not wait for ever
            if error is None:
                self.done.set_result(result)
            else:
                self.done.set_exception(error)
        if error is None:
            self._land(result)

    def _land(self, chunk: Chunk) -> None:
        for owed in chunk.waiting:
            self._books.wait_for(owed)
        for number, size, state, file in chunk.gone:
            ended(self._books, ids.encode(number), number, size, state, file)


def _newest(connection: apsw.Connection) -> int:
    found: list[Any] = connection.execute("SELECT coalesce(max(message), -1) FROM entry").fetchall()
    return int(found[0][0])


def _stretch(connection: apsw.Connection, rest: range) -> range:
    """What to look at in one go."""
    return search.stretch(connection, search.LIVE, rest, STRETCH)


def decide(connection: apsw.Connection, order: Order, numbers: list[int], unclaimed: frozenset[int]) -> Chunk:
    """What the order does to these messages, as changes; nothing is written yet."""
    chunk = Chunk(last=numbers[-1] if numbers else -1)
    found, lost = answer_each(connection, _ENTRIES, numbers)
    missing = set(numbers).difference(row[0] for row in found)  # its message has another number since a bit flipped
    chunk.skipped = {ids.encode(number): DAMAGED for number in missing.union(lost)}
    for row in found:
        try:
            _message(chunk, order, row, row[0] in unclaimed)
        except (ValueError, TypeError, LookupError):
            chunk.skipped[ids.encode(row[0])] = DAMAGED
    return chunk


def _message(chunk: Chunk, order: Order, row: list[Any], unclaimed: bool) -> None:
    number, meta, size, received_at, expires_at, file, entries = row
    message = rows.message(ids.encode(number), meta, size, received_at, expires_at, b"")
    everybody = message.envelope.recipients
    parts: list[tuple[int, Owed, verbs.Ruling]] = []
    for part, lane, state, due_at, deadline, text in json.loads(entries):
        owed = rows.owed(text, lane, STATES[0 if state == 1 and unclaimed else state], due_at, deadline, everybody)
        parts.append((part, owed, verbs.rule(order.action, owed, order.now, order.provider)))
    if all(ruling.refused for _, _, ruling in parts):
        chunk.skipped[message.id] = parts[0][2].refused
        return
    chunk.changed.append(number)
    chunk.changes.append(rows.note(number, TimelineEvent(at=order.now, kind=verbs.KINDS[order.action])))
    for part, owed, ruling in parts:
        _entry(chunk, order, message, (number, part), owed, ruling)
    if any(ruling.cancelled for _, _, ruling in parts):
        chunk.cancelled[number] = (size, bool(file))


def _entry(
    chunk: Chunk, order: Order, message: Message, key: tuple[int, int], owed: Owed, ruling: verbs.Ruling
) -> None:
    number, part = key
    if ruling.owed is not None:
        chunk.changes.append(rows.revision(number, part, ruling.owed, message.envelope.recipients))
        chunk.waiting.append(ruling.owed)
    elif ruling.wish:
        chunk.changes.append(Change(Kind.WISH, number, part, owed=ruling.wish))
        chunk.wishes.append((number, part, ruling.wish))
    elif ruling.cancelled:
        gone = [settling.cancelled(recipient, order.why) for recipient in owed.recipients]
        chunk.changes.append(rows.done(number, part, order.now, gone, (), owed.tries))


def _see_who_ended(connection: apsw.Connection, chunk: Chunk) -> None:
    if chunk.cancelled:
        wanted = json.dumps(list(chunk.cancelled))
        found = answer(connection, _OUTCOME, (wanted,))
        chunk.gone = [
            (number, chunk.cancelled[number][0], state, chunk.cancelled[number][1]) for number, state in found
        ]
