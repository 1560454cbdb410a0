"""Counts the bytes of the mail that was there at start, most of it while the relay is already at work.

Used by `upkeep`. A million messages lie on as many pages: read at once, from a cold disk, they keep a start waiting for
minutes. It takes its steps on the writing connection, between commits, so that nothing is counted twice or forgotten.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import apsw

from relay.spool.limits import Gauge

AT_START, STEP = 10_000, 500

# A size that was never admitted is a flipped bit: it must not fill the spool for all others (hazard G6).
_COUNT = """
SELECT max(id), coalesce(sum(iif(typeof(size) = 'integer' AND size BETWEEN 0 AND ?, size, 0)), 0)
FROM (SELECT id, size FROM message WHERE id >= ? AND id < ? ORDER BY id LIMIT ?)
"""


class Counted(NamedTuple):
    """`last`: the largest id that was read, None when there was none left."""

    last: int | None
    size: int


def count(connection: apsw.Connection, ids: range, most: int, largest: int) -> Counted:
    """The first `most` messages of these. `largest`: bytes that a message can have."""
    found: list[Any] = connection.execute(_COUNT, (largest, ids.start, ids.stop, most)).fetchall()
    return Counted(*found[0])


def add(gauge: Gauge, counted: Counted) -> None:
    """On the loop, in the order of the commits."""
    gauge.live += counted.size
    ids = gauge.uncounted
    gauge.uncounted = range(0) if counted.last is None else range(counted.last + 1, ids.stop)
