"""Registrations and attachments as rows: what is read once at the start, and each change on the writing connection.

Used by `integrations`. It knows neither keys nor passwords: those are put beside by `sealing`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import apsw
import msgspec

from relay.db.answers import answer
from relay.model import Attached

# Read as text whatever it is: a flipped bit spoils its own row, not the start (hazard G6).
_REGISTRATIONS = """
SELECT json_group_array(json_array(id, CAST(integration AS TEXT), CAST(options AS TEXT), CAST(secret AS TEXT),
    CAST(created_at AS REAL)))
FROM (SELECT * FROM registration ORDER BY id)
"""
_ATTACHMENTS = """
SELECT json_group_array(json_array(id, CAST(workflow AS TEXT), CAST(registration AS INTEGER), CAST(options AS TEXT),
    CAST(created_at AS REAL)))
FROM (SELECT * FROM attachment ORDER BY id)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A registration. `options`: but for the password, None: damaged. `secret`: the password, encrypted."""

    id: int
    integration: str
    options: Mapping[str, str] | None
    secret: str
    created_at: float


def read(connection: apsw.Connection) -> tuple[list[Row], list[Attached]]:
    """All there are, by id."""
    return (
        [_registration(*values) for values in answer(connection, _REGISTRATIONS)],
        [_attached(*values) for values in answer(connection, _ATTACHMENTS)],
    )


def _registration(id: int, integration: str, options: str, secret: str | None, created_at: float) -> Row:
    return Row(
        id=id,
        integration=_clean(integration),
        options=_decoded(options),
        secret=secret or "",
        created_at=created_at,
    )


def _attached(id: int, workflow: str, registration: int, options: str, created_at: float) -> Attached:
    """Of one that is damaged what can be read: it can be seen, and removed."""
    return Attached(
        id=id,
        workflow=_clean(workflow),
        registration=registration,
        options=_decoded(options) or {},
        created_at=created_at,
    )


def _clean(text: str) -> str:
    """Bytes that were no UTF-8, see `answer`, are no text for anybody else."""
    return text.encode(errors="replace").decode()


def _decoded(text: str) -> Mapping[str, str] | None:
    try:
        found: dict[str, str] = msgspec.json.decode(text.encode(), type=dict[str, str])
    except (msgspec.MsgspecError, ValueError):
        return None
    return found


def insert(connection: apsw.Connection, integration: str, options: Mapping[str, str], now: float) -> int:
    """Its id; its secret is to follow."""
    made: list[Any] = connection.execute(
        "INSERT INTO registration (integration, options, secret, created_at) VALUES (?, ?, '', ?) RETURNING id",
        (integration, json.dumps(dict(options)), now),
    ).fetchall()
    return int(made[0][0])


def remove(connection: apsw.Connection, id: int) -> None:
    connection.execute("DELETE FROM registration WHERE id = ?", (id,))
    connection.execute("DELETE FROM attachment WHERE registration = ?", (id,))


def attach(
    connection: apsw.Connection, workflow: str, registration: int, options: Mapping[str, str], now: float
) -> int:
    """Its id."""
    made: list[Any] = connection.execute(
        "INSERT INTO attachment (workflow, registration, options, created_at) VALUES (?, ?, ?, ?) RETURNING id",
        (workflow, registration, json.dumps(dict(options)), now),
    ).fetchall()
    return int(made[0][0])


def detach(connection: apsw.Connection, id: int) -> None:
    connection.execute("DELETE FROM attachment WHERE id = ?", (id,))
