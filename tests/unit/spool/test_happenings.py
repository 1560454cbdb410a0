"""What happened, on disk: by which index it is found, what it costs, and damage."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from relay.db.errors import StorageFailed
from relay.model import MessageId
from relay.spool import happenings, ids
from relay.spool.limits import SpoolLimits
from tests.contract.spools import Hands
from tests.contract.test_spool_happenings import happened, happening, seen
from tests.contract.test_spool_keys import claim
from tests.unit.db.disks import Disk
from tests.unit.spool.test_damage import damage


def database(hands: Hands) -> Any:
    return hands.spool._books.database  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("statement", "values", "index"),
    [
        (happenings.NEWEST, (5, 1), "SEARCH event USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (happenings.NAMED, ("n", 5, 1), "SEARCH event USING COVERING INDEX event_name (name=? AND id>? AND id<?)"),
        (happenings.PRUNE_OLD, (5.0, 1), "SEARCH event USING COVERING INDEX event_at (at<?)"),
    ],
)
async def test_nothing_looks_through_all_of_it(hands: Hands, statement: str, values: Any, index: str) -> None:
    plan = [row[3] for row in database(hands)._connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()]
    assert index in plan
    assert not any("TEMP B-TREE" in step or step.startswith("SCAN") for step in plan)


async def test_it_is_one_statement_with_its_messages_and_plain_mail_is_what_it_was(hands: Hands) -> None:
    seen: list[tuple[str, int]] = []

    def trace(cursor: Any, sql: str, values: Any) -> bool:
        seen.append((sql[:25], sql.count("(")))
        return True

    database(hands)._connection.set_exec_trace(trace)
    await hands.spool.accept([hands.submission()])
    await hands.spool.accept([hands.submission(), hands.submission()], claim=claim(hands), happening=happening(hands))
    assert seen == [("INSERT INTO change VALUES", 1), ("INSERT INTO change VALUES", 4)]


DAMAGE = {
    "no UTF-8 in the name": "name = CAST(x'6eff' AS TEXT)",
    "no UTF-8 in the outcome": "outcome = CAST(x'22ff22' AS TEXT)",
    "an outcome that is none": "outcome = '{'",
    "bytes where text was": "user = x'0c0000'",
    "what SQLite takes for JSONB": "kind = x'00'",
    "a time that is none": "at = 'soon'",
    "a time that no calendar has": "at = 1e300",
}


@pytest.mark.parametrize("what", DAMAGE)
async def test_G6_a_damaged_row_hides_no_other(hands: Hands, what: str) -> None:
    one, broken, other = [await happened(hands, f"n{n}") for n in range(3)]
    await damage(hands, f"UPDATE event SET {DAMAGE[what]} WHERE id = ?", ids.decode(MessageId(broken.id)))
    found = await seen(hands)
    assert (found[0], found[2]) == (other, one)
    assert (found[1].id, found[1].kind, found[1].outcome) == (broken.id, "damaged", "{}")
    assert await hands.spool.happening(broken.id) == found[1]
    assert await seen(hands, after=found[1].id) == [one]
    await happened(hands)


async def test_G6_a_number_that_a_flipped_bit_made_no_id_keeps_nobody_from_turning_pages(hands: Hands) -> None:
    one, broken = [await happened(hands) for _ in range(2)]
    moved = "UPDATE event SET id = id - 9223372036854775807 - 1 WHERE id = ?"
    await damage(hands, moved, ids.decode(MessageId(broken.id)))
    assert await seen(hands) == [one]
    assert await seen(hands, after=one.id) == []


async def test_G6_what_cannot_be_read_of_the_disk_is_told(disk: Disk, hands: Hands) -> None:
    what = await happened(hands)
    await hands.reopen()
    disk.unreadable = True
    try:
        for question in (seen(hands), hands.spool.happening(what.id)):
            with pytest.raises(StorageFailed, match="check the disk"):
                await question
    finally:
        disk.unreadable = False


async def test_a_lone_surrogate_is_refused_and_spoils_nothing(hands: Hands) -> None:
    for bad in (happening(hands, "\ud800"), happening(hands, user="\ud800")):
        assert await hands.spool.accept([hands.submission()], happening=bad) is not None
    with pytest.raises(UnicodeEncodeError):
        hands.spool.accept([hands.submission()], happening=happening(hands, outcome='"\ud800"'))
    stats = await hands.spool.stats()
    assert (stats.live_bytes, await hands.claim()) == (0, [])
    await happened(hands)


async def test_many_go_in_steps(hands: Hands) -> None:
    await hands.reopen(SpoolLimits(max_messages=10))
    for _ in range(5):
        await asyncio.gather(*[hands.spool.accept((), happening=happening(hands)) for _ in range(900)])
    await hands.spool.maintain(hands.now)
    assert len(await seen(hands)) == 10
