"""A thread with a connection that only reads, so that looking never keeps a commit waiting.

Made by `database`, used for lists, bodies and counts. It never writes and serves one question at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw

from relay.db.connection import open_reader

T = TypeVar("T")


class Reader:
    """Answers questions about what is committed."""

    def __init__(self, path: Path, name: str) -> None:
        self._connection = open_reader(path)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def ask(self, question: Callable[[apsw.Connection], T]) -> T:
        """Run a function on the reading thread, in one snapshot."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, question)

    def _answer(self, question: Callable[[apsw.Connection], T]) -> T:
        self._connection.execute("BEGIN")
        try:
            return question(self._connection)
        finally:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._thread.submit(self._connection.close)
        self._thread.shutdown(wait=True)
