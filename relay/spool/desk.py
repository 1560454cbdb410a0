"""Looking at the queue: lists, one message, counts. All of it on a reading thread of its own.

Part of the SQLite spool; the reading half of `ports.Desk`. A list of a million rows keeps no commit waiting.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import apsw

from relay.db.answers import answer, answer_each, is_damage
from relay.db.errors import StorageFailed
from relay.model import Envelope, Message, Owed, Source, State
from relay.ports import Filter, MessageView, Page, QueueStats
from relay.spool import ids, rows, search, views
from relay.spool.books import Books
from relay.spool.settling import STATES, state_of

_log = logging.getLogger(__name__)

STRETCH = 10_000
"""Rows that one question looks through: whoever asks next, for the counts of /metrics say, waits that long."""

LIVE_ROWS = """
SELECT json_group_array(json_array(q.id, m.meta, m.size, m.received_at, m.expires_at, NULL,
    '[' || coalesce((SELECT group_concat(what, ',' ORDER BY n) FROM past WHERE message = q.id), '') || ']',
    (SELECT json_group_array(json_array(part, lane, state, due_at, deadline, owed)) FROM entry WHERE message = q.id)))
FROM (SELECT DISTINCT message AS id FROM entry WHERE message IN (SELECT value FROM json_each(?))) AS q
LEFT JOIN message AS m ON m.id = q.id
"""
ENDED_ROWS = """
SELECT json_group_array(json_array(id, meta, size, received_at, expires_at, ended_at, past, '[]'))
FROM history WHERE id IN (SELECT value FROM json_each(?))
"""
STATES_LIVE = f"""
SELECT json_group_array(json_array(shown, n)) FROM (
    SELECT shown, count(*) AS n
    FROM (SELECT min({search.SHOWN}) AS shown FROM entry AS e GROUP BY e.message) GROUP BY shown)
"""  # nosec B608
STATES_ENDED = """
SELECT json_group_array(json_array(state, n)) FROM (SELECT state, count(*) AS n FROM history GROUP BY state)
"""
OLDEST = """
SELECT CAST(received_at AS REAL) FROM message
WHERE id = (SELECT message FROM entry WHERE state <> 5 ORDER BY message LIMIT 1)
"""


class Looking:
    def __init__(self, books: Books) -> None:
        self._books = books
        self._counted: tuple[float, dict[str, int], float | None] = (0.0, {}, None)

    async def find(self, where: Filter, *, limit: int, after: str = "") -> Page:
        """A stretch to a question: others are answered in between, and no snapshot keeps the log from starting over."""
        asked = search.Search(where, self._ready())
        left = search.narrowed(where, range((ids.find(after) or 0) + 1 if after else 0, ids.LARGEST + 1))
        found: list[MessageView] = []
        while left and len(found) <= limit:
            seen = await self._books.look(partial(look_through, asked=asked, span=left, most=limit + 1 - len(found)))
            for problem in seen.damaged:
                self._books.saw(problem)
            found += seen.found
            left = range(seen.end, left.stop)
        return Page(data=tuple(found[:limit]), has_more=len(found) > limit)

    async def show(self, message: str) -> MessageView | None:
        number = ids.find(message)
        if number is None:
            return None
        ready = self._ready()
        found = await self._books.look(lambda c: load(c, [number], ready, timeline=True))
        return found[0] if found else None

    async def stats(self) -> QueueStats:
        until, states, oldest = self._counted
        if time.monotonic() >= until:
            try:
                states, oldest = await self._count()
            except Exception as error:  # the counts are those of before; `detail` says of a damaged page
                if not isinstance(error, StorageFailed) and not is_damage(error):
                    raise
                _log.error("the queue cannot be counted: %s", error)
        gauge = self._books.gauge
        return QueueStats(
            states=states,
            oldest=oldest,
            live_bytes=gauge.live,
            max_bytes=gauge.limits.max_size,
            free_bytes=gauge.free,
            healthy=not gauge.failure,
            detail=gauge.failure,
        )

    async def _count(self) -> tuple[dict[str, int], float | None]:
        """Count, and keep the answer for a while if that was a lot of work."""
        started, ready = time.monotonic(), self._ready()
        states, oldest = await self._books.look(lambda connection: count(connection, ready))
        seconds = time.monotonic() - started
        self._counted = (started + 20 * seconds if seconds > 0.05 else 0.0, states, oldest)
        return states, oldest

    def _ready(self) -> str:
        return ready_ids(self._books)


def ready_ids(books: Books) -> str:
    """The messages with leases no worker has taken, for `:ready`."""
    return json.dumps([held.number for held in books.ready])


class Seen(NamedTuple):
    """What was found before `end`, all that matches there or as many as were asked for."""

    found: list[MessageView]
    end: int
    damaged: list[Exception]


def look_through(connection: apsw.Connection, asked: search.Search, span: range, most: int) -> Seen:
    """The first stretch of the span, live and ended messages in one order."""
    damaged: list[Exception] = []
    span = _stretch(connection, asked, span, damaged)
    found = sorted(
        number
        for statement in asked.statements
        for number in search.numbers(connection, statement, asked, span, most, damaged)
    )
    return Seen(load(connection, found[:most], asked.ready, timeline=False), span.stop, damaged)


def _stretch(connection: apsw.Connection, asked: search.Search, span: range, damaged: list[Exception]) -> range:
    """Where a damaged page hides its end it is all of the span, which is then gone through row by row."""
    try:
        return min(
            (search.stretch(connection, statement, span, STRETCH) for statement in asked.statements),
            key=lambda part: part.stop,
        )
    except Exception as error:
        if not is_damage(error):
            raise
        damaged.append(error)
        return span


def load(connection: apsw.Connection, wanted: Sequence[int], ready: str, *, timeline: bool) -> list[MessageView]:
    """These messages as people see them, in the order of their ids."""
    unclaimed = frozenset(json.loads(ready))
    live, lost = answer_each(connection, LIVE_ROWS, wanted)
    ended, lost_too = answer_each(connection, ENDED_ROWS, wanted)
    shown = {row[0]: _view(row, unclaimed, timeline) for row in live + ended}
    shown |= {number: _damaged(number, 0, 0.0) for number in lost + lost_too}
    return [shown[number] for number in sorted(shown)]


def _view(row: list[Any], unclaimed: frozenset[int], timeline: bool) -> MessageView:
    number, meta, size, received_at, expires_at, ended_at, past, entries = row
    try:
        message = rows.message(ids.encode(number), meta, size, received_at, expires_at, b"")
        if ended_at is not None:
            rows.moment(ended_at)
        owed = [_owed(item, message, number in unclaimed) for item in json.loads(entries)]
        return views.view(message, owed, rows.past(past), ended_at, timeline=timeline)
    except (ValueError, TypeError, LookupError):
        return _damaged(number, size, received_at)


def _owed(item: list[Any], message: Message, unclaimed: bool) -> Owed:
    _, lane, state, due_at, deadline, text = item
    shown = State.QUEUED if unclaimed and STATES[state] is State.SENDING else STATES[state]
    return rows.owed(text, lane, shown, due_at, deadline, message.envelope.recipients)


def _damaged(number: int, size: object, received_at: object) -> MessageView:
    """A row that cannot be read is held (hazard G6) and must not hide the others."""
    envelope = Envelope(sender="", recipients=())
    shown_size, shown_at = rows.believable(size, received_at)
    return MessageView(
        id=ids.encode(number),
        state=State.HELD,
        sender=envelope.sender,
        recipients=(),
        size=shown_size,
        source=views.source(Source(kind="damaged")),
        received_at=shown_at,
    )


def count(connection: apsw.Connection, ready: str) -> tuple[dict[str, int], float | None]:
    """Messages by state, and when the oldest that is on its way was received."""
    states: dict[str, int] = {}
    for rank, n in [*answer(connection, STATES_LIVE, {"ready": ready}), *answer(connection, STATES_ENDED)]:
        state = state_of(rank, State.HELD)
        states[state] = states.get(state, 0) + n
    oldest: list[Any] = connection.execute(OLDEST).fetchall()
    return states, rows.believable(0, oldest[0][0])[1] if oldest else None
