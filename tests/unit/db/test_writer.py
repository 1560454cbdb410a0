"""Group commit: what waits is one transaction, one operation spoils only itself, a broken disk is not trusted again."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest
import pytest_asyncio

from relay.db.changes import LARGEST, Change, Kind, apply
from relay.db.connection import open_writer
from relay.db.database import Database
from relay.db.errors import StorageFailed, StorageFull
from relay.db.writer import IDLE_TURN, Operation, Task
from relay.events import Committed, Event, SpoolFailed
from tests.unit.db.disks import Disk


class Told(Operation):
    """An operation whose outcome can be waited for."""

    def __init__(self, changes: Sequence[Change] = (), task: Task | None = None) -> None:
        super().__init__(changes, task)
        self.outcome: asyncio.Future[tuple[Any, Exception | None]] = asyncio.get_running_loop().create_future()

    def finished(self, result: Any, error: Exception | None) -> None:
        self.outcome.set_result((result, error))


def message(number: int, lane: str = "a:1") -> Change:
    return Change(Kind.ARRIVE, number, 0, lane, 0, 1, 1.0, 2.0, "{}", "[]", 10, 1.0, 2.0, b"", 0, b"x")


def count(connection: apsw.Connection) -> Any:
    return connection.execute("SELECT count(*) FROM message").fetchall()[0][0]


class Rig:
    def __init__(self, path: Path) -> None:
        self.events: list[Event] = []
        self.database = Database(path)
        self.database.start(self.events.append)

    def put(self, *changes: Change, task: Task | None = None) -> Told:
        told = Told(changes, task)
        self.database.write(told)
        return told

    async def do(self, *changes: Change, task: Task | None = None) -> tuple[Any, Exception | None]:
        return await self.put(*changes, task=task).outcome

    def commits(self) -> list[int]:
        return [event.operations for event in self.events if isinstance(event, Committed)]


@pytest_asyncio.fixture
async def rig(disk: Disk, tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path / "spool" / "spool.db")
    yield rig
    await rig.database.close()


async def while_busy(rig: Rig) -> threading.Event:
    """Keep the writer in a transaction until the event is set."""
    entered, leave = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def occupy(connection: apsw.Connection) -> None:
        loop.call_soon_threadsafe(entered.set)
        leave.wait(10)

    rig.put(task=occupy)
    await entered.wait()
    return leave


@pytest.mark.parametrize("many", [1, 2, 3, 5, 31, 200, LARGEST + 3])
def test_changes_are_made_whatever_their_number(tmp_path: Path, many: int) -> None:
    connection = open_writer(tmp_path / "spool.db")
    with connection:
        apply(connection, [message(number) for number in range(1, many + 1)])
        apply(connection, [])
    assert count(connection) == many
    connection.close()


async def test_what_waits_is_one_transaction_and_one_fsync(rig: Rig, disk: Disk) -> None:
    leave = await while_busy(rig)
    waiting = [rig.put(message(number)) for number in range(1, 51)]
    before = disk.syncs
    leave.set()
    await asyncio.gather(*[told.outcome for told in waiting])
    assert rig.commits() == [1, 50]
    assert disk.syncs - before <= 2, "one for the operation that kept it busy, one for all fifty"


async def busy_turn() -> None:
    """The loop has something to do in this turn, and the writer's thread may run."""
    time.sleep(5 * IDLE_TURN)  # noqa: ASYNC251 - what a handler at work looks like
    await asyncio.sleep(0)


async def shared(rig: Rig, first: int) -> bool:
    """One operation a turn, four in all: whether the first commit had more than one of them."""
    before, told = len(rig.commits()), []
    for number in range(first, first + 4):
        told.append(rig.put(message(number)))
        await busy_turn()
    await asyncio.gather(*[one.outcome for one in told])
    return rig.commits()[before] > 1


async def test_a_busy_loop_shares_commits(rig: Rig) -> None:
    """On a machine where a turn is held up for longer than a commit may wait, one of many tries does."""
    tries = [await shared(rig, 4 * number) for number in range(20)]

    assert any(tries)


async def test_a_loop_that_is_never_idle_does_not_hold_a_commit_up(rig: Rig) -> None:
    told = rig.put(message(1))
    turns = 0
    while not told.outcome.done() and turns < 1000:
        await busy_turn()
        turns += 1

    assert told.outcome.done()


async def test_results_come_back_in_order(rig: Rig) -> None:
    leave = await while_busy(rig)
    told = []
    for number in range(1, 6):
        told += [rig.put(message(number)), rig.put(task=count)]
    leave.set()
    assert [await each.outcome for each in told[1::2]] == [(number, None) for number in range(1, 6)]


async def test_one_operation_spoils_only_itself(rig: Rig) -> None:
    await rig.do(message(3))
    leave = await while_busy(rig)
    waiting = [rig.put(message(number), message(number + 100)) for number in range(1, 6)]
    leave.set()
    errors = [(await told.outcome)[1] for told in waiting]
    assert [type(error) for error in errors] == [type(None)] * 2 + [apsw.ConstraintError] + [type(None)] * 2
    assert await rig.do(task=count) == (1 + 2 * 4, None), "nothing of the one that failed is there"


async def test_an_exception_in_a_task_is_its_own(rig: Rig) -> None:
    leave = await while_busy(rig)
    bad = rig.put(message(1), task=lambda connection: {}["missing"])
    good = rig.put(message(2))
    leave.set()
    assert isinstance((await bad.outcome)[1], KeyError)
    assert (await good.outcome)[1] is None
    assert await rig.do(task=count) == (1, None)


async def test_G4_a_full_disk_recovers_alone(rig: Rig, disk: Disk) -> None:
    disk.full = True
    assert isinstance((await rig.do(message(1)))[1], StorageFull)
    assert rig.database.failure == ""
    disk.full = False
    assert (await rig.do(message(1)))[1] is None
    assert await rig.do(task=count) == (1, None)


async def test_G5_after_a_failed_fsync_nothing_is_written_any_more(rig: Rig, disk: Disk) -> None:
    await rig.do(message(1))
    disk.broken = True
    assert isinstance((await rig.do(message(2)))[1], StorageFailed)
    disk.broken = False
    syncs = disk.syncs
    assert isinstance((await rig.do(message(3)))[1], StorageFailed)
    assert disk.syncs == syncs, "a second fsync would say all is well when it is not"
    assert "repair the disk" in rig.database.failure
    assert [event for event in rig.events if isinstance(event, SpoolFailed)] == [
        SpoolFailed(error=rig.database.failure)
    ]


async def test_G5_what_was_refused_is_not_there_after_a_restart(disk: Disk, tmp_path: Path) -> None:
    rig = Rig(tmp_path / "spool" / "spool.db")
    await rig.do(message(1))
    disk.broken = True
    assert isinstance((await rig.do(message(2)))[1], StorageFailed)
    left = tmp_path / "after"
    left.mkdir()
    for name in ("spool.db", "spool.db-wal"):  # what a kill would leave behind
        (left / name).write_bytes((tmp_path / "spool" / name).read_bytes())
    disk.broken = False
    await rig.database.close()
    connection = open_writer(left / "spool.db")
    assert connection.execute("SELECT id FROM message").fetchall() == [(1,)]
    connection.close()


async def test_G5_a_failed_checkpoint_latches_too(rig: Rig, disk: Disk) -> None:
    failed = asyncio.Event()
    body = b"x" * 200_000
    while not failed.is_set():
        number = len(rig.commits()) + 1
        disk.broken = number > 60
        _, error = await rig.do(message(number)._replace(body=body))
        if error:
            failed.set()
    assert isinstance(error, StorageFailed)


async def test_the_log_does_not_grow_without_end(rig: Rig, tmp_path: Path) -> None:
    body = b"x" * 250_000
    for number in range(1, 121):
        await rig.do(message(number)._replace(body=body))
    assert (tmp_path / "spool" / "spool.db-wal").stat().st_size < 24 << 20, "30 MB went through it"


async def test_a_reader_sees_what_is_committed_while_the_writer_works(rig: Rig) -> None:
    await rig.do(message(1))
    leave = await while_busy(rig)
    rig.put(message(2))
    assert await rig.database.desk.ask(count) == 1
    leave.set()
    await rig.do()
    assert await rig.database.desk.ask(count) == 2


async def test_closing_writes_what_waits(disk: Disk, tmp_path: Path) -> None:
    rig = Rig(tmp_path / "spool" / "spool.db")
    waiting = [rig.put(message(number)) for number in range(1, 20)]
    await rig.database.close()
    assert [await told.outcome for told in waiting] == [(None, None)] * 19
    connection = open_writer(tmp_path / "spool" / "spool.db")
    assert count(connection) == 19
    connection.close()
