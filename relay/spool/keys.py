"""Idempotency keys: written with the messages they were used for, looked up by many at once, forgotten after a day.

Used by the parts of the SQLite spool. It does not judge requests: whether the same key came with the same request is
for whoever asked.
"""

from __future__ import annotations

import asyncio
import json

import apsw

from relay.db.answers import answer
from relay.db.errors import is_unreadable
from relay.model import Claim
from relay.spool import rows
from relay.spool.books import Books
from relay.spool.limits import CLAIMED_FOR

_FIND = """
SELECT json_group_array(json_array(c.owner, c.key, CAST(c.what AS TEXT), c.at))
FROM json_each(?) AS w JOIN claim AS c ON c.owner = w.value ->> 0 AND c.key = w.value ->> 1
WHERE c.at > ?
"""
_PRUNE = "DELETE FROM claim WHERE (owner, key) IN (SELECT owner, key FROM claim WHERE at <= ? ORDER BY at LIMIT ?)"

Key = tuple[str, str]


def in_use(error: Exception) -> bool:
    """True when an operation failed because a key was in use: nothing else makes a trigger of ours refuse."""
    return getattr(error, "extendedresult", 0) == apsw.SQLITE_CONSTRAINT_TRIGGER


def prune(connection: apsw.Connection, now: float, most: int) -> int:
    """Forget up to so many that are a day old; how many there were."""
    connection.execute(_PRUNE, (now - CLAIMED_FOR, most))
    return connection.changes()


class Lookups:
    """Asks for keys, all that are wanted at once in one go: each question costs a fight for the GIL."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._wanted: dict[Key, asyncio.Future[Claim | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, owner: str, key: str) -> Claim | None:
        """StorageFailed when nobody can tell: then it must not be taken for a key that was never used."""
        wanted = self._wanted.get((owner, key))
        if wanted is None:
            wanted = self._wanted[owner, key] = self._books.loop.create_future()
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(wanted)

    async def _read(self) -> None:
        try:
            while self._wanted:
                wanted, self._wanted = self._wanted, {}
                await self._answer(wanted)
        finally:
            self._reading = None

    async def _answer(self, wanted: dict[Key, asyncio.Future[Claim | None]]) -> None:
        since = self._books.clock() - CLAIMED_FOR
        keys = json.dumps(list(wanted))
        try:
            found = await self._books.database.work.ask(lambda connection: answer(connection, _FIND, (keys, since)))
        except Exception as error:  # whatever it is, somebody waits for each of them
            told = self._books.damaged(error) if isinstance(error, apsw.Error) and is_unreadable(error) else error
            for future in wanted.values():
                future.set_exception(told)
            return
        claims = {(owner, key): rows.claimed(owner, key, what, at) for owner, key, what, at in found}
        for wish, future in wanted.items():
            future.set_result(claims.get(wish))
