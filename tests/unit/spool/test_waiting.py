"""The wait of a worker that can have nothing: a disk that failed or is full must not make it ask without a pause."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from relay.model import Reply, State
from tests.contract.spools import Hands, owes
from tests.unit.db.disks import Disk


async def expires_soon(hands: Hands) -> None:
    """Mail whose time is over 10 seconds from now, due long after."""
    await hands.accept()
    owed = (lease := await hands.one()).entry.owed
    owed = replace(owed, state=State.DEFERRED, tries=1, due_at=hands.now + 1000, deadline=hands.now + 10)
    await hands.settle(owes(lease, owed))


async def claimed_in_vain(hands: Hands) -> None:
    """The deadline is over, nothing is claimed, and the wait that follows is one."""
    hands.now += 11
    assert await hands.claim() == []
    waiting = asyncio.ensure_future(hands.spool.wait(30))
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    hands.spool.wake()
    await asyncio.wait_for(waiting, 5)


async def test_G5_after_the_disk_failed_a_deadline_is_not_asked_for_all_the_time(disk: Disk, hands: Hands) -> None:
    await expires_soon(hands)
    disk.broken = True
    assert isinstance(await hands.spool.accept([hands.submission()]), Reply)

    await claimed_in_vain(hands)


async def test_G4_on_a_full_disk_a_deadline_is_not_asked_for_all_the_time(disk: Disk, hands: Hands) -> None:
    await expires_soon(hands)
    hands.spool._books.reserve.give_up()  # type: ignore[attr-defined]
    disk.full = True
    await claimed_in_vain(hands)

    disk.full = False
    assert len(await hands.claim()) == 1, "and there is room again"


@pytest.fixture
def hands(disk: Disk, hands: Hands) -> Hands:
    """Opened on the disk that fails."""
    return hands
