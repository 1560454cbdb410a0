"""Brings a database to the newest schema: numbered files in `sql/`, each applied once, in order, in a transaction.

Called by `connection` when the file is opened. It never goes back and never edits a file that was released.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import cast

import apsw


@cache
def steps() -> tuple[tuple[int, str], ...]:
    """(number, script) of every migration: `sql/0001_spool.sql` is number 1."""
    folder = files("relay.db") / "sql"
    scripts = sorted((item for item in folder.iterdir() if item.name.endswith(".sql")), key=lambda item: item.name)
    return tuple((int(item.name.partition("_")[0]), item.read_text(encoding="utf-8")) for item in scripts)


def newest() -> int:
    """The version this program writes."""
    return steps()[-1][0]


def version(connection: apsw.Connection) -> int:
    """The version the file has; 0 for an empty one."""
    return cast(int, connection.execute("PRAGMA user_version").fetchall()[0][0])


def upgrade(connection: apsw.Connection, scripts: Sequence[tuple[int, str]] | None = None) -> None:
    """Apply what is missing. A failure leaves the version before it intact."""
    have = version(connection)
    for number, script in scripts or steps():
        if number > have:
            with connection:
                # fetchall() runs the script to its end: execute() alone stops at the first row (hazard L17).
                connection.execute(script).fetchall()
                connection.execute(f"PRAGMA user_version = {number}").fetchall()
