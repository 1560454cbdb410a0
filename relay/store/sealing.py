"""Where secrets lie encrypted in the database: one vault, one canary and one rotation for all of them.

Used by `registry` and `integrations`, each for the rows of its own table; `app` opens the vault that they share. It
never decides what is secret, and never sees a clear one but on its way into the vault.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from relay.db.database import Database
from relay.db.errors import SpoolError
from relay.store.vault import Vault
from relay.store.writing import write

PROVIDER, REGISTRATION = "provider", "registration"
"""What secrets are encrypted for: the row of one is of no use in the other's table."""

_KEEP = {
    PROVIDER: "UPDATE provider SET secret = ? WHERE id = ?",
    REGISTRATION: "UPDATE registration SET secret = ? WHERE id = ?",
}
_ALL = {
    PROVIDER: "SELECT id, CAST(secret AS BLOB) FROM provider WHERE secret IS NOT NULL",
    REGISTRATION: "SELECT id, CAST(secret AS BLOB) FROM registration",
}
_CANARY = "SELECT CAST(secret AS BLOB) FROM canary"


async def unlock(database: Database, key_file: Path) -> Vault:
    """Raises SpoolError: one sentence, the cause and the fix."""
    try:
        canary = await database.work.ask(_canary)
    except apsw.Error as error:
        raise SpoolError(database.damaged(error)) from error
    return await asyncio.to_thread(Vault.open, key_file, canary)


def _canary(connection: apsw.Connection) -> str | None:
    """None: nothing was ever encrypted."""
    found: list[Any] = connection.execute(_CANARY).fetchall()
    return _text(found[0][0]) if found else None


def lock_up(connection: apsw.Connection, vault: Vault, purpose: str, id: int, secret: str) -> None:
    """Keep it, encrypted for that row. With the first of all secrets comes the canary.

    To be called on the writing thread, like `reseal`: what was encrypted before a rotation is then in its sight.
    """
    connection.execute(_KEEP[purpose], (vault.seal(purpose, id, secret), id))
    if not connection.execute(_CANARY).fetchall():
        connection.execute("INSERT INTO canary (one, secret) VALUES (1, ?)", (vault.canary(),))


async def rotate(database: Database, vault: Vault) -> int:
    """A new key; how many secrets it encrypts. Raises SpoolError about the key file, or what storage says.

    What was encrypted can be decrypted whenever it ends.
    """
    await asyncio.to_thread(vault.begin)
    count = await write(database, lambda connection: reseal(connection, vault))
    await asyncio.to_thread(vault.finish)
    return count


def reseal(connection: apsw.Connection, vault: Vault) -> int:
    """Every secret by the first key, those aside that cannot be decrypted. How many were done."""
    done = 0
    for purpose in _ALL:
        tokens = list(_resealed(connection, vault, purpose))
        connection.executemany(_KEEP[purpose], tokens)
        done += len(tokens)
    if connection.execute(_CANARY).fetchall():
        connection.execute("UPDATE canary SET secret = ?", (vault.canary(),))
    return done


def _resealed(connection: apsw.Connection, vault: Vault, purpose: str) -> Iterator[tuple[str, int]]:
    found: list[Any] = connection.execute(_ALL[purpose]).fetchall()
    for id, secret in found:
        if (token := vault.reseal(_text(secret))) is not None:
            yield token, id


def _text(stored: bytes | None) -> str:
    return (stored or b"").decode("ascii", "replace")
