"""Many changes as one statement: rows for the view `change`, whose triggers do the work inside SQLite.

Called by `writer` and by tasks on its thread. Every sqlite3_step gives the GIL away and must win it back from a busy
event loop, so a transaction of forty operations is one step here, not two hundred. It never commits by itself.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import apsw


class Kind(enum.IntEnum):
    """What a row asks for; the triggers in `sql/` say how."""

    ARRIVE = 1
    OWE = 2
    DONE = 3
    LEASE = 4
    REVISE = 5
    WISH = 6
    NOTE = 7
    RESERVE = 8
    SPEND = 9
    CLAIM = 10
    EVENT = 11


class Change(NamedTuple):
    """One row of the view `change`: the columns in its order. What a column means depends on the kind."""

    kind: int | None = None
    message: int | None = None
    part: int | None = None
    lane: str | None = None
    state: int | None = None
    waiting: int | None = None
    due_at: float | None = None
    deadline: float | None = None
    owed: str | None = None
    meta: str | None = None
    size: int | None = None
    received_at: float | None = None
    expires_at: float | None = None
    prefix: bytes | None = None
    crc: int | None = None
    body: bytes | None = None


LARGEST = 256
"""Rows of one statement; also what bounds a transaction."""

_NOTHING = Change()
_ROW = "(" + ",".join("?" * len(Change._fields)) + ")"
# A few sizes only, each a power of two, so that prepared statements are found again; the rest is padded with rows
# that no trigger answers to.
_STATEMENTS = {1 << n: "INSERT INTO change VALUES " + ",".join([_ROW] * (1 << n)) for n in range(9)}  # nosec B608


def apply(connection: apsw.Connection, rows: Sequence[Change]) -> None:
    """Make the changes, in order: one statement for up to LARGEST of them."""
    for chunk in _chunks(rows):
        size = 1 << (len(chunk) - 1).bit_length()
        values: list[object] = []
        for row in chunk:
            values += row
        for _ in range(size - len(chunk)):
            values += _NOTHING
        connection.execute(_STATEMENTS[size], values)


def _chunks(rows: Sequence[Change]) -> Iterator[Sequence[Change]]:
    if 0 < len(rows) <= LARGEST:
        yield rows
        return
    for start in range(0, len(rows), LARGEST):
        yield rows[start : start + LARGEST]
