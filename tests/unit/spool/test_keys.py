"""Idempotency keys on disk: what they cost, that they survive whatever ends the process, and damage."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import apsw
import pytest

from relay.db import migrate
from relay.db.changes import Change, Kind, apply
from relay.db.errors import StorageFailed
from relay.model import Claim, Happening, Reply
from relay.ports import CLAIMED, Filter
from relay.spool import ids
from relay.spool.keys import _FIND, _PRUNE
from relay.store.writing import write
from tests.contract.spools import Hands
from tests.unit.db.disks import Disk

CHILD = """
import asyncio, sys
from pathlib import Path
from tests.contract.spools import Hands
from tests.unit.spool.test_keys import accept

async def send(hands, n):
    for i in range(10**6):
        if await accept(hands, f"{n}.{i}", messages=i % 3) is None:
            print(f"{n}.{i}", flush=True)

async def main():
    hands = Hands("sqlite", Path(sys.argv[1]))
    await hands.open()
    await asyncio.gather(*[send(hands, n) for n in range(8)])

asyncio.run(main())
"""


def accept(hands: Hands, key: str = "k1", *, messages: int = 1) -> Awaitable[Reply | None]:
    """So many messages with a key, whose answer says which they are, and an event of the same name."""
    batch = [hands.submission() for _ in range(messages)]
    answer = " ".join(submission.message.id for submission in batch)
    claim = Claim(owner="token 7", key=key, digest="d1", answer=answer, at=hands.now)
    id = hands.spool.new_id(hands.now)
    happening = Happening(id=id, kind="event", name=key, at=hands.now, user="crm", outcome=json.dumps(answer))
    return hands.spool.accept(batch, claim=claim, happening=happening)


def database(hands: Hands) -> Any:
    return hands.spool._books.database  # type: ignore[attr-defined]


@pytest.mark.parametrize("lines", [1, 200])
async def test_H7_after_kill_9_a_key_is_known_if_and_only_if_its_messages_are_and_what_happened(
    tmp_path: Path, lines: int
) -> None:
    child = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    )
    assert child.stdout is not None
    with child.stdout:
        acked = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        acked += [line for line in child.stdout if line.endswith("\n")]
    child.wait()
    hands = Hands("sqlite", tmp_path)
    await hands.open()
    tried = max(int(line.partition(".")[2]) for line in acked) + 50  # senders take turns: none is so far ahead
    keys = [f"{n}.{i}" for n in range(8) for i in range(tried)]
    known = dict(zip(keys, await asyncio.gather(*[hands.spool.claimed("token 7", key) for key in keys]), strict=True))
    assert all(known[line.strip()] for line in acked), "acknowledged and lost"
    there: set[str] = set()
    while leases := await hands.claim():
        there |= {lease.entry.message.id for lease in leases}
    said = {key: claim.answer for key, claim in known.items() if claim}
    assert sorted(" ".join(said.values()).split()) == sorted(there)
    assert any(len(answer) > ids.LENGTH for answer in said.values()) or lines == 1, "also several at once"
    happened, _ = await hands.spool.happenings(limit=10**6)
    assert {happening.name: json.loads(happening.outcome) for happening in happened} == said
    for key, claim in list(known.items())[:50]:
        assert await accept(hands, key) == (CLAIMED if claim else None)
    await hands.spool.close()


async def test_mail_with_keys_is_one_statement_and_so_are_all_that_are_asked_for(hands: Hands) -> None:
    seen: list[str] = []
    connections = (database(hands)._connection, database(hands).work._connection)
    for connection in connections:
        connection.set_exec_trace(lambda cursor, sql, values: seen.append(sql) or True)
    await asyncio.gather(*[accept(hands, f"k{n}") for n in range(20)])
    assert seen and all(sql.startswith("INSERT INTO change VALUES") for sql in seen)
    seen.clear()
    found = await asyncio.gather(*[hands.spool.claimed("token 7", f"k{n}") for n in range(20)])
    assert None not in found
    assert len([sql for sql in seen if "FROM json_each" in sql]) <= 2, "the first alone, the others together"


async def test_keys_are_found_by_their_index(hands: Hands) -> None:
    plan = database(hands).work._connection.execute(f"EXPLAIN QUERY PLAN {_FIND}", ("[]", 0.0)).fetchall()
    assert any("SEARCH c USING PRIMARY KEY (owner=? AND key=?)" in row[3] for row in plan)
    plan = database(hands)._connection.execute(f"EXPLAIN QUERY PLAN {_PRUNE}", (0.0, 1)).fetchall()
    assert any("claim_at (at<?)" in row[3] for row in plan)
    assert not any(row[3].startswith("SCAN claim") for row in plan)


async def test_G6_a_damaged_answer_is_no_free_key(hands: Hands) -> None:
    await asyncio.gather(*[accept(hands, key) for key in ("k1", "k2", "k3")])

    def damage(connection: apsw.Connection) -> None:
        connection.execute("UPDATE claim SET what = '[\"d1\",' WHERE key = 'k1'")
        connection.execute("UPDATE claim SET what = CAST(what AS BLOB) WHERE key = 'k2'")

    await write(database(hands), damage)  # by its own thread, which is not done with the commit when it has answered
    found = [await hands.spool.claimed("token 7", f"k{n}") for n in (1, 2, 3)]
    assert all(claim is not None for claim in found)
    assert [claim.digest for claim in found if claim] == ["", "d1", "d1"]
    assert await accept(hands, "k1") == CLAIMED


async def test_G6_a_key_that_cannot_be_read_is_not_taken_for_a_new_one(disk: Disk, hands: Hands) -> None:
    await accept(hands)
    await hands.reopen()
    disk.unreadable = True
    try:
        with pytest.raises(StorageFailed, match="check the disk"):
            await asyncio.gather(*[hands.spool.claimed("token 7", f"k{n}") for n in range(3)])
    finally:
        disk.unreadable = False


def test_the_spool_of_the_version_before_is_taken_over(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "a.db"))
    first, *others = migrate.steps()
    migrate.upgrade(connection, [first])
    old = Change(Kind.ARRIVE, 7, 0, "a:1", 0, 1, 1.0, 2.0, "{}", '["a",[["b"]],0,"","","smtp","","",""]', 1, 1.0, 2.0)
    apply(connection, [old._replace(prefix=b"", crc=0, body=b"")])
    assert (first[0], [number for number, _ in others][-1]) == (1, migrate.newest())
    migrate.upgrade(connection)
    apply(connection, [Change(Kind.CLAIM, lane="o", due_at=1.0, owed="k", meta="[]")])
    found = connection.execute("SELECT (SELECT count(*) FROM message), (SELECT count(*) FROM claim)").fetchall()
    assert found == [(1, 1)]
    connection.close()


async def test_many_that_are_a_day_old_go_in_steps(hands: Hands) -> None:
    for start in range(0, 5000, 500):
        used = [accept(hands, f"k{n}") for n in range(start, start + 500)]
        assert await asyncio.gather(*used) == [None] * 500
    hands.now += 86400
    await hands.spool.maintain(hands.now)
    left = await database(hands).desk.ask(lambda c: c.execute("SELECT count(*) FROM claim").fetchall())
    assert left == [(0,)]
    assert len((await hands.spool.find(Filter(), limit=1)).data) == 1, "the mail itself waits on"
