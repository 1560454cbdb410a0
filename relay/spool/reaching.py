"""Walking over a table some of whose pages are damaged: what can be reached is, one row after the other.

Used by `desk` after a search met such a page (hazard G6). It is slow, and steps over damage by doubling its stride.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apsw

from relay.db.answers import is_damage


def reachable(connection: apsw.Connection, statement: str, first: int, last: int) -> Iterator[int]:
    """Ids from `first` to `last`. `statement`: the smallest id between two, or NULL."""
    at: int | None = first
    while at is not None and at <= last:
        found, readable = _next(connection, statement, at, last)
        if not readable:
            at = _beyond(connection, statement, at, last)
        elif found is None:
            return
        else:
            yield found
            at = found + 1


def _next(connection: apsw.Connection, statement: str, at: int, last: int) -> tuple[int | None, bool]:
    try:
        rows: list[Any] = connection.execute(statement, (at, last)).fetchall()
    except Exception as error:
        if not is_damage(error):
            raise
        return None, False
    return rows[0][0], True


def _beyond(connection: apsw.Connection, statement: str, bad: int, last: int) -> int | None:
    """The first id after the damage at `bad`; None when it goes on to the end."""
    stride = 1
    while not _next(connection, statement, min(bad + stride, last), last)[1]:
        if bad + stride >= last:
            return None
        stride *= 2
    good = min(bad + stride, last)
    while good - bad > 1:
        middle = (bad + good) // 2
        if _next(connection, statement, middle, last)[1]:
            good = middle
        else:
            bad = middle
    return good
