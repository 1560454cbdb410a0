"""What providers have used: reservations, the last minute, calendar periods.

`Ledger` serves the spool in memory; the functions are the same thing over the database. It knows no limits: whether
something may be sent is the dispatcher's decision.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import apsw

from relay.db.answers import answer
from relay.db.changes import Change, Kind
from relay.model import Reservation, Spent, Usage

MINUTE = 60.0
# Calendar keys are days and months: one untouched for so long is over.
FORGOTTEN = 40 * 86400.0


class Ledger:
    """Open reservations, what ended within a minute, and counters of periods."""

    def __init__(self) -> None:
        self._open: dict[int, Reservation] = {}
        self._ended: list[tuple[str, float, int]] = []
        self._periods: dict[str, dict[str, int]] = {}

    def reserve(self, wanted: Reservation) -> None:
        self._open[wanted.id] = wanted
        used = self._periods.setdefault(wanted.provider, {})
        for period in wanted.periods:
            used[period] = used.get(period, 0) + wanted.amount

    def spend(self, spent: Spent) -> None:
        """End a reservation; one that is not open changes nothing."""
        reservation = self._open.pop(spent.reservation.id, None)
        if reservation is None:
            return
        for period in reservation.periods:
            self._periods[reservation.provider][period] -= reservation.amount - spent.taken
        if spent.taken > 0:
            self._ended.append((reservation.provider, spent.at, spent.taken))

    def usage(self, now: float) -> list[Usage]:
        self._ended = [item for item in self._ended if item[1] > now - MINUTE]
        minute = self._ended + [(r.provider, r.at, r.amount) for r in self._open.values()]
        return collect(minute, [(p, k, n) for p, used in self._periods.items() for k, n in used.items()])


def collect(minute: Sequence[tuple[str, float, int]], periods: Sequence[tuple[str, str, int]]) -> list[Usage]:
    """(provider, time, amount) and (provider, period, amount) as one Usage for each provider, by name."""
    names = sorted({item[0] for item in minute} | {item[0] for item in periods})
    return [
        Usage(
            provider=name,
            minute=tuple(sorted((at, amount) for who, at, amount in minute if who == name)),
            periods={period: amount for who, period, amount in periods if who == name},
        )
        for name in names
    ]


# Over the database


def reserve(wanted: Reservation) -> Change:
    return Change(
        Kind.RESERVE,
        wanted.id,
        lane=wanted.provider,
        due_at=wanted.at,
        owed=json.dumps(wanted.periods),
        size=wanted.amount,
    )


def spend(spent: Spent) -> Change:
    reservation = spent.reservation
    return Change(
        Kind.SPEND,
        reservation.id,
        reservation.amount - spent.taken,
        reservation.provider,
        due_at=spent.at,
        owed=json.dumps(reservation.periods),
        size=spent.taken,
    )


# A row with flipped bits counts for nothing, and the relay starts all the same (hazard G6).
_MINUTE = """
SELECT json_group_array(json_array(provider, at, amount)) FROM (
    SELECT provider, at, amount FROM spent WHERE at > ? UNION ALL SELECT provider, at, amount FROM reservation)
WHERE typeof(provider) = 'text' AND typeof(at) IN ('real', 'integer') AND typeof(amount) = 'integer'
"""
_PERIODS = """
SELECT json_group_array(json_array(provider, period, amount)) FROM counter
WHERE typeof(provider) = 'text' AND typeof(period) = 'text' AND typeof(amount) = 'integer'
"""


def read(connection: apsw.Connection, now: float) -> list[Usage]:
    minute, periods = answer(connection, _MINUTE, (now - MINUTE,)), answer(connection, _PERIODS)
    return collect([row for row in minute if _is_text(row[0])], [row for row in periods if _is_text(row[0] + row[1])])


def _is_text(words: str) -> bool:
    """False for what was no UTF-8."""
    return not any("\ud800" <= char <= "\udfff" for char in words)


def recover(connection: apsw.Connection, now: float) -> None:
    """At start: what was reserved when a process died may have been sent, so it counts as spent now."""
    connection.execute("INSERT INTO spent (provider, at, amount) SELECT provider, ?, amount FROM reservation", (now,))
    connection.execute("DELETE FROM reservation")


def prune(connection: apsw.Connection, now: float) -> None:
    """Forget what cannot count any more."""
    connection.execute("DELETE FROM spent WHERE at <= ?", (now - MINUTE,))
    connection.execute("DELETE FROM counter WHERE touched_at < ?", (now - FORGOTTEN,))
