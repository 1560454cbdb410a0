"""What a spool holds as ended, read from its file: the relay's own word on who was delivered and who was dead-lettered.

`scene` asks between a kill and the restart, also of a copy after a power cut. It reads only: no checkpoint, no recovery
of the log is left behind for the relay to find.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import apsw

DEAD = frozenset({7, 8})
"""States failed and expired, as the schema numbers them."""

OF_HISTORY = "SELECT past FROM history WHERE ended_at >= ?"
OF_THE_LIVING = "SELECT '[' || what || ']' FROM past WHERE state IS NOT NULL"
HELD = 4
WAITING = "SELECT count(*) FROM entry WHERE state <> ?"


@dataclass(slots=True)
class Ended:
    """Recipients that ended, however, and those that ended dead-lettered."""

    recorded: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)


def read(database: Path, since: float = 0.0) -> Ended:
    """Recipients of messages that ended at `since` or later, and the ended ones of messages that go on."""
    found = Ended()
    with _open(database) as connection:
        for recipient, state in _ends(connection, since):
            found.recorded.add(recipient)
            if state in DEAD:
                found.dead.add(recipient)
    return found


def waiting(database: Path) -> int:
    """Entries that move. What is held does not: to the judge it is lost, not late."""
    with _open(database) as connection:
        return int(connection.execute(WAITING, (HELD,)).fetchall()[0][0])


def integrity(database: Path) -> str:
    """`ok`, or what SQLite finds damaged."""
    with _open(database) as connection:
        return "; ".join(str(row[0]) for row in connection.execute("PRAGMA integrity_check"))


@contextlib.contextmanager
def _open(database: Path) -> Iterator[apsw.Connection]:
    with tempfile.TemporaryDirectory(prefix="relay-proof-") as folder:
        connection = _readable(database, Path(folder))
        try:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.set_busy_timeout(5000)
            yield connection
        finally:
            connection.close()


def _readable(database: Path, folder: Path) -> apsw.Connection:
    """The file itself, only read. Cut before it was in WAL mode it has to be rolled back first: then a copy of it."""
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        return connection
    except apsw.ReadOnlyError:
        connection.close()
    for suffix in ("", "-journal"):
        shutil.copy(f"{database}{suffix}", folder / f"{database.name}{suffix}")
    return apsw.Connection(str(folder / database.name))


def _ends(connection: apsw.Connection, since: float) -> Iterator[tuple[str, int]]:
    if not connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'history'").fetchall()[0][0]:
        return  # it was cut before it had made its tables
    yield from _of(connection.execute(OF_HISTORY, (since,)))
    yield from _of(connection.execute(OF_THE_LIVING))


def _of(rows: Iterable[tuple[object, ...]]) -> Iterator[tuple[str, int]]:
    """Items of the record: [0, provider, address, state, reply, tries] for who ended, [1, ...] for what happened."""
    for (past,) in rows:
        for item in json.loads(str(past)):
            if item[0] == 0:
                yield item[2], item[3]
