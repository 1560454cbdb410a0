"""One change of what people manage: a task on the writing thread, durable when it returns.

Used by the parts of the store; changes are few, so each is a transaction's share of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import apsw

from relay.db.database import Database
from relay.db.writer import Operation

T = TypeVar("T")


async def write(database: Database, task: Callable[[apsw.Connection], T]) -> T:
    """What the task returns. Raises what it raised, StorageFull or StorageFailed: then nothing was written."""
    operation = _Change(task)
    database.write(operation)
    result: T = await operation.done
    return result


class Turn:
    """Changes of one thing, one at a time."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def alone(self, job: Coroutine[Any, Any, T]) -> T:
        """To its end: what is in memory and on disk agree even if nobody waits any more."""

        async def in_turn() -> T:
            async with self._lock:
                return await job

        return await asyncio.shield(in_turn())

    async def over(self) -> None:
        """What was begun has ended. Before the database is closed."""
        async with self._lock:
            return


class _Change(Operation):
    __slots__ = ("done",)

    def __init__(self, task: Callable[[apsw.Connection], Any]) -> None:
        super().__init__(task=task)
        self.done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def finished(self, result: Any, error: Exception | None) -> None:
        if self.done.done():  # the caller went away; it is durable or not all the same
            return
        if error is None:
            self.done.set_result(result)
        else:
            self.done.set_exception(error)
