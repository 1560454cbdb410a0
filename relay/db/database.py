"""One database, one owner: the lock, the writing thread and the readers of one SQLite file.

Opened by the spool. It never lets a second process, or a second owner in this one, near the file.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import apsw

from relay.db.connection import open_writer
from relay.db.files import lock, private_folder, settle_path
from relay.db.reader import Reader
from relay.db.writer import Operation, Writer, checkpoint
from relay.events import Observer


class Database:
    """`write` is durable when the operation is told so; `desk` and `work` are readers for people and for deliveries."""

    def __init__(self, path: Path, observe: Observer, prepare: Callable[[apsw.Connection], None]) -> None:
        """Open, or raise SpoolError. `prepare` runs on the writing connection before anybody else sees it."""
        self.path = settle_path(path)
        private_folder(self.path.parent)
        self._lock = lock(self.path)
        try:
            connection = open_writer(self.path)
            prepare(connection)
            checkpoint(connection)
        except BaseException:
            os.close(self._lock)
            raise
        self._writer = Writer(connection, asyncio.get_running_loop(), observe)
        self.desk = Reader(self.path, "spool-desk")
        self.work = Reader(self.path, "spool-work")

    @property
    def failure(self) -> str:
        """Not empty once the disk failed; nothing is written any more."""
        return self._writer.failure

    def write(self, operation: Operation) -> None:
        """Queue an operation for the next commit; it is told on the loop how that went."""
        self._writer.put(operation)

    async def close(self) -> None:
        """Write what waits, then close and let others have the file."""
        self.desk.close()
        self.work.close()
        await self._writer.close()
        os.close(self._lock)
