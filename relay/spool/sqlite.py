"""The spool on disk: one SQLite file, one process. Opens it and joins its parts behind the ports.

Made by `app` and by commands that act while no relay runs. It holds no logic: intake, work, desk, acting and upkeep do.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from relay.db.changes import Change
from relay.db.database import Database
from relay.db.writer import Operation
from relay.events import Event, Observer, SpoolFailed, nobody
from relay.model import (
    Appetite,
    Body,
    Claim,
    Happening,
    Lease,
    MessageId,
    Reply,
    Reservation,
    Settlement,
    Spent,
    Submission,
    Usage,
)
from relay.ports import Acted, BodyWriter, Clock, Filter, MessageView, Page, Placement, QueueStats
from relay.spool import upkeep, usage
from relay.spool.acting import Acting
from relay.spool.bodies import BodyCache, BodyFiles, refuse_strays
from relay.spool.books import Books
from relay.spool.desk import Looking
from relay.spool.happenings import Record
from relay.spool.ids import IdSource
from relay.spool.intake import Intake
from relay.spool.limits import Gauge, SpoolLimits
from relay.spool.reserve import Reserve
from relay.spool.work import Work


class SqliteSpool:
    """Implements Intake, Work, Budget, Desk and Happenings of `ports`, each by its part. `open` makes it.

    What is done for every message is passed on as it is, not awaited here: a coroutine less for each.
    """

    def __init__(self, books: Books, last_id: int, free: Callable[[], int]) -> None:
        self._books = books
        self._intake = Intake(books, IdSource(last_id))
        self._work = Work(books)
        self._looking = Looking(books)
        self._acting = Acting(books, self._work)
        self._record = Record(books)
        self._upkeep = upkeep.Upkeep(books, self._work, self._acting, free, books.clock())

    @classmethod
    async def open(
        cls,
        path: Path,
        place: Placement,
        limits: SpoolLimits | None = None,
        *,
        observe: Observer = nobody,
        free: Callable[[], int] | None = None,
        clock: Clock = time.time,
    ) -> SqliteSpool:
        """Open or make the spool. Raises SpoolError: one sentence, the cause and the fix.

        `free`: bytes left on the disk; measured when not given. Beside `path` lie `.lock`, `.reserve`, `.bodies/`, and
        perhaps `.damaged`.
        """
        limits = limits or SpoolLimits()
        refuse_strays(path, path.with_name(path.name + ".bodies"))
        database = Database(path)
        try:
            measure = free or partial(free_bytes, database.path.parent)
            books = Books(
                database=database,
                gauge=Gauge(limits, measure()),
                files=BodyFiles(database.path.with_name(database.path.name + ".bodies")),
                cache=BodyCache(limits.cache),
                reserve=Reserve(database.path.with_name(database.path.name + ".reserve"), measure()),
                place=place,
                observe=observe,
                clock=clock,
            )
            books.files.broken = partial(_bodies_failed, books)
            books.reserve.fill(books.gauge.free)
            last_id = database.prepare(partial(upkeep.start, books=books, now=clock()))
            database.start(partial(_watch, books))
        except BaseException:
            database.abandon()
            raise
        return cls(books, last_id, measure)

    @property
    def database(self) -> Database:
        """For what lies beside the queue in the same file (`store`)."""
        return self._books.database

    @property
    def limits(self) -> SpoolLimits:
        """May be replaced at any time (reload)."""
        return self._books.gauge.limits

    @limits.setter
    def limits(self, limits: SpoolLimits) -> None:
        self._books.gauge.limits = limits

    @property
    def place(self) -> Placement:
        """Where new mail lies down; may be replaced at any time (reload)."""
        return self._books.place

    @place.setter
    def place(self, place: Placement) -> None:
        self._books.place = place

    # Intake

    def new_id(self, now: float) -> MessageId:
        return self._intake.new_id(now)

    def admits(self, size: int) -> Reply | None:
        return self._intake.admits(size)

    def writer(self, message: MessageId) -> BodyWriter:
        return self._intake.writer(message)

    def accept(
        self, batch: Sequence[Submission], *, claim: Claim | None = None, happening: Happening | None = None
    ) -> asyncio.Future[Reply | None]:
        return self._intake.accept(batch, claim=claim, happening=happening)

    def claimed(self, owner: str, key: str) -> Coroutine[Any, Any, Claim | None]:
        return self._intake.claimed(owner, key)

    # Work

    def claim(self, appetite: Appetite, now: float) -> Coroutine[Any, Any, Sequence[Lease]]:
        return self._work.claim(appetite, now)

    def body(self, message: MessageId) -> Coroutine[Any, Any, Body | None]:
        return self._work.body(message)

    def settle(self, done: Sequence[Settlement]) -> Coroutine[Any, Any, Collection[int]]:
        return self._work.settle(done)

    def can_settle(self) -> bool:
        return not self._books.database.failure

    def wait(self, seconds: float) -> Coroutine[Any, Any, None]:
        return self._work.wait(seconds)

    def wake(self) -> None:
        self._books.news.set()

    # Budget

    async def usage(self, now: float) -> Sequence[Usage]:
        return await self._books.database.work.ask(lambda connection: usage.read(connection, now))

    async def reserve(self, wanted: Sequence[Reservation]) -> bool:
        return await self._account([usage.reserve(reservation) for reservation in wanted])

    async def spend(self, done: Sequence[Spent]) -> bool:
        return await self._account([usage.spend(spent) for spent in done])

    async def _account(self, changes: Sequence[Change]) -> bool:
        operation = _Quota(self._books, changes)
        self._books.database.write(operation)
        return await operation.durable

    # Desk

    async def find(self, where: Filter, *, limit: int, after: str = "") -> Page:
        return await self._looking.find(where, limit=limit, after=after)

    async def show(self, message: str) -> MessageView | None:
        return await self._looking.show(message)

    async def act(self, action: str, where: Filter, now: float, *, provider: str = "", dry_run: bool = False) -> Acted:
        return await self._acting.act(action, where, now, provider=provider, dry_run=dry_run)

    async def stats(self) -> QueueStats:
        return await self._looking.stats()

    # Happenings

    async def happenings(self, *, limit: int, after: str = "", name: str = "") -> tuple[Sequence[Happening], bool]:
        return await self._record.page(limit, after, name)

    async def happening(self, id: str) -> Happening | None:
        return await self._record.one(id)

    # Upkeep

    async def maintain(self, now: float) -> None:
        """Call every few seconds."""
        await self._upkeep.maintain(now)

    async def close(self) -> None:
        """Write what waits and let go of the file. Leases end with this; their mail is due at the next start."""
        await self._books.database.close()


class _Quota(Operation):
    """Quota on its way to the disk."""

    __slots__ = ("_books", "durable")

    def __init__(self, books: Books, changes: Sequence[Change]) -> None:
        super().__init__(changes)
        self._books = books
        self.durable: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def finished(self, result: Any, error: Exception | None) -> None:
        if not self._books.again(self, error) and not self.durable.done():
            self.durable.set_result(error is None)


def _watch(books: Books, event: Event) -> None:
    if isinstance(event, SpoolFailed):
        books.fails(event.error)
    else:
        books.observe(event)


def _bodies_failed(books: Books, error: OSError) -> None:
    books.fails(f"the disk of {books.files.folder} failed: {error.strerror}; repair the disk, then restart the relay")


def free_bytes(folder: Path) -> int:
    """What an ordinary user may still write there."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
