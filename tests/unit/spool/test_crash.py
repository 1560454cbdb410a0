"""Disks and processes that end at the wrong moment: what was acknowledged is there, what was refused is not."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from relay.db.errors import StorageFull
from relay.events import SpoolFailed
from relay.model import Reservation, State
from relay.ports import Filter
from relay.spool.bodies import INLINE
from relay.spool.limits import SpoolLimits
from relay.spool.sqlite import free_bytes
from tests.contract.spools import Hands, delivered, finished, owes, to_lane
from tests.support import lack, need
from tests.unit.db.disks import Disk

CHILD = """
import asyncio, random, sys, zlib
from msgspec.structs import replace
from pathlib import Path
from tests.contract.spools import Hands, delivered

async def send(hands, dice):
    while True:
        message = hands.spool.new_id(hands.now)
        writer = hands.spool.writer(message)
        data = dice.randbytes(300_000 if dice.random() < 0.05 else dice.randrange(5000))
        if writer.feed(data):
            await writer.drain()
        made = hands.submission(body=await writer.finish())
        made = replace(made, message=replace(made.message, id=message))
        if await hands.spool.accept([made]) is None:
            print(message, zlib.crc32(data), flush=True)

async def deliver(hands):
    while True:
        for lease in (await hands.claim())[::3]:
            await hands.settle(delivered(lease))
        await hands.spool.wait(0.01)

async def main():
    hands = Hands("sqlite", Path(sys.argv[1]))
    await hands.open()
    await asyncio.gather(deliver(hands), *[send(hands, random.Random(n)) for n in range(8)])

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 20, 300])
async def test_G1_acknowledged_mail_survives_kill_9(tmp_path: Path, lines: int) -> None:
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
    for line in acked:
        message, crc = line.split()
        shown = await hands.spool.show(message)
        assert shown is not None, "acknowledged and lost"
        if shown.state is not State.ACCEPTED:
            body = await hands.spool.body(shown.id)
            assert body is not None
            assert zlib.crc32(body.data if body.data is not None else body.path.read_bytes()) == int(crc)  # type: ignore[union-attr]
    assert await hands.claim() != [] or lines == 1
    await hands.spool.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 128 MiB."""
    if os.geteuid() != 0:
        lack("mounting a small disk needs root")
    need("mount", "mount")
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "none", str(folder)], capture_output=True)
    if made.returncode:
        lack(f"no tmpfs can be mounted here: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    with path.open("wb") as ballast:
        while (left := free_bytes(path.parent)) > 0:
            os.posix_fallocate(ballast.fileno(), ballast.seek(0, os.SEEK_END), left)


async def test_G4_a_full_disk_is_452_and_recovers_alone(small_disk: Path) -> None:
    hands = Hands("sqlite", small_disk)
    hands.free = free_bytes(small_disk)
    await hands.open(SpoolLimits(low_disk=0))
    hands.free = 1 << 40  # so that it is the disk itself that says no
    refused, accepted = None, 0
    while refused is None:
        refused = await hands.spool.accept([hands.submission(data=b"x" * 20_000)])
        accepted += refused is None
        if accepted == 300:
            fill(small_disk / "ballast")
    assert (refused.code, refused.enhanced) == (452, "4.3.1") and accepted >= 300
    assert not any(isinstance(event, SpoolFailed) for event in hands.events)
    leases = await hands.claim()
    assert len(leases) == accepted, "nothing partial"
    for lease in leases:
        assert await hands.settle(delivered(lease)) == {lease.token}, "delivery goes on"
    await hands.spool.maintain(hands.now)
    assert await hands.spool.accept([hands.submission(data=b"x" * 20_000)]) is None
    await hands.spool.close()


async def test_G4_a_full_disk_lets_out_what_waits(small_disk: Path) -> None:
    hands = Hands("sqlite", small_disk)
    hands.free = free_bytes(small_disk)
    hands.lane = to_lane("a:1", ready=False)
    await hands.open(SpoolLimits(low_disk=0))
    hands.free = 1 << 40
    assert await hands.spool.accept([hands.submission(data=b"x" * 20_000) for _ in range(100)]) is None
    fill(small_disk / "ballast")
    leases = await hands.claim()
    assert len(leases) == 100, "leasing gets what was set aside"
    assert await hands.spool.reserve([Reservation(id=1, provider="p", amount=1, at=hands.now, periods=())])
    assert await hands.settle(*[delivered(lease) for lease in leases]) == {lease.token for lease in leases}
    await hands.spool.close()


@pytest.mark.parametrize("what", ["reserve", "cancel"])
async def test_G4_limits_and_operators_get_what_was_set_aside(disk: Disk, hands: Hands, what: str) -> None:
    hands.lane = to_lane("a:1", ready=False)
    message = await hands.accept()
    disk.full = True
    aside = hands.path.with_name("spool.db.reserve")
    assert aside.exists()
    if what == "cancel":
        with pytest.raises(StorageFull):
            await hands.spool.act("cancel", Filter(id=message.id), hands.now)
    else:
        assert not await hands.spool.reserve([Reservation(id=1, provider="p", amount=1, at=hands.now, periods=())])
    assert not aside.exists(), "it was tried again in what was set aside"
    disk.full = False


async def test_G4_a_large_body_on_a_full_disk_is_an_error_of_its_own(small_disk: Path) -> None:
    hands = Hands("sqlite", small_disk)
    await hands.open()
    writer = hands.spool.writer(hands.spool.new_id(hands.now))
    with pytest.raises(OSError, match="No space left"):
        fill(small_disk / "ballast")
        for _ in range(9):
            if writer.feed(bytes(INLINE)):
                await writer.drain()
    await writer.discard()
    assert list((hands.path.parent / "spool.db.bodies").iterdir()) == []
    await hands.spool.close()


async def test_G4_a_settlement_waits_for_room(disk: Disk, hands: Hands) -> None:
    message = await hands.accept()
    lease = await hands.one()
    disk.full = True
    settling = asyncio.ensure_future(hands.settle(delivered(lease)))
    assert await hands.spool.accept([hands.submission()]) is not None
    assert not settling.done()
    disk.full = False
    assert await settling == {lease.token}
    assert await hands.state(message) is State.ACCEPTED


async def test_G4_low_disk_lets_settlements_and_bounces_pass(hands: Hands) -> None:
    await hands.reopen(SpoolLimits(max_size=100))
    await hands.accept()
    await hands.spool.accept([hands.submission(data=b"x" * 50)])
    first, _ = await hands.claim()
    bounce = hands.submission(data=b"x" * 500, sender="")
    await hands.settle(replace(finished(first, State.FAILED), notices=(bounce,)))
    refused = hands.spool.admits(1)
    assert refused is not None and refused.code == 452


async def test_G5_a_failed_fsync_is_451_and_never_250(disk: Disk, hands: Hands) -> None:
    message = await hands.accept()
    lease = await hands.one()
    disk.broken = True
    refused = await hands.spool.accept([hands.submission()])
    assert refused is not None and (refused.code, refused.enhanced) == (451, "4.3.0")
    disk.broken = False
    for reply in (hands.spool.admits(0), await hands.spool.accept([hands.submission()])):
        assert reply is not None and (reply.code, reply.enhanced) == (451, "4.3.0")
    assert await hands.settle(delivered(lease)) == set()
    assert await hands.claim() == [], "what cannot be settled is not sent"
    assert not await hands.spool.reserve([])
    stats = await hands.spool.stats()
    assert not stats.healthy and "repair the disk" in stats.detail
    await hands.spool.maintain(hands.now)
    assert len([event for event in hands.events if isinstance(event, SpoolFailed)]) == 1
    await hands.reopen()
    page = await hands.spool.find(Filter(ended=True), limit=9)
    assert [shown.id for shown in page.data] == [message.id]


async def test_a_failed_settlement_of_its_own_gives_its_lease_back(hands: Hands) -> None:
    existing = hands.submission()
    await hands.accept()
    lease = await hands.one()
    await hands.spool.accept([existing])
    with pytest.raises(Exception, match="UNIQUE"):
        await hands.settle(replace(finished(lease, State.FAILED), notices=(existing,)))
    assert await hands.settle(owes(lease, lease.entry.owed)) == {lease.token}


async def test_a_spool_measures_its_own_disk(small_disk: Path) -> None:
    assert 0 < free_bytes(small_disk) <= 128 << 20
    assert shutil.disk_usage(small_disk).free == free_bytes(small_disk)
