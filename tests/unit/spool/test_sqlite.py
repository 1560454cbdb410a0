"""What only the spool on disk does: it outlives the process, groups commits, and asks nothing in steady state."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from relay.db.errors import SpoolError, SpoolInUse
from relay.events import Committed
from relay.model import Appetite, Owed, Reservation, State
from relay.ports import Filter
from relay.spool.bodies import INLINE
from relay.spool.limits import SpoolLimits
from relay.spool.sqlite import SqliteSpool, free_bytes
from tests.contract.spools import Hands, delivered, each_to_its_own, owes, to_lane


def database(hands: Hands) -> Any:
    return hands.spool._books.database  # type: ignore[attr-defined]


def statements(hands: Hands) -> list[str]:
    """What every connection is asked from now on."""
    seen: list[str] = []
    connections = (database(hands)._connection, database(hands).desk._connection, database(hands).work._connection)
    for connection in connections:
        connection.set_exec_trace(lambda cursor, sql, values: seen.append(sql) or True)
    return seen


# The hot path


async def test_in_steady_state_the_database_is_asked_nothing(hands: Hands) -> None:
    seen = statements(hands)
    for _ in range(3):
        await asyncio.gather(*[hands.accept() for _ in range(20)])
        leases = await hands.claim()
        for lease in leases:
            assert await hands.spool.body(lease.entry.message.id) is not None
        await asyncio.gather(*[hands.settle(delivered(lease)) for lease in leases])
    assert seen and all(sql.startswith("INSERT INTO change VALUES") for sql in seen)


async def test_concurrent_mail_shares_commits(hands: Hands) -> None:
    await asyncio.gather(*[hands.accept() for _ in range(100)])
    commits = [event.operations for event in hands.events if isinstance(event, Committed)]
    assert sum(commits) == 100
    assert len(commits) <= 20


async def test_a_caller_that_gave_up_does_not_undo_the_commit(hands: Hands) -> None:
    accepting = asyncio.ensure_future(hands.spool.accept([hands.submission()]))
    await asyncio.sleep(0)
    accepting.cancel()
    await asyncio.gather(accepting, return_exceptions=True)
    await hands.accept()
    assert len(await hands.claim()) == 2


async def test_L3_a_claimer_that_gave_up_loses_no_lease(hands: Hands) -> None:
    await hands.accept()
    lease = await hands.one()
    await hands.settle(owes(lease, lease.entry.owed))
    claiming = asyncio.ensure_future(hands.claim())
    await asyncio.sleep(0)
    claiming.cancel()
    await asyncio.gather(claiming, return_exceptions=True)
    await hands.accept()
    assert len(await hands.claim()) == 2


async def test_new_mail_held_ready_is_bounded(hands: Hands) -> None:
    await hands.reopen(SpoolLimits(unclaimed=10))
    for _ in range(30):
        await hands.accept()
    assert len(hands.spool._books.ready) <= 10  # type: ignore[attr-defined]
    claimed = [lease for _ in range(8) for lease in await hands.claim(Appetite(total=8))]
    assert [lease.entry.message.id for lease in claimed] == sorted(lease.entry.message.id for lease in claimed)
    assert len(claimed) == 30


async def test_new_mail_that_nobody_takes_lies_down(hands: Hands) -> None:
    hands.lane = to_lane("dead:1")
    message = await hands.accept()
    hands.now += 6
    await hands.spool.maintain(hands.now)
    assert len(hands.spool._books.ready) == 0  # type: ignore[attr-defined]
    assert await hands.state(message) is State.QUEUED
    hands.now = message.expires_at
    (lease,) = await hands.claim(Appetite(total=0, room={"dead": 0}))
    assert lease.entry.message.id == message.id, "its deadline is seen"


async def test_bodies_beyond_the_cache_are_read(hands: Hands) -> None:
    await hands.reopen(SpoolLimits(cache=0))
    messages = [await hands.accept(data=b"%d\r\n" % n) for n in range(20)]
    bodies = await asyncio.gather(*[hands.spool.body(message.id) for message in messages])
    assert [body.data for body in bodies if body] == [b"%d\r\n" % n for n in range(20)]


# Restarts


async def test_everything_outlives_the_process(hands: Hands) -> None:
    hands.lane = to_lane("a:1")
    waiting = await hands.accept("b@x", data=b"waits\r\n")
    lease = await hands.one()
    await hands.settle(owes(lease, replace(lease.entry.owed, tries=2, state=State.DEFERRED, due_at=hands.now + 60)))
    hands.lane = to_lane("a:1", state=State.CAPTURED)
    captured = await hands.accept()
    hands.lane = to_lane("a:1")
    ended = await hands.accept()
    await hands.settle(delivered(await hands.one()))
    await hands.reopen()
    states = [await hands.state(message) for message in (waiting, captured, ended)]
    assert states == [State.DEFERRED, State.CAPTURED, State.ACCEPTED]
    assert (await hands.spool.stats()).live_bytes == waiting.size + captured.size
    assert await hands.claim() == []
    hands.now += 60
    assert (await hands.one()).entry.owed.tries == 2
    body = await hands.spool.body(waiting.id)
    assert body is not None and body.data == b"waits\r\n"


async def test_at_start_every_lease_is_void_and_oldest_first(hands: Hands) -> None:
    messages = []
    for _ in range(5):
        messages.append(await hands.accept())
        hands.now += 1
    tokens = {lease.token for lease in await hands.claim()}
    await hands.reopen()
    leases = await hands.claim()
    assert [lease.entry.message.id for lease in leases] == [message.id for message in messages]
    assert len(tokens) == 5


async def test_ids_go_on_growing_after_a_restart(hands: Hands) -> None:
    last = (await hands.accept()).id
    hands.now -= 86400
    await hands.reopen()
    assert hands.spool.new_id(hands.now) > last


@pytest.mark.parametrize(("action", "after"), [("hold", State.HELD), ("cancel", State.CANCELLED)])
async def test_a_wish_outlives_the_process(hands: Hands, action: str, after: State) -> None:
    message = await hands.accept()
    await hands.one()
    await hands.spool.act(action, Filter(), hands.now)
    await hands.reopen()
    assert await hands.state(message) is after
    assert await hands.claim() == []


async def test_what_was_reserved_when_a_process_died_counts_as_spent(hands: Hands) -> None:
    await hands.spool.reserve([Reservation(id=1, provider="p", amount=3, at=hands.now - 500, periods=("day:x",))])
    await hands.reopen()
    (usage,) = await hands.spool.usage(hands.now)
    assert (usage.minute, usage.periods) == (((hands.now, 3),), {"day:x": 3})
    assert await hands.spool.reserve([Reservation(id=1, provider="p", amount=1, at=hands.now)]), "ids start over"


async def test_G7_a_time_made_by_a_wrong_clock_is_not_waited_for(hands: Hands) -> None:
    hands.now += 365 * 86400
    await hands.accept()
    lease = await hands.one()
    await hands.settle(owes(lease, replace(lease.entry.owed, tries=1, state=State.DEFERRED, due_at=hands.now + 60)))
    hands.now -= 365 * 86400
    await hands.reopen()
    assert (await hands.one()).entry.owed.due_at == hands.now


async def test_G7_a_step_back_of_the_clock_delays_nothing(hands: Hands) -> None:
    await hands.accept()
    lease = await hands.one()
    await hands.settle(owes(lease, replace(lease.entry.owed, tries=1, state=State.DEFERRED, due_at=hands.now + 60)))
    hands.now -= 3600
    await hands.spool.maintain(hands.now)
    hands.now += 61
    assert (await hands.one()).entry.owed.tries == 1


# Large bodies


async def large(hands: Hands, size: int = INLINE + 1) -> Any:
    message = hands.spool.new_id(hands.now)
    writer = hands.spool.writer(message)
    writer.feed(b"x" * size)
    submission = hands.submission(body=await writer.finish())
    submission = replace(submission, message=replace(submission.message, id=message))
    return writer, submission


async def test_a_large_body_is_a_file_until_the_message_ends(hands: Hands) -> None:
    writer, submission = await large(hands)
    assert await hands.spool.accept([submission]) is None
    await writer.discard()
    await hands.reopen()
    lease = await hands.one()
    body = await hands.spool.body(lease.entry.message.id)
    assert body is not None and body.path is not None
    assert (body.path.parent, body.size) == (hands.path.parent / "spool.db.bodies", INLINE + 1)
    await hands.settle(delivered(lease))
    async with asyncio.timeout(5):
        while body.path.exists():  # noqa: ASYNC110 (a file has no event)
            await asyncio.sleep(0.005)


async def test_a_refused_large_body_leaves_no_file(hands: Hands) -> None:
    writer, submission = await large(hands)
    hands.free = 0
    await hands.spool.maintain(hands.now)
    assert await hands.spool.accept([submission]) is not None
    await writer.discard()
    assert list((hands.path.parent / "spool.db.bodies").iterdir()) == []


async def test_bodies_that_a_crash_left_are_removed_at_start(hands: Hands) -> None:
    _, kept = await large(hands)
    await hands.spool.accept([kept])
    _, orphan = await large(hands)
    assert orphan.body.path.exists()
    await hands.reopen()
    assert not orphan.body.path.exists()
    assert kept.body.path.exists()


@pytest.mark.parametrize("gone", ["missing", "empty"])
async def test_G6_bodies_outlive_a_lost_database(hands: Hands, gone: str) -> None:
    _, kept = await large(hands)
    await hands.spool.accept([kept])
    await hands.spool.close()
    backup = hands.path.rename(hands.path.with_name("away"))
    if gone == "empty":
        hands.path.touch()
    for _ in range(2):
        with pytest.raises(SpoolError, match=r"holds bodies of mail, but .* restore it or move both away"):
            await hands.open()
    assert kept.body.path.exists()
    backup.rename(hands.path)
    await hands.open()
    body = await hands.spool.body(kept.message.id)
    assert body is not None and body.path == kept.body.path


@pytest.mark.parametrize("damage", ["missing", "short", "flipped"])
async def test_G6_a_damaged_body_file_is_none(hands: Hands, damage: str) -> None:
    _, submission = await large(hands)
    await hands.spool.accept([submission])
    path: Path = submission.body.path
    if damage == "missing":
        path.unlink()
    elif damage == "flipped":
        path.write_bytes(b"x" * INLINE + b"X")
    else:
        os.truncate(path, 100)
    await hands.reopen()
    assert await hands.spool.body((await hands.one()).entry.message.id) is None


# Damage


async def test_G6_a_flipped_bit_in_a_body_is_noticed(hands: Hands) -> None:
    message = await hands.accept(data=b"precious\r\n")
    await hands.spool.close()
    content = hands.path.read_bytes()
    hands.path.write_bytes(content.replace(b"precious", b"preciovs"))
    await hands.open()
    lease = await hands.one()
    assert lease.entry.message.id == message.id
    assert await hands.spool.body(message.id) is None


async def test_G6_a_damaged_row_is_held_and_the_rest_is_delivered(hands: Hands) -> None:
    hands.lane = to_lane("a:1", ready=False)
    broken = await hands.accept(sender="broken@example.com")
    sound = await hands.accept()
    await hands.spool.close()
    content = hands.path.read_bytes()
    hands.path.write_bytes(content.replace(b'["broken@example', b'{"broken@example'))
    await hands.open()
    (lease,) = await hands.claim()
    assert lease.entry.message.id == sound.id
    assert await hands.claim() == []
    page = await hands.spool.find(Filter(), limit=5)
    assert {shown.id: shown.state for shown in page.data} == {broken.id: State.HELD, sound.id: State.SENDING}
    acted = await hands.spool.act("retry", Filter(), hands.now)
    assert acted.skipped[broken.id] == "is damaged"


# Opening


async def test_G8_a_second_owner_is_refused(hands: Hands) -> None:
    with pytest.raises(SpoolInUse, match=f"in use by process {os.getpid()}"):
        await SqliteSpool.open(hands.path, hands.lane)


async def test_a_failed_start_lets_go_of_the_lock(hands: Hands) -> None:
    await hands.spool.close()
    bodies = hands.path.with_name("spool.db.bodies")
    bodies.rmdir()
    bodies.write_text("in the way")
    with pytest.raises(SpoolError, match="not a folder"):
        await hands.open()
    bodies.unlink()
    await hands.open()


async def test_free_bytes_are_measured(hands: Hands) -> None:
    assert 0 < free_bytes(hands.path.parent) < 1 << 60


async def test_limits_and_placement_may_be_replaced(hands: Hands) -> None:
    spool: Any = hands.spool
    spool.limits = SpoolLimits(max_size=10)
    assert spool.admits(100) is not None
    spool.limits = SpoolLimits()
    spool.place = each_to_its_own
    await hands.accept("b@x", "c@x")
    assert len(await hands.claim()) == 2


# Fairness


async def test_a_dead_lane_costs_a_living_one_nothing(hands: Hands) -> None:
    """100,000 waiting entries of a dead provider, spread over lanes; one for a living one."""
    await hands.accept()
    lease = await hands.one()
    await hands.settle(owes(lease, replace(lease.entry.owed, lane="live:1", due_at=hands.now + 10)))
    await hands.spool.close()
    connection = _raw(hands.path)
    with connection:
        connection.execute(
            """
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
            INSERT INTO entry (message, part, lane, state, waiting, due_at, deadline, owed)
            SELECT i, 0, 'dead:' || (i % 1024), 2, 1, 1.0, 9e9, '{}' FROM n
            """
        )
    connection.close()
    hands.now += 10
    await hands.open()
    steps = _vm_steps(database(hands)._connection)
    (lease,) = await hands.claim(Appetite(total=100, room={"dead": 0}))
    assert lease.entry.owed.lane == "live:1"
    assert 0 < sum(steps) < 2000


@pytest.mark.parametrize("statement", ["OF_LANE", "PAST_DEADLINE"])
async def test_claims_walk_an_index(hands: Hands, statement: str) -> None:
    from relay.spool import claims

    index = {"OF_LANE": "entry_due (lane=?)", "PAST_DEADLINE": "entry_deadline"}[statement]
    await hands.spool.close()
    connection = _raw(hands.path)
    values = {"lane": "a:1", "most": 5}
    plan = connection.execute("EXPLAIN QUERY PLAN " + getattr(claims, statement), values).fetchall()
    details = " | ".join(str(row[3]) for row in plan)
    assert index in details
    assert "SEARCH m USING INTEGER PRIMARY KEY" in details
    assert "TEMP B-TREE" not in details
    connection.close()
    await hands.open()


async def test_an_empty_remainder_list_of_lanes_is_learned_at_start(hands: Hands) -> None:
    hands.lane = to_lane("a:1")
    await hands.accept()
    lease = await hands.one()
    later: Owed = replace(lease.entry.owed, state=State.DEFERRED, due_at=hands.now + 30)
    await hands.settle(owes(lease, later))
    await hands.reopen()
    assert hands.spool._books.lanes.next_due(hands.now) == hands.now + 30  # type: ignore[attr-defined]


def _raw(path: Path) -> Any:
    import apsw

    return apsw.Connection(str(path))


def _vm_steps(connection: Any) -> list[int]:
    """Steps of the virtual machine of every statement from now on."""
    import apsw

    steps: list[int] = []

    def add(event: Any) -> None:
        steps.append(event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"])

    connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, add)
    return steps
