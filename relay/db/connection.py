"""Opening the spool's SQLite file: one connection that writes, others that only read.

Called by `database`. It never leaves a file of somebody else's changed: what is not ours is refused first.
"""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from relay.db import migrate
from relay.db.errors import SpoolError
from relay.db.files import private_file, sync_folder

APPLICATION_ID = 0x52454C59  # "RELY", at offset 68 of the file: what file(1) and we know it by

# One statement a call: execute() of several stops at the first that returns a row (hazard L17).
# auto_vacuum only takes in a file that has no page yet, so it is the first.
_FIRST = ("PRAGMA auto_vacuum = INCREMENTAL", f"PRAGMA application_id = {APPLICATION_ID}")
_ALWAYS = (
    "PRAGMA journal_mode = WAL",
    # Measured by power cuts: WAL with NORMAL lost acknowledged commits, WAL with FULL none.
    "PRAGMA synchronous = FULL",
    # The writer checkpoints between commits, not inside one.
    "PRAGMA wal_autocheckpoint = 0",
    "PRAGMA cache_size = -16384",
    "PRAGMA temp_store = MEMORY",
)


def pragma(connection: apsw.Connection, statement: str) -> object:
    """Run one PRAGMA to its end and give back its first value."""
    rows = connection.execute(statement).fetchall()
    return rows[0][0] if rows else None


def open_writer(path: Path) -> apsw.Connection:
    """The one connection that writes, on the newest schema. Raises SpoolError."""
    os.close(private_file(path))
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW)
    except apsw.Error as error:
        raise unusable(path, error) from error
    try:
        _prepare(connection, path)
    except apsw.Error as error:
        connection.close()
        raise unusable(path, error) from error
    except SpoolError:
        connection.close()
        raise
    sync_folder(path.parent)
    return connection


def _prepare(connection: apsw.Connection, path: Path) -> None:
    connection.set_busy_timeout(5000)
    fresh = _recognise(connection, path)
    for statement in (*(_FIRST if fresh else ()), *_ALWAYS):
        pragma(connection, statement)
    migrate.upgrade(connection)


def _recognise(connection: apsw.Connection, path: Path) -> bool:
    """True for an empty file; raises SpoolError for one that is not ours or newer than we are."""
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()[0][0] == 0:
        return True
    if pragma(connection, "PRAGMA application_id") != APPLICATION_ID:
        raise SpoolError(f"{path} is a database of another program; move it away or change spool.url")
    version, newest = migrate.version(connection), migrate.newest()
    if version > newest:
        raise SpoolError(
            f"{path} has schema version {version} and this relay knows up to {newest}; install the newer relay again"
        )
    return False


def open_reader(path: Path) -> apsw.Connection:
    """A connection that cannot write: it sees what is committed and never keeps the writer waiting."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOFOLLOW)
    connection.set_busy_timeout(5000)
    pragma(connection, "PRAGMA query_only = ON")
    return connection


def unusable(path: Path, error: apsw.Error) -> SpoolError:
    """What SQLite says about the file as a sentence with its fix. It may quote bytes of a damaged one."""
    why = "".join(char if char.isprintable() else "?" for char in str(error))
    match error:
        case apsw.NotADBError():
            return SpoolError(f"{path} is not an SQLite database; move it away or change spool.url")
        case apsw.CorruptError():
            return SpoolError(f"the spool {path} is damaged ({why}); restore it from a backup or move it away")
        case apsw.FullError():
            return SpoolError(f"no room on the disk for {path}; free some or change spool.url")
        case apsw.ReadOnlyError() | apsw.CantOpenError() | apsw.PermissionsError():
            return SpoolError(f"{path} cannot be opened for writing ({why}); check its owner, mode and file system")
        case _:
            return SpoolError(f"the spool {path} cannot be used ({why}); check the disk and the system's log")
