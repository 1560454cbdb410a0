"""The way in: accept messages, many callers to one commit.

Part of the SQLite spool; implements `ports.Intake`. It answers None only when every message is on stable storage, and
what came with the batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from relay.db.changes import Change
from relay.db.errors import StorageFull
from relay.db.writer import Operation
from relay.model import Claim, Happening, MessageId, Reply, Submission
from relay.ports import CLAIMED, BodyWriter
from relay.spool import happenings, ids, keys, rows
from relay.spool.bodies import Collector
from relay.spool.books import Arrival, Books
from relay.spool.limits import BROKEN, FULL, weight


class Intake:
    def __init__(self, books: Books, source: ids.IdSource) -> None:
        self._books = books
        self._ids = source
        self._keys = keys.Lookups(books)

    def new_id(self, now: float) -> MessageId:
        return ids.encode(self._ids.next(now))

    def admits(self, size: int) -> Reply | None:
        return self._books.gauge.admits(size)

    def writer(self, message: MessageId) -> BodyWriter:
        return Collector(self._books.files, message)

    def accept(
        self, batch: Sequence[Submission], *, claim: Claim | None = None, happening: Happening | None = None
    ) -> asyncio.Future[Reply | None]:
        books = self._books
        size = sum([submission.message.size for submission in batch])
        refused = books.gauge.takes(len(batch), size if happening is None else size + weight(happening))
        if refused is not None:
            answer: asyncio.Future[Reply | None] = books.loop.create_future()
            answer.set_result(refused)
            return answer
        # Before any message is boarded: what cannot be written raises here, and nothing was begun.
        beside = [] if claim is None else [rows.claim(claim)]
        if happening is not None:
            beside.append(happenings.written(happening))
        operation = Accept(books, [books.board(submission) for submission in batch], size, beside)
        books.database.write(operation)
        return operation.reply

    async def claimed(self, owner: str, key: str) -> Claim | None:
        return await self._keys.get(owner, key)


class Accept(Operation):
    """A batch on its way to the disk, and what is written beside it. It finishes whether or not the caller still waits
    (hazard L3).
    """

    __slots__ = ("_arrivals", "_books", "_size", "reply")

    def __init__(self, books: Books, arrivals: list[Arrival], size: int, beside: list[Change]) -> None:
        super().__init__([change for arrival in arrivals for change in arrival.changes] + beside)
        self._books = books
        self._arrivals = arrivals
        self._size = size
        self.reply: asyncio.Future[Reply | None] = books.loop.create_future()
        books.gauge.begin(len(arrivals))
        books.gauge.grow(size)

    def finished(self, result: Any, error: Exception | None) -> None:
        gauge = self._books.gauge
        gauge.end(len(self._arrivals))
        if not self.reply.done():
            self.reply.set_result(self._answer(error))
        for arrival in self._arrivals:
            if error is None:
                self._books.land(arrival)
            else:
                self._books.sink(arrival)
        if error is not None:
            gauge.grow(-self._size)

    def _answer(self, error: Exception | None) -> Reply | None:
        if error is None:
            return None
        if isinstance(error, StorageFull):
            self._books.gauge.free = 0  # until it is measured again: what was counted is not there
            return FULL
        return CLAIMED if keys.in_use(error) else BROKEN
