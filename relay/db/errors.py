"""What can go wrong with storage, as classes.

Raised by `db`, shown by `app` and `cli` (SpoolError) or turned into replies by `spool` (StorageFull, StorageFailed).
It never guesses: what SQLite did not name as full or broken is the fault of the one operation that met it.
"""

from __future__ import annotations

import enum

import apsw


class SpoolError(Exception):
    """The spool cannot be opened. The message is one sentence: the cause and the fix."""


class SpoolInUse(SpoolError):
    """Another process owns the spool. `pid` is None when it did not say who it is."""

    def __init__(self, message: str, pid: int | None) -> None:
        super().__init__(message)
        self.pid = pid


class StorageFull(Exception):
    """No room on the disk. Nothing was written; later writes may succeed."""


class StorageFailed(Exception):
    """The disk failed. Nothing may be written any more: a repeated fsync would say all is well when it is not."""


class Trouble(enum.Enum):
    """FULL: recovers alone. BROKEN: latch. OWN: of this one operation."""

    FULL = enum.auto()
    BROKEN = enum.auto()
    OWN = enum.auto()


def trouble(error: BaseException) -> Trouble:
    """What an exception out of a transaction means for the others."""
    match error:
        case apsw.FullError():
            return Trouble.FULL
        case apsw.IOError() if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE:
            return Trouble.FULL  # a wal-index that cannot grow: how a full disk shows first on tmpfs
        case apsw.IOError() | apsw.ReadOnlyError():
            return Trouble.BROKEN
        case _:
            return Trouble.OWN


def named(error: BaseException) -> str:
    """What SQLite says, with the code that tells which call it was: its texts are few."""
    code = apsw.mapping_extended_result_codes.get(getattr(error, "extendedresult", 0))
    return f"{error} ({code})" if code else str(error)


def is_unreadable(error: BaseException) -> bool:
    """True when a page is not as SQLite wrote it, or the disk does not give it back."""
    if isinstance(error, apsw.IOError):
        return trouble(error) is Trouble.BROKEN
    return isinstance(error, apsw.CorruptError | apsw.NotADBError)
