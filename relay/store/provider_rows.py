"""Providers as rows: what is read once at the start, and each change as a function over the writing connection.

Used by `registry`. It knows neither keys nor passwords: those are put beside by `sealing`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import apsw
import msgspec

from relay.db.answers import answer
from relay.model import Health, ProviderSettings

FILE, API = "file", "api"

# Read as text whatever it is: a flipped bit spoils its own row, not the start (hazard G6).
_ALL = """
SELECT json_group_array(json_array(id, CAST(origin AS TEXT), CAST(name AS TEXT), CAST(settings AS TEXT),
    CAST(secret AS TEXT), is_default IS 1, CAST(health AS TEXT), CAST(created_at AS REAL), CAST(updated_at AS REAL)))
FROM (SELECT * FROM provider WHERE deleted_at IS NULL ORDER BY id)
"""
_INSERT = """
INSERT INTO provider (name, origin, settings, is_default, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)
RETURNING id
"""
# What was used counts by name: see the queue's tables.
_FORGET = (
    "DELETE FROM counter WHERE provider = ?",
    "DELETE FROM spent WHERE provider = ?",
    "DELETE FROM reservation WHERE provider = ?",
)
_RENAME = (
    "INSERT INTO counter SELECT :new, period, amount, touched_at FROM counter WHERE provider = :old "
    "ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
    "DELETE FROM counter WHERE provider = :old",
    "UPDATE spent SET provider = :new WHERE provider = :old",
    "UPDATE reservation SET provider = :new WHERE provider = :old",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`settings` None: of the file, or damaged. `secret`: the password, encrypted."""

    id: int
    origin: str
    name: str
    settings: ProviderSettings | None
    secret: str | None
    default: bool
    health: Health
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """`ever`: some provider was made by hand once, even if none of them is left."""

    rows: tuple[Row, ...]
    ever: bool


def read(connection: apsw.Connection) -> Stored:
    """All that were not removed, by id."""
    ever = connection.execute("SELECT EXISTS (SELECT 1 FROM provider WHERE origin = ?)", (API,)).fetchall()
    return Stored(
        rows=tuple(_row(*values) for values in answer(connection, _ALL)),
        ever=bool(ever[0][0]),
    )


def _row(
    id: int, origin: str, name: str, settings: str, secret: str | None, default: int, health: str, *at: float
) -> Row:
    return Row(
        id=id,
        origin=FILE if origin == FILE else API,
        name=name,
        settings=_decoded(settings, ProviderSettings),
        secret=secret,
        default=bool(default),
        health=_decoded(health, Health) or Health(),
        created_at=at[0],
        updated_at=at[1],
    )


def _decoded(text: str, kind: Any) -> Any:
    try:
        return msgspec.json.decode(text.encode(), type=kind)
    except (msgspec.MsgspecError, ValueError):
        return None


def _encoded(settings: ProviderSettings) -> str:
    values = asdict(settings)
    del values["password"]
    return json.dumps(values)


def see(connection: apsw.Connection, names: Iterable[str], now: float) -> tuple[Row, ...]:
    """Providers of the file that were never seen before."""
    return tuple(
        Row(
            id=_insert(connection, name, FILE, "", False, now),
            origin=FILE,
            name=name,
            settings=None,
            secret=None,
            default=False,
            health=Health(),
            created_at=now,
            updated_at=now,
        )
        for name in names
    )


def insert(connection: apsw.Connection, settings: ProviderSettings, *, default: bool, now: float) -> int:
    """Its id. What another of that name used is not counted against it."""
    forget_usage(connection, settings.name)
    id = _insert(connection, settings.name, API, _encoded(settings), default, now)
    choose(connection, id, default)
    return id


def _insert(connection: apsw.Connection, name: str, origin: str, settings: str, default: bool, now: float) -> int:
    rows: list[Any] = connection.execute(_INSERT, (name, origin, settings, default, now, now)).fetchall()
    return int(rows[0][0])


def update(connection: apsw.Connection, id: int, old: str, settings: ProviderSettings, now: float) -> None:
    """`old`: the name until now, under which what it used is counted."""
    connection.execute(
        "UPDATE provider SET name = ?, settings = ?, updated_at = ? WHERE id = ?",
        (settings.name, _encoded(settings), now, id),
    )
    if old != settings.name:
        forget_usage(connection, settings.name)
        rename_usage(connection, {old: settings.name})


def rename_usage(connection: apsw.Connection, names: Mapping[str, str]) -> None:
    """From old names to new ones."""
    for old, new in names.items():
        for statement in _RENAME:
            connection.execute(statement, {"old": old, "new": new})


def choose(connection: apsw.Connection, id: int, default: bool) -> None:
    """Whether it is the default; then no other is."""
    if default:
        connection.execute("UPDATE provider SET is_default = (id = :id) WHERE is_default <> (id = :id)", {"id": id})
    else:
        connection.execute("UPDATE provider SET is_default = 0 WHERE id = ?", (id,))


def chosen(connection: apsw.Connection, id: int, default: bool, now: float) -> None:
    """`choose`, for one of which nothing else may be changed."""
    choose(connection, id, default)
    connection.execute("UPDATE provider SET updated_at = ? WHERE id = ?", (now, id))


def lock_nothing(connection: apsw.Connection, id: int) -> None:
    """It has no password."""
    connection.execute("UPDATE provider SET secret = NULL WHERE id = ?", (id,))


def remove(connection: apsw.Connection, id: int, name: str, now: float) -> None:
    """Its name is free, its password erased, what it used and did forgotten."""
    connection.execute(
        "UPDATE provider SET deleted_at = ?, updated_at = ?, secret = NULL, is_default = 0 WHERE id = ?", (now, now, id)
    )
    connection.execute("DELETE FROM statistic WHERE provider = ?", (id,))
    forget_usage(connection, name)


def forget_usage(connection: apsw.Connection, name: str) -> None:
    for statement in _FORGET:
        connection.execute(statement, (name,))


def keep_health(connection: apsw.Connection, known: Mapping[int, Health]) -> None:
    connection.executemany(
        "UPDATE provider SET health = ? WHERE id = ?",
        [(msgspec.json.encode(health).decode(), id) for id, health in known.items()],
    )
