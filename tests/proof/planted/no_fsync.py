"""The bug: nothing is flushed, neither the database's log nor a body, nor a body's name."""

from __future__ import annotations

from relay.db import connection
from relay.spool.bodies import Collector

FULL, OFF = "PRAGMA synchronous = FULL", "PRAGMA synchronous = OFF"


def plant() -> None:
    def seal(self: Collector) -> None:
        self._write()
        self._close()

    assert FULL in connection._ALWAYS and hasattr(Collector, "_seal")
    connection._ALWAYS = tuple([OFF if each == FULL else each for each in connection._ALWAYS])  # type: ignore[assignment]
    Collector._seal = seal  # type: ignore[method-assign]
