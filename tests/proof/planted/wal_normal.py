"""The bug: what everybody advises for WAL. It flushes the log when it is copied, not when somebody is told 250."""

from __future__ import annotations

from relay.db import connection

FULL, NORMAL = "PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL"


def plant() -> None:
    assert FULL in connection._ALWAYS
    connection._ALWAYS = tuple([NORMAL if each == FULL else each for each in connection._ALWAYS])  # type: ignore[assignment]
