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
from msgspec import Struct

from relay.db.answers import answer, is_damage
from relay.db.changes import apply
from relay.model import Body, Lease, QueueEntry, State
from relay.spool import rows, seals
from relay.spool.ids import encode
from relay.spool.lanes import NEVER, OVERDUE
from relay.spool.leases import NOBODY_ENDED, Held
from relay.spool.settling import RANK, STATES, offered

# The answer is one row of JSON: each row SQLite hands over costs a fight for the GIL. One more entry than wanted is
# read, to know when the lane is due next. LEFT JOIN keeps the order, first the queue, by its index, then messages, and
# an entry whose message has another number since a bit flipped: unseen it would stand before the others for ever.
_COLUMNS = """
SELECT json_group_array(json_array(
    e.message, e.part, e.lane, e.state, e.due_at, e.deadline, e.owed,
    m.meta, m.size, m.received_at, m.expires_at, hex(m.prefix), m.crc, m.body IS NULL,
    NOT EXISTS (SELECT 1 FROM entry AS s WHERE s.message = e.message AND s.part <> e.part),
    (SELECT min(state) FROM past WHERE message = e.message)))
FROM ({}) AS e LEFT JOIN message AS m ON m.id = e.message
"""
_LANE_ORDER = "FROM entry WHERE waiting = 1 AND lane = :lane ORDER BY due_at, message, part LIMIT :most"
_DEADLINE_ORDER = "FROM entry WHERE waiting = 1 ORDER BY deadline, message, part LIMIT :most"
OF_LANE = _COLUMNS.format(f"SELECT * {_LANE_ORDER}")
PAST_DEADLINE = _COLUMNS.format(f"SELECT * {_DEADLINE_ORDER}")
# The same entries by what the index alone knows of them, and then one of them.
_KEYS = "SELECT json_group_array(json_array(message, part, at)) FROM (SELECT message, part, {} AS at {})"
KEYS = {
    OF_LANE: _KEYS.format("due_at", _LANE_ORDER),
    PAST_DEADLINE: _KEYS.format("deadline", _DEADLINE_ORDER),
}
_ONE = _COLUMNS.format("SELECT * FROM entry WHERE message = ? AND part = ?")
_HOLD = "UPDATE entry SET state = ?, waiting = 0 WHERE message = ? AND part = ?"
# CAST, because a flipped bit makes a text of a BLOB, and one that is no UTF-8 would cost the others their bodies.
BODIES = """
SELECT id, size - length(prefix), CAST(crc AS INTEGER), CAST(body AS BLOB)
FROM message WHERE id IN (SELECT value FROM json_each(?))
"""

_DUE, _DEADLINE, _REST = 4, 5, 10
AGAIN = 60.0
"""Seconds until a lane whose entries cannot be leased, since the disk is damaged there, is tried again."""

_HELD = RANK[State.HELD]


@dataclass(slots=True)
class Taken:
    """What a claim leased: rows as they came, and what is due next in the lanes it looked at.

    `damaged`: what went wrong in reading or leasing.
    """

    rows: list[list[Any]] = field(default_factory=list)
    overdue: list[list[Any]] = field(default_factory=list)
    next_due: dict[str, float] = field(default_factory=dict)
    deadline: float | None = None
    damaged: list[Exception] = field(default_factory=list)


def take(connection: apsw.Connection, wanted: Mapping[str, int], overdue: bool, now: float) -> Taken:
    """Lease what is due of so many entries of these lanes, and what is past its deadline."""
    taken = Taken()
    if overdue:
        taken.overdue, taken.deadline = _take(connection, taken, (PAST_DEADLINE, {}, OVERDUE, _DEADLINE), now)
    for lane, most in wanted.items():
        due, taken.next_due[lane] = _take(connection, taken, (OF_LANE, {"lane": lane}, most, _DUE), now)
        taken.rows += due
    return taken


def _take(
    connection: apsw.Connection, taken: Taken, what: tuple[str, dict[str, Any], int, int], now: float
) -> tuple[list[list[Any]], float]:
    """What was leased, and when the next is due. Damage in one lane stops no other (hazard G6)."""
    statement, values, most, column = what
    try:
        found = _rows(connection, taken, statement, {**values, "most": most + 1})
        due, next_due = _split(found, most, column, now)
        _lease(connection, due)
    except Exception as error:
        if not is_damage(error):
            raise
        taken.damaged.append(error)
        return [], now + AGAIN
    return due, next_due


def _rows(connection: apsw.Connection, taken: Taken, statement: str, values: dict[str, Any]) -> list[list[Any]]:
    try:
        return list(answer(connection, statement, values))
    except Exception as error:
        if not is_damage(error):
            raise
        taken.damaged.append(error)
    keys = answer(connection, KEYS[statement], values)
    return [row for key in keys for row in _one(connection, *key)]


def _one(connection: apsw.Connection, number: int, part: int, at: float) -> list[list[Any]]:
    """One entry. Of one that cannot be read only its key, which `held` takes for damage."""
    try:
        return list(answer(connection, _ONE, (number, part)))
    except Exception as error:
        if not is_damage(error):
            raise
        return [[number, part, None, None, at, at, *[None] * _REST]]


def _split(found: list[list[Any]], most: int, column: int, now: float) -> tuple[list[list[Any]], float]:
    """What is due, and the time of the first that is left."""
    due = [row for row in found[:most] if _time(row[column]) <= now]
    rest = found[len(due) :]
    return due, _time(rest[0][column]) if rest else NEVER


def _time(at: object) -> float:
    """One that is no number is due: `held` takes it for damage, and the lane goes on."""
    return at if isinstance(at, int | float) else 0.0


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
        sealed,
        file,
        alone,
        best,
    ) = row
    try:
        message = rows.message(encode(number), meta, size, received_at, expires_at, bytes.fromhex(prefix))
        seals.check(sealed, meta, message.prefix)
        debt = rows.owed(owed, lane, STATES[state], due_at, deadline, message.envelope.recipients)
    except (ValueError, TypeError, LookupError):
        return None
    lease = Lease(token=token, entry=QueueEntry(id=part, message=message, owed=offered(debt)))
    found = Held(lease, number, part, now, alone=bool(alone), file=bool(file))
    found.best = best if isinstance(best, int) else NOBODY_ENDED
    return found


def quarantine(connection: apsw.Connection, row: list[Any]) -> None:
    """A damaged row is held, for people to look at; the rest of the queue goes on (hazard G6)."""
    number, part, *_ = row
    connection.execute(_HOLD, (_HELD, number, part))


class Stored(Struct, frozen=True):
    """What a row says of its body. `body`: if it is in the row and whole. `file`: it should be a file instead."""

    size: int = 0
    crc: int = 0
    body: Body | None = None
    file: bool = False


def bodies(connection: apsw.Connection, numbers: list[int], damaged: list[Exception]) -> dict[int, Stored]:
    """By number. `damaged` gets what went wrong."""
    return {number: _stored(*row) for number, *row in _bodies(connection, numbers, damaged)}


def _stored(size: object, sealed: object, data: object) -> Stored:
    if not isinstance(size, int) or not isinstance(sealed, int):
        return Stored()
    crc = seals.body_crc(sealed)
    whole = isinstance(data, bytes) and zlib.crc32(data) == crc and len(data) == size
    body = Body(size=size, data=data) if isinstance(data, bytes) and whole else None
    return Stored(size, crc, body, data is None)


def _bodies(connection: apsw.Connection, numbers: list[int], damaged: list[Exception]) -> list[Any]:
    """The rows; after a damaged page one by one, so that it costs no other message its body."""
    try:
        return connection.execute(BODIES, (json.dumps(numbers),)).fetchall()
    except apsw.Error as error:
        damaged.append(error)
        halves = (numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]) if len(numbers) > 1 else ()
        return [row for half in halves for row in _bodies(connection, half, damaged)]
