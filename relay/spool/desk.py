"""Looking at the queue: lists, one message, counts. All of it on a reading thread of its own.

Part of the SQLite spool; the reading half of `ports.Desk`. A list of a million rows keeps no commit waiting.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from typing import Any

import apsw

from relay.db.answers import answer, answer_each, is_damage
from relay.db.errors import StorageFailed
from relay.model import Envelope, Message, Owed, Source, State
from relay.ports import Filter, MessageView, Page, QueueStats
from relay.spool import ids, rows, views
from relay.spool.books import Books
from relay.spool.reaching import reachable
from relay.spool.settling import RANK, STATES, state_of

_log = logging.getLogger(__name__)

# Statements are put together from the constants here, never from what somebody typed.
# A lease no worker has taken yet is shown as queued, which is what it is to people: `ready` has their ids.
_SHOWN = "CASE WHEN e.state = 1 AND e.message IN (SELECT value FROM json_each(:ready)) THEN 0 ELSE e.state END"
_ASKED = """
    ({t}.received_at < :older OR :older IS NULL)
    AND (:sender = '' OR lower({meta} ->> '$[0]') GLOB :sender)
    AND (:recipient = '' OR EXISTS (
        SELECT 1 FROM json_each({meta}, '$[1]') AS r WHERE lower(r.value ->> 0) GLOB :recipient))
"""


def _json(text: str, otherwise: str = "[]") -> str:
    """JSON that a flipped bit may have damaged: one such row must not be an error of the whole search (hazard G6)."""
    return f"iif(json_valid({text}), {text}, '{otherwise}')"


def _asked(table: str) -> str:
    return _ASKED.format(t=table, meta=_json(f"{table}.meta"))


def _past_provider(items: str) -> str:
    return f"EXISTS (SELECT 1 FROM json_each({_json(items)}) AS j WHERE j.value ->> 1 = :provider)"  # nosec B608


_DEBT = _json("o.owed", "{}")

LIVE = f"""
SELECT json_group_array(message) FROM (
    SELECT e.message, min({_SHOWN}) AS shown
    FROM entry AS e LEFT JOIN message AS m ON m.id = e.message
    WHERE e.message BETWEEN :first AND :last AND {_asked("m")}
      AND (:provider = '' OR EXISTS (
          SELECT 1 FROM entry AS o WHERE o.message = e.message AND (
              {_DEBT} ->> 'pin' = :provider
              OR EXISTS (SELECT 1 FROM json_each({_DEBT}, '$.avoid') WHERE value = :provider)
              OR EXISTS (SELECT 1 FROM json_each({_DEBT}, '$.refused') WHERE value = :provider)))
        OR EXISTS (SELECT 1 FROM past AS p WHERE p.message = e.message
                   AND {_past_provider("'[' || p.what || ']'")}))
    GROUP BY e.message
    HAVING :states = '[]' OR shown IN (SELECT value FROM json_each(:states))
    ORDER BY e.message LIMIT :most)
"""  # nosec B608
ENDED = f"""
SELECT json_group_array(id) FROM (
    SELECT h.id FROM history AS h
    WHERE h.id BETWEEN :first AND :last AND {_asked("h")}
      AND (:states = '[]' OR h.state IN (SELECT value FROM json_each(:states)))
      AND (:provider = '' OR {_past_provider("h.past")})
    ORDER BY h.id LIMIT :most)
"""  # nosec B608
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
FIRST = {
    LIVE: "SELECT min(message) FROM entry WHERE message BETWEEN ? AND ?",
    ENDED: "SELECT min(id) FROM history WHERE id BETWEEN ? AND ?",
}
STATES_LIVE = f"""
SELECT json_group_array(json_array(shown, n)) FROM (
    SELECT shown, count(*) AS n FROM (SELECT min({_SHOWN}) AS shown FROM entry AS e GROUP BY e.message) GROUP BY shown)
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
        first = (ids.find(after) or 0) + 1 if after else 0
        ready = self._ready()
        damaged: list[Exception] = []
        found = await self._books.look(lambda connection: page(connection, where, first, limit, ready, damaged))
        for problem in damaged:
            self._books.saw(problem)
        return found

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


def page(
    connection: apsw.Connection, where: Filter, first: int, limit: int, ready: str, damaged: list[Exception]
) -> Page:
    """Up to `limit` messages from the id `first` on, live and ended ones in one order."""
    span = range(first, ids.LARGEST + 1)
    found: list[int] = []
    if views.looks_live(where):
        found += numbers(connection, LIVE, where, span, limit + 1, ready, damaged)
    if views.looks_back(where):
        found += numbers(connection, ENDED, where, span, limit + 1, ready, damaged)
    found.sort()
    return Page(data=tuple(load(connection, found[:limit], ready, timeline=False)), has_more=len(found) > limit)


def numbers(
    connection: apsw.Connection,
    statement: str,
    where: Filter,
    span: range,
    most: int,
    ready: str,
    damaged: list[Exception],
) -> list[int]:
    """Ids in the span that match, in order. After a damaged page also those that nobody can tell of; see `damaged`."""
    if where.id:
        only = ids.find(where.id)
        if only is None or only not in span:
            return []
        span = range(only, only + 1)
    values = {
        "first": span.start,
        "last": span.stop - 1,
        "most": most,
        "ready": ready,
        "older": where.older,
        "sender": _glob(where.sender),
        "recipient": _glob(where.recipient),
        "provider": where.provider,
        "states": json.dumps([RANK[state] for state in where.states]),
    }
    if statement is ENDED:
        del values["ready"]
    try:
        return list(answer(connection, statement, values))
    except Exception as error:
        if not is_damage(error):
            raise
        damaged.append(error)
    return _one_by_one(connection, statement, values)


def _one_by_one(connection: apsw.Connection, statement: str, values: dict[str, Any]) -> list[int]:
    found: list[int] = []
    for number in reachable(connection, FIRST[statement], values["first"], values["last"]):
        found += _if_asked(connection, statement, values | {"first": number, "last": number, "most": 1})
        if len(found) == values["most"]:
            break
    return found


def _if_asked(connection: apsw.Connection, statement: str, values: dict[str, Any]) -> list[int]:
    try:
        return list(answer(connection, statement, values))
    except Exception as error:
        if not is_damage(error):
            raise
        return [values["first"]]


def _glob(pattern: str) -> str:
    """A shell glob as SQLite's GLOB writes it."""
    return pattern.lower().replace("[!", "[^")


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
