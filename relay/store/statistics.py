"""What providers did, by calendar day: counted in memory as attempts end, written down every few seconds.

Used by `registry`. For people to look at: limits are the dispatcher's, whose own counts are durable before a send.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import apsw
from msgspec import Struct

from relay.db.answers import answer
from relay.delivery.limits import calendars
from relay.events import AttemptEnded
from relay.model import Counts, Verdict

DAY = 86400.0
# Shorter ones are kept until the month, which lasts longer in one timezone than in another, is over.
SHORTEST = 33 * DAY

# A row with flipped bits counts for nothing, and the relay starts all the same (hazard G6).
_ALL = """
SELECT json_group_array(json_array(provider, CAST(day AS TEXT), taken, attempts, accepted, seconds)) FROM statistic
WHERE typeof(taken) = 'integer' AND typeof(attempts) = 'integer' AND typeof(accepted) = 'integer'
  AND typeof(seconds) = 'real'
"""
_KEEP = """
INSERT INTO statistic (provider, day, taken, attempts, accepted, seconds)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?) WHERE true
ON CONFLICT (provider, day) DO UPDATE
SET taken = excluded.taken, attempts = excluded.attempts, accepted = excluded.accepted, seconds = excluded.seconds
"""

Line = tuple[int, str, int, int, int, float]
"""Provider, day, taken, attempts, accepted, seconds."""


def read(connection: apsw.Connection) -> list[Line]:
    return [(line[0], line[1], line[2], line[3], line[4], line[5]) for line in answer(connection, _ALL)]


def keep(connection: apsw.Connection, lines: Sequence[Line], before: str) -> None:
    """Write the lines, and prune the days before that one."""
    if lines:
        connection.execute(_KEEP, (json.dumps(lines),))
    connection.execute("DELETE FROM statistic WHERE day < ?", (before,))


class _Day(Struct):
    taken: int = 0
    attempts: int = 0
    accepted: int = 0
    seconds: float = 0.0


class _Today(Struct, frozen=True):
    """The day of a timezone, so that it is worked out once."""

    day: str
    since: float
    until: float


class Statistics:
    """By provider id and day. What changed since it was last taken for writing is remembered."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._days: dict[int, dict[str, _Day]] = {}
        for id, day, taken, attempts, accepted, seconds in lines:
            self._days.setdefault(id, {})[day] = _Day(taken, attempts, accepted, seconds)
        self._changed: set[tuple[int, str]] = set()
        self._today: dict[str, _Today] = {}

    def ended(self, id: int, timezone: str, event: AttemptEnded, now: float) -> None:
        """One transaction is one message, however many recipients it had."""
        day = self._day(timezone, now)
        counted = self._days.setdefault(id, {}).setdefault(day, _Day())
        well = [outcome.verdict is Verdict.ACCEPTED for outcome in event.outcomes]
        counted.taken += any(well)
        counted.attempts += 1
        counted.accepted += all(well)
        counted.seconds += max(0.0, event.seconds)  # the clock may have been set back
        self._changed.add((id, day))

    def counts(self, id: int, timezone: str, now: float, history: float) -> Counts:
        """`history`: seconds that count as the kept history."""
        days = self._days.get(id, {})
        today = self._day(timezone, now)
        since = f"{datetime.fromtimestamp(max(0.0, now - history), ZoneInfo(timezone)):%Y-%m-%d}"
        kept = [counted for day, counted in days.items() if day >= since]
        return Counts(
            today=days[today].taken if today in days else 0,
            month=sum(counted.taken for day, counted in days.items() if day.startswith(today[:7])),
            attempts=sum(counted.attempts for counted in kept),
            accepted=sum(counted.accepted for counted in kept),
            seconds=sum(counted.seconds for counted in kept),
        )

    def forget(self, id: int) -> None:
        """The provider is gone."""
        self._days.pop(id, None)
        self._changed = {key for key in self._changed if key[0] != id}

    def changed(self) -> list[Line]:
        """What is to be written; `again` when it could not be."""
        keys, self._changed = self._changed, set()
        return [(id, day, c.taken, c.attempts, c.accepted, c.seconds) for id, day, c in self._found(keys)]

    def _found(self, keys: Iterable[tuple[int, str]]) -> Iterable[tuple[int, str, _Day]]:
        return ((id, day, self._days[id][day]) for id, day in sorted(keys))

    def again(self, lines: Iterable[Line]) -> None:
        self._changed |= {(line[0], line[1]) for line in lines}

    def prune(self, now: float, history: float) -> str:
        """Forget what nobody asks for any more: the days before the one that is given back."""
        before = f"{datetime.fromtimestamp(max(0.0, now - max(history, SHORTEST)), UTC):%Y-%m-%d}"
        for days in self._days.values():
            for day in [day for day in days if day < before]:
                del days[day]
        self._changed = {key for key in self._changed if key[1] >= before}
        return before

    def _day(self, timezone: str, now: float) -> str:
        known = self._today.get(timezone)
        if known is None or not known.since <= now < known.until:
            day, _ = calendars(now, timezone)
            known = _Today(day=day.key.partition(":")[2], since=now, until=day.until)
            self._today[timezone] = known
        return known.day
