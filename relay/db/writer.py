"""The thread that owns the writing connection, and group commit: all that waits makes one transaction and one fsync.

`database` starts it and hands it operations; results go back to the event loop, one call for each commit.
It never decides what is written and never retries what the disk refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any, cast

import apsw

from relay.db.changes import LARGEST, Change, apply
from relay.db.connection import pragma, unusable
from relay.db.errors import StorageFailed, StorageFull, Trouble, is_unreadable, named, trouble
from relay.events import Committed, Observer, SpoolFailed

Task = Callable[[apsw.Connection], Any]
Outcome = tuple[Any, Exception | None]

# 16 MiB of log: most of its pages were freed and used again by then, so what a checkpoint has to copy is little.
CHECKPOINT_PAGES = 4096
IDLE = 1.0

# While the loop is busy, more for the next commit is surely on its way, and sharing one costs nobody anything: what is
# to be written waits until the loop has nothing else to do, but for so many turns of it, or seconds, at most. A turn as
# short as IDLE_TURN had nothing to do, so one client alone waits for no one.
TURNS = 16
LONGEST = 0.005
IDLE_TURN = 20e-6

# The log's format: https://sqlite.org/fileformat2.html#the_write_ahead_log
_LOG_HEADER, _FRAME_HEADER = 32, 24


class Operation:
    """One caller's share of a transaction: its changes, then perhaps a task whose result it wants.

    The share is all or nothing, and operations take effect in the order they were given.
    """

    __slots__ = ("changes", "task")

    def __init__(self, changes: Sequence[Change] = (), task: Task | None = None) -> None:
        self.changes = changes
        self.task = task

    def finished(self, result: Any, error: Exception | None) -> None:
        """Called once, on the loop, in commit order: durable when `error` is None, else nothing was written."""


class Writer:
    """Owns one connection on one thread. `failure` is not empty once the disk failed: nothing is written any more."""

    def __init__(self, connection: apsw.Connection, loop: asyncio.AbstractEventLoop, observe: Observer) -> None:
        self._connection = connection
        self._loop = loop
        self._observe = observe
        self._queue: SimpleQueue[list[Operation] | None] = SimpleQueue()
        self._gathered: list[Operation] = []
        self._checkpointed = 0
        self.failure = ""
        self._thread = threading.Thread(target=self._run, name="spool-writer", daemon=True)
        self._thread.start()

    def put(self, operation: Operation) -> None:
        """To be called on the loop."""
        if not self._gathered:
            now = perf_counter()
            self._loop.call_soon(self._turn, TURNS, now, now + LONGEST)
        self._gathered.append(operation)

    def _turn(self, left: int, since: float, until: float) -> None:
        """The loop took a turn. Gathered operations are handed over together, in their order."""
        now = perf_counter()
        if left and now - since > IDLE_TURN and now < until:
            self._loop.call_soon(self._turn, left - 1, now, until)
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        for start in range(0, len(gathered), LARGEST):
            self._queue.put(gathered[start : start + LARGEST])

    async def close(self) -> None:
        """Write what waits, then end the thread and close the connection."""
        self._hand_over()
        self._queue.put(None)
        await self._loop.run_in_executor(None, self._thread.join)

    def _run(self) -> None:
        open_ = True
        while open_:
            batch, open_ = self._take()
            if batch:
                self._serve(batch)
        with contextlib.suppress(apsw.Error):  # the last checkpoint may fail; the log keeps everything
            self._connection.close()

    def _take(self) -> tuple[list[Operation], bool]:
        """All that waits, up to LARGEST; False when it was the last."""
        batch: list[Operation] = []
        more = self._next()
        while more is not None:
            batch += more
            if len(batch) >= LARGEST or self._queue.empty():
                return batch, True
            more = self._queue.get()
        return batch, False

    def _next(self) -> list[Operation] | None:
        """The next in the queue; a second without any is used to copy the log."""
        if self._unchecked() and not self.failure:
            try:
                return self._queue.get(timeout=IDLE)
            except Empty:
                self._checkpoint()
        return self._queue.get()

    def _serve(self, batch: list[Operation]) -> None:
        started = perf_counter()
        outcomes = self._commit(batch)
        self._tell(self._deliver, batch, outcomes, perf_counter() - started)
        # After the results went back, so that nobody waits for it but the next commit.
        if not self.failure and self._unchecked() > CHECKPOINT_PAGES:
            self._checkpoint()

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _deliver(self, batch: list[Operation], outcomes: list[Outcome], seconds: float) -> None:
        for operation, (result, error) in zip(batch, outcomes, strict=True):
            try:
                operation.finished(result, error)
            except Exception as bug:  # of this one: the others' callers wait, too
                logging.getLogger(__name__).error("internal error after a commit: %s", type(bug).__name__)
        if not self.failure:
            self._observe(Committed(operations=len(batch), seconds=seconds))

    def _commit(self, batch: list[Operation]) -> list[Outcome]:
        """The operations in one transaction; if that fails, each in one of its own, so that one spoils only itself."""
        if self.failure:
            return [(None, StorageFailed(self.failure))] * len(batch)
        try:
            return [(result, None) for result in self._together(batch)]
        except Exception as error:
            return self._recover(batch, error)

    def _together(self, batch: list[Operation]) -> list[Any]:
        rows = [change for operation in batch for change in operation.changes]
        if len(rows) <= LARGEST and all(operation.task is None for operation in batch):
            apply(self._connection, rows)  # one statement is its own transaction: one step, one fsync
            return [None] * len(batch)
        self._connection.execute("BEGIN IMMEDIATE")
        results = self._in_order(batch)
        self._connection.execute("COMMIT")
        return results

    def _in_order(self, batch: list[Operation]) -> list[Any]:
        results: list[Any] = []
        rows: list[Change] = []
        for operation in batch:
            rows += operation.changes
            if operation.task is not None:
                apply(self._connection, rows)
                rows = []
            results.append(operation.task(self._connection) if operation.task else None)
        apply(self._connection, rows)
        return results

    def _recover(self, batch: list[Operation], error: Exception) -> list[Outcome]:
        kind, clean = trouble(error), self._rolled_back()
        if kind is Trouble.BROKEN or not clean:
            self._latch(error)
            return [(None, StorageFailed(self.failure))] * len(batch)
        if kind is Trouble.FULL:
            self._checkpoint()  # the log may start over, and what frees space be written where it lay
        if len(batch) > 1:
            return [outcome for operation in batch for outcome in self._commit([operation])]
        return [(None, StorageFull(str(error)) if kind is Trouble.FULL else self._known(error))]

    def _known(self, error: Exception) -> Exception:
        """A damaged page fails whoever meets it, and is told to everybody; the others go on."""
        if not isinstance(error, apsw.Error) or not is_unreadable(error):
            return error
        why = str(unusable(Path(self._connection.filename), error))
        self._tell(self._observe, SpoolFailed(error=why))
        return StorageFailed(why)

    def _rolled_back(self) -> bool:
        """True when no transaction is open any more."""
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except apsw.Error:
                return False
        return True

    def _latch(self, error: Exception) -> None:
        self.failure = f"the spool's disk failed: {named(error)}; repair the disk, then restart the relay"
        with contextlib.suppress(apsw.Error, OSError):
            disown(self._connection)
        self._tell(self._observe, SpoolFailed(error=self.failure))

    def _written(self) -> int:
        return self._connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE)[0]

    def _unchecked(self) -> int:
        """Pages written to the log since it was last copied."""
        return self._written() - self._checkpointed

    def _checkpoint(self) -> None:
        self._checkpointed = self._written()
        try:
            checkpoint(self._connection)
        except apsw.Error as error:
            if trouble(error) is not Trouble.FULL:
                self._latch(error)
                return
            # No room to copy the log: it keeps everything, grows, and is tried again after the next commit.
            self._checkpointed -= CHECKPOINT_PAGES + 1


def checkpoint(connection: apsw.Connection) -> None:
    """Copy what the log holds into the file, as far as readers allow, so that the log starts over."""
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    except (apsw.BusyError, apsw.LockedError):
        return  # a reader: the log keeps everything, the next one tries again


def disown(connection: apsw.Connection) -> None:
    """Make the log end where the last commit that succeeded ended.

    A commit whose fsync failed lies complete in the log; the next start would take it for one that counts, and mail
    that was refused with 451 would be sent.
    """
    frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    page = cast(int, pragma(connection, "PRAGMA page_size"))
    log = os.open(connection.filename + "-wal", os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.pwrite(log, bytes(_FRAME_HEADER), _LOG_HEADER + frames * (page + _FRAME_HEADER))
    finally:
        os.close(log)


def vacuum(connection: apsw.Connection, pages: int) -> None:
    """Give up to so many unused pages back to the file system."""
    connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()  # a row, without a column, for each page
