"""Leasing what waits: the SQL of a claim, and the bodies that were not kept in memory.

Used by `work`; runs on the threads of the database. A claim costs what it takes, however much waits in other lanes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import apsw

from relay.db.changes import Change, Kind, apply
from relay.model import Body, Lease, QueueEntry, State
from relay.spool import rows
from relay.spool.ids import encode
from relay.spool.lanes import NEVER, OVERDUE
from relay.spool.leases import NOBODY_ENDED, Held
from relay.spool.settling import RANK, STATES, offered

# The answer is one row of JSON: each row SQLite hands over costs a fight for the GIL. One more entry than wanted is
# read, to know when the lane is due next. CROSS JOIN keeps the order: first the queue, by its index, then messages.
_COLUMNS = """
SELECT json_group_array(json_array(
    e.message, e.part, e.lane, e.state, e.due_at, e.deadline, e.owed,
    m.meta, m.size, m.received_at, m.expires_at, hex(m.prefix), m.body IS NULL,
    NOT EXISTS (SELECT 1 FROM entry AS s WHERE s.message = e.message AND s.part <> e.part),
    (SELECT min(state) FROM past WHERE message = e.message)))
FROM ({}) AS e CROSS JOIN message AS m ON m.id = e.message
"""
OF_LANE = _COLUMNS.format(
    "SELECT * FROM entry WHERE waiting = 1 AND lane = :lane ORDER BY due_at, message, part LIMIT :most"
)
PAST_DEADLINE = _COLUMNS.format("SELECT * FROM entry WHERE waiting = 1 ORDER BY deadline, message, part LIMIT :most")
BODIES = """
SELECT id, size - length(prefix), crc, body FROM message WHERE id IN (SELECT value FROM json_each(?))
"""

_LANE, _DUE, _DEADLINE = 2, 4, 5
_HELD = RANK[State.HELD]


@dataclass(slots=True)
class Taken:
    """What a claim leased: rows as they came, and what is due next in the lanes it looked at."""

    rows: list[list[Any]] = field(default_factory=list)
    overdue: list[list[Any]] = field(default_factory=list)
    next_due: dict[str, float] = field(default_factory=dict)
    deadline: float | None = None


def take(connection: apsw.Connection, wanted: Mapping[str, int], overdue: bool, now: float) -> Taken:
    """Lease what is due of so many entries of these lanes, and what is past its deadline."""
    taken = Taken()
    if overdue:
        found = _rows(connection, PAST_DEADLINE, {"most": OVERDUE + 1})
        taken.overdue, taken.deadline = _split(found, OVERDUE, _DEADLINE, now)
        _lease(connection, taken.overdue)
    for lane, most in wanted.items():
        found = _rows(connection, OF_LANE, {"lane": lane, "most": most + 1})
        due, taken.next_due[lane] = _split(found, most, _DUE, now)
        _lease(connection, due)
        taken.rows += due
    return taken


def _rows(connection: apsw.Connection, statement: str, values: dict[str, Any]) -> list[list[Any]]:
    found: list[list[Any]] = json.loads(str(connection.execute(statement, values).fetchall()[0][0]))
    return found


def _split(found: list[list[Any]], most: int, column: int, now: float) -> tuple[list[list[Any]], float]:
    """What is due, and the time of the first that is left."""
    due = [row for row in found[:most] if row[column] <= now]
    rest = found[len(due) :]
    return due, rest[0][column] if rest else NEVER


def _lease(connection: apsw.Connection, found: list[list[Any]]) -> None:
    apply(connection, [rows.lease(row[0], row[1]) for row in found])


def held(row: list[Any], token: int, now: float) -> Held | None:
    """A row as a lease; None when the row is damaged."""
    (
        number,
        part,
        lane,
        state,
        due_at,
        deadline,
        owed,
        meta,
        size,
        received_at,
        expires_at,
        prefix,
        file,
        alone,
        best,
    ) = row
    try:
        message = rows.message(encode(number), meta, size, received_at, expires_at, bytes.fromhex(prefix))
        debt = rows.owed(owed, lane, STATES[state], due_at, deadline, message.envelope.recipients)
    except (ValueError, TypeError, LookupError):
        return None
    lease = Lease(token=token, entry=QueueEntry(id=part, message=message, owed=offered(debt)))
    found = Held(lease, number, part, now, alone=bool(alone), file=bool(file))
    found.best = NOBODY_ENDED if best is None else best
    return found


def quarantine(row: list[Any]) -> Change:
    """A damaged row is held, for people to look at; the rest of the queue goes on (hazard G6)."""
    number, part, lane, _, due_at, deadline, owed, *_ = row
    return Change(Kind.REVISE, number, part, lane, _HELD, 0, due_at, deadline, owed)


def bodies(connection: apsw.Connection, numbers: list[int]) -> dict[int, tuple[int, Body | None, bool]]:
    """By number: the size, the body if it is in the row and whole, and whether it should be a file instead."""
    found: dict[int, tuple[int, Body | None, bool]] = {}
    answer: list[Any] = connection.execute(BODIES, (json.dumps(numbers),)).fetchall()
    for number, size, crc, data in answer:
        body = (
            Body(size=size, data=data) if data is not None and zlib.crc32(data) == crc and len(data) == size else None
        )
        found[number] = (size, body, data is None)
    return found
