"""The record of events and workflow runs: written with the messages they caused, read by people, pruned like history.

Used by the parts of the SQLite spool; the SQL of `ports.Happenings`. It judges no outcome: it was answered so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import apsw

from relay.db.answers import answer_each
from relay.db.changes import Change, Kind
from relay.model import Happening
from relay.spool import ids, rows
from relay.spool.books import Books

COUNT = "SELECT count(*) FROM event"
NEWEST = "SELECT id FROM event WHERE id BETWEEN 0 AND ? ORDER BY id DESC LIMIT ?"
NAMED = "SELECT id FROM event WHERE name = ? AND id BETWEEN 0 AND ? ORDER BY id DESC LIMIT ?"
_ROWS = """
SELECT json_group_array(json_array(id, kind, name, at, user, outcome))
FROM event WHERE id IN (SELECT value FROM json_each(?))
"""
PRUNE_OLD = "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE at < ? ORDER BY at LIMIT ?)"
# By id, which grows with time: so that also those go whose time a flipped bit made something else (hazard G6).
PRUNE_MANY = "DELETE FROM event WHERE id IN (SELECT id FROM event ORDER BY id LIMIT ?)"


DAMAGED = "damaged"
"""In place of the kind of what cannot be read."""


def written(happening: Happening) -> Change:
    """For the operation of its messages."""
    return Change(
        Kind.EVENT,
        ids.decode(happening.id),
        lane=happening.kind,
        due_at=happening.at,
        owed=happening.name,
        meta=happening.user,
        body=happening.outcome.encode(),
    )


def prune(connection: apsw.Connection, before: float, beyond: int, most: int) -> int:
    """Forget up to `most` that are older, and so many of the oldest; how many there were."""
    connection.execute(PRUNE_OLD, (before, most))
    pruned = connection.changes()
    if beyond > pruned:
        connection.execute(PRUNE_MANY, (beyond - pruned,))
        pruned = beyond
    return pruned


class Record:
    """Looks at it, on the reading thread for people."""

    def __init__(self, books: Books) -> None:
        self._books = books

    async def page(self, limit: int, after: str, name: str) -> tuple[Sequence[Happening], bool]:
        last = ids.find(after)
        largest = ids.LARGEST if last is None else last - 1

        def look(connection: apsw.Connection) -> tuple[list[Happening], bool]:
            values = (name, largest, limit + 1) if name else (largest, limit + 1)
            found: list[Any] = connection.execute(NAMED if name else NEWEST, values).fetchall()
            return load(connection, [number for (number,) in found[:limit]]), len(found) > limit

        return await self._books.look(look)

    async def one(self, id: str) -> Happening | None:
        number = ids.find(id)
        if number is None:
            return None
        found = await self._books.look(lambda connection: load(connection, [number]))
        return found[0] if found else None


def load(connection: apsw.Connection, numbers: Sequence[int]) -> list[Happening]:
    """Those of them that there are, newest first; one that cannot be read does not hide the others (hazard G6)."""
    found, lost = answer_each(connection, _ROWS, numbers)
    shown = {row[0]: _read(*row) for row in found} | {number: _damaged(number) for number in lost}
    return [shown[number] for number in sorted(shown, reverse=True)]


def _read(number: int, kind: object, name: object, at: object, user: object, outcome: object) -> Happening:
    try:
        rows.moment(at)
        whole = Happening(
            id=ids.encode(number),
            kind=_text(kind),
            name=_text(name),
            at=cast(float, at),
            user=_text(user),
            outcome=_text(outcome),
        )
        json.loads(whole.outcome)
    except (ValueError, TypeError):
        return _damaged(number, at)
    return whole


def _damaged(number: int, at: object = 0.0) -> Happening:
    shown_at = rows.believable(0, at)[1]
    return Happening(id=ids.encode(number), kind=DAMAGED, name="", at=shown_at, user="", outcome="{}")


def _text(value: object) -> str:
    """ValueError for what is no UTF-8, TypeError for what SQLite takes for JSONB since a bit flipped."""
    if not isinstance(value, str):
        raise TypeError("not a text")
    value.encode()
    return value
