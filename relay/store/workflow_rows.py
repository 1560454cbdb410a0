"""Workflows as rows: what is read once at the start, each change as a task on the writing connection, older versions.

Used by `workflows`. It does not know what is in a document; a row that is damaged spoils no other (hazard G6).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import apsw

from relay.db.answers import is_damage
from relay.model import Workflow

KEPT = 100
"""Versions of one, that which is in force among them."""

_INSERT = """
INSERT INTO workflow (name, event, version, changed_at, changed_by, document) VALUES (?, ?, ?, ?, ?, ?) RETURNING id
"""
_UPDATE = """
UPDATE workflow SET name = ?, event = ?, version = ?, changed_at = ?, changed_by = ?, document = ? WHERE id = ?
"""
_PUT_BY = """
INSERT OR REPLACE INTO workflow_version (workflow, version, changed_at, changed_by, document)
SELECT id, ?, changed_at, changed_by, document FROM workflow WHERE id = ?
"""
_ONE = """
SELECT CAST(name AS BLOB), CAST(event AS BLOB), CAST(version AS INTEGER), CAST(changed_at AS REAL),
    CAST(changed_by AS BLOB), CAST(document AS BLOB)
FROM workflow WHERE id = ?
"""
_OLD_ONE = """
SELECT CAST('' AS BLOB), CAST('' AS BLOB), version, CAST(changed_at AS REAL),
    CAST(changed_by AS BLOB), CAST(document AS BLOB)
FROM workflow_version WHERE workflow = ? AND version = ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`name`: "" when it cannot be read. `document`: JSON, None when it cannot be read."""

    id: int
    name: str
    event: str
    version: int
    changed_at: float
    changed_by: str
    document: bytes | None


def read(connection: apsw.Connection) -> list[Row]:
    """All, the oldest first. They are few and may be large: each is asked for alone."""
    ids: list[Any] = connection.execute("SELECT id FROM workflow ORDER BY id").fetchall()
    return [_row(connection, _ONE, (id,), Row(**_NOTHING, id=id, version=1)) for (id,) in ids]


def older(connection: apsw.Connection, id: int, than: int) -> list[Row]:
    """The versions before, the newest first; name and event are not kept."""
    query = "SELECT version FROM workflow_version WHERE workflow = ? AND version < ? ORDER BY version DESC LIMIT ?"
    found: list[Any] = connection.execute(query, (id, than, KEPT - 1)).fetchall()
    return [_row(connection, _OLD_ONE, (id, number), Row(**_NOTHING, id=id, version=number)) for (number,) in found]


_NOTHING: dict[str, Any] = {"name": "", "event": "", "changed_at": 0.0, "changed_by": "", "document": None}


def _row(connection: apsw.Connection, query: str, which: tuple[int, ...], unreadable: Row) -> Row:
    try:
        found: list[Any] = connection.execute(query, which).fetchall()
    except apsw.Error as error:
        if not is_damage(error):
            raise
        return unreadable
    name, event, version, changed_at, changed_by, document = found[0]
    return Row(
        id=which[0],
        name=_text(name),
        event=_text(event),
        version=version,
        changed_at=changed_at,
        changed_by=_text(changed_by),
        document=document,
    )


def _text(stored: bytes) -> str:
    """What is no UTF-8 is nothing."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return ""


def _values(one: Workflow) -> tuple[str, str, int, float, str, str]:
    return one.name, one.event, one.version, one.changed_at, one.changed_by, encoded(one.document)


def encoded(document: Mapping[str, object]) -> str:
    return json.dumps(document)


def insert(connection: apsw.Connection, one: Workflow) -> int:
    """Its id."""
    made: list[Any] = connection.execute(_INSERT, _values(one)).fetchall()
    return int(made[0][0])


def update(connection: apsw.Connection, id: int, one: Workflow) -> None:
    """What it was is put by. Its name, too: that of a damaged row was none."""
    connection.execute(_PUT_BY, (one.version - 1, id))
    connection.execute(_UPDATE, (*_values(one), id))
    connection.execute("DELETE FROM workflow_version WHERE workflow = ? AND version <= ?", (id, one.version - KEPT))


def remove(connection: apsw.Connection, id: int) -> None:
    connection.execute("DELETE FROM workflow_version WHERE workflow = ?", (id,))
    connection.execute("DELETE FROM workflow WHERE id = ?", (id,))
