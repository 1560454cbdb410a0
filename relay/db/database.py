"""One database, one owner: the lock, the writing thread and the readers of one SQLite file.

Opened by the spool. It never lets a second process, or a second owner in this one, near the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import apsw

from relay.db.connection import open_writer, pragma, unusable
from relay.db.errors import SpoolError
from relay.db.files import lock, private_file, private_folder, settle_path
from relay.db.reader import Reader
from relay.db.writer import Operation, Writer, checkpoint
from relay.events import Observer

T = TypeVar("T")


class Database:
    """Open it, `prepare`, then `start`. `desk` and `work` are readers: for people, and for deliveries.

    Beside the file lies `.damaged` once something that was sent could not be recorded in it.
    """

    desk: Reader
    work: Reader

    def __init__(self, path: Path) -> None:
        """Lock and open the file; raises SpoolError."""
        self.path = settle_path(path)
        private_folder(self.path.parent)
        self._mark = self.path.with_name(self.path.name + ".damaged")
        self._lock = lock(self.path)
        self._writer: Writer | None = None
        try:
            self._connection = open_writer(self.path)
        except BaseException:
            os.close(self._lock)
            raise

    def prepare(self, task: Callable[[apsw.Connection], T]) -> T:
        """Run something on the writing connection before anybody else may. Raises SpoolError."""
        try:
            self._examine()
            result = task(self._connection)
            checkpoint(self._connection)
        except apsw.Error as error:
            raise unusable(self.path, error) from error
        return result

    def _examine(self) -> None:
        """Every start would send again what could not be recorded: so none until the file is sound (hazard G6)."""
        if not self._mark.exists():
            return
        found = pragma(self._connection, "PRAGMA quick_check(1)")
        if found != "ok":
            raise apsw.CorruptError(str(found))
        self._mark.unlink()

    def start(self, observe: Observer) -> None:
        """Begin to serve, from within a running loop."""
        self.desk = Reader(self.path, "spool-desk")
        self.work = Reader(self.path, "spool-work")
        self._writer = Writer(self._connection, asyncio.get_running_loop(), observe)

    def damaged(self, error: apsw.Error) -> str:
        """What SQLite says of a page as a sentence with its fix."""
        return str(unusable(self.path, error))

    @property
    def failure(self) -> str:
        """Not empty once the disk failed; nothing is written any more."""
        return self._writer.failure if self._writer else ""

    def fail(self, why: str) -> None:
        """Write nothing any more: what has just been sent could not be recorded, nor could what is sent next."""
        if self._writer and not self._writer.failure:
            self._writer.failure = why
            with contextlib.suppress(SpoolError):
                os.close(private_file(self._mark))

    def write(self, operation: Operation) -> None:
        """Queue an operation for the next commit; it is told on the loop how that went."""
        if self._writer:
            self._writer.put(operation)

    async def close(self) -> None:
        """Write what waits, then close and let others have the file."""
        self.desk.close()
        self.work.close()
        if self._writer:
            await self._writer.close()
        os.close(self._lock)

    def abandon(self) -> None:
        """Let go of a file that was opened but never served from."""
        self._connection.close()
        os.close(self._lock)
