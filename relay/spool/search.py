"""Which messages a filter means: the SQL of a search, a stretch of the queue at a time.

Used by `desk` and `acting` on the threads of the database. It never looks through more than a stretch in one statement,
unless a damaged page keeps it from knowing where the stretch ends.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import apsw

from relay.db.answers import answer, is_damage
from relay.ports import Filter
from relay.spool import ids, views
from relay.spool.reaching import reachable
from relay.spool.settling import RANK

# Statements are put together from the constants here, never from what somebody typed.
# A lease no worker has taken yet is shown as queued, which is what it is to people: `ready` has their ids.
SHOWN = "CASE WHEN e.state = 1 AND e.message IN (SELECT value FROM json_each(:ready)) THEN 0 ELSE e.state END"
_ASKED = """
    ({t}.received_at < :older OR :older IS NULL)
    AND (:sender = '' OR lower({meta} ->> '$[0]') GLOB :sender)
    AND (:recipient = '' OR EXISTS (
        SELECT 1 FROM json_each({meta}, '$[1]') AS r WHERE lower(r.value ->> 0) GLOB :recipient))
    AND (:tag = '' OR EXISTS (SELECT 1 FROM json_each({meta}, '$[9][0]') AS l WHERE l.value = :tag))
    AND (:texts = '[]' OR EXISTS (SELECT 1 FROM json_each(:texts) AS n WHERE instr({seen}, n.value)))
"""
# What people see of a message, a line each. json_each reads the whole of the row once for each thing that is in it.
_SEEN = """lower(concat_ws(char(10), {meta} ->> '$[0]',
    (SELECT group_concat(r.value ->> 0, char(10)) FROM json_each({meta}, '$[1]') AS r),
    (SELECT group_concat(l.value, char(10)) FROM json_each({meta}, '$[9][0]') AS l),
    iif(:as_id, {id}, '')))"""


def _json(text: str, otherwise: str = "[]") -> str:
    """JSON that a flipped bit may have damaged: one such row must not be an error of the whole search (hazard G6)."""
    return f"iif(json_valid({text}), {text}, '{otherwise}')"


def _asked(table: str, number: str) -> str:
    meta = _json(f"{table}.meta")
    digits = [f"substr('{ids.ALPHABET}', ({number} >> {bits} & 31) + 1, 1)" for bits in range(60, -1, -5)]
    seen = _SEEN.format(meta=meta, id=" || ".join(digits))
    return _ASKED.format(t=table, meta=meta, seen=seen)


def _past_provider(items: str) -> str:
    return f"EXISTS (SELECT 1 FROM json_each({_json(items)}) AS j WHERE j.value ->> 1 = :provider)"  # nosec B608


_DEBT = _json("o.owed", "{}")

LIVE = f"""
SELECT json_group_array(message) FROM (
    SELECT e.message, min({SHOWN}) AS shown
    FROM entry AS e LEFT JOIN message AS m ON m.id = e.message
    WHERE e.message BETWEEN :first AND :last AND {_asked("m", "e.message")}
      AND (:provider = '' OR EXISTS (
          SELECT 1 FROM entry AS o WHERE o.message = e.message AND (
              {_DEBT} ->> 'pin' = :provider
              OR EXISTS (SELECT 1 FROM json_each({_DEBT}, '$.avoid') WHERE value = :provider)
              OR EXISTS (SELECT 1 FROM json_each({_DEBT}, '$.refused') WHERE value = :provider)))
        OR {_json("m.meta")} ->> '$[11]' = :provider
        OR EXISTS (SELECT 1 FROM past AS p WHERE p.message = e.message
                   AND {_past_provider("'[' || p.what || ']'")}))
    GROUP BY e.message
    HAVING :states = '[]' OR shown IN (SELECT value FROM json_each(:states))
    ORDER BY e.message LIMIT :most)
"""  # nosec B608
ENDED = f"""
SELECT json_group_array(id) FROM (
    SELECT h.id FROM history AS h
    WHERE h.id BETWEEN :first AND :last AND {_asked("h", "h.id")}
      AND (:states = '[]' OR h.state IN (SELECT value FROM json_each(:states)))
      AND (:provider = '' OR {_json("h.meta")} ->> '$[11]' = :provider OR {_past_provider("h.past")})
    ORDER BY h.id LIMIT :most)
"""  # nosec B608
_FIRST = {
    LIVE: "SELECT min(message) FROM entry WHERE message BETWEEN ? AND ?",
    ENDED: "SELECT min(id) FROM history WHERE id BETWEEN ? AND ?",
}
_STRETCH = {
    LIVE: "SELECT message FROM entry WHERE message BETWEEN ? AND ? ORDER BY message LIMIT 1 OFFSET ?",
    ENDED: "SELECT id FROM history WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1 OFFSET ?",
}


@dataclass(frozen=True, slots=True)
class Search:
    """A filter, and the ids with leases no worker has taken, as JSON."""

    where: Filter
    ready: str

    @property
    def statements(self) -> list[str]:
        """Where what is asked for may lie: in the queue, in the history, or in both."""
        places = [(LIVE, views.looks_live(self.where)), (ENDED, views.looks_back(self.where))]
        return [statement for statement, looks in places if looks]

    def values(self, span: range, most: int) -> dict[str, Any]:
        where = self.where
        needles = views.needles(where.text)
        return {
            "first": span.start,
            "last": span.stop - 1,
            "most": most,
            "ready": self.ready,
            "older": where.older,
            "sender": _glob(where.sender),
            "recipient": _glob(where.recipient),
            "provider": where.provider,
            "states": json.dumps([RANK[state] for state in where.states]),
            "tag": where.tag,
            "texts": json.dumps(needles),
            "as_id": any(needle.isalnum() and len(needle) <= ids.LENGTH for needle in needles),
        }


def stretch(connection: apsw.Connection, statement: str, span: range, entries: int) -> range:
    """The part of the span that so many entries lie in."""
    found: list[Any] = connection.execute(_STRETCH[statement], (span.start, span.stop - 1, entries)).fetchall()
    return range(span.start, found[0][0] + 1) if found else span


def narrowed(where: Filter, span: range) -> range:
    """The span, or what a filter for one id leaves of it."""
    if not where.id:
        return span
    only = ids.find(where.id)
    return range(only, only + 1) if only is not None and only in span else range(0)


def numbers(
    connection: apsw.Connection, statement: str, search: Search, span: range, most: int, damaged: list[Exception]
) -> list[int]:
    """Ids in the span that match, in order. After a damaged page also those that nobody can tell of; see `damaged`."""
    span = narrowed(search.where, span)
    if not span:
        return []
    values = search.values(span, most)
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
    for number in reachable(connection, _FIRST[statement], values["first"], values["last"]):
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
