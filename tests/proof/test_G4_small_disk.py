"""G4 on the real process: its disk is small, and somebody fills it, or takes its last inode, while mail comes in."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clients import letter, smtp
from proof.letters import Mix
from proof.oracle import Outcome
from proof.scene import Scene
from waiting import needs_root, until

SEED = int(os.environ.get("PROOF_SEED", random.SystemRandom().randrange(1_000_000)))
LARGE = letter(body="x" * 400_000)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Its spool lies on a tmpfs with 200 inodes and a little more than the room that the relay insists on."""
    needs_root("mounting a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700m,nr_inodes=200", "none", str(disk)], check=True)
    try:
        with Scene(tmp_path, seed=SEED, spool=disk / "spool", vanish=0) as scene:
            yield scene
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def take_all_room(folder: Path) -> None:
    with (folder / "ballast").open("wb") as ballast:
        while left := os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize:
            with contextlib.suppress(OSError):  # the relay was quicker, and less is left now
                os.posix_fallocate(ballast.fileno(), ballast.seek(0, os.SEEK_END), left)


def take_all_inodes(folder: Path) -> None:
    for number in range(os.statvfs(folder).f_favail):
        with contextlib.suppress(OSError):  # as above
            (folder / f"ballast{number}").touch()


def give_back(folder: Path) -> None:
    for ballast in folder.glob("ballast*"):
        ballast.unlink()


def refused(scene: Scene) -> str:
    """What the relay says to a large message; empty when it takes it."""
    with smtp(scene.relay.door) as client:
        client.ehlo()
        steps = (lambda: client.mail("a@app.test"), lambda: client.rcpt("late@a.test"), lambda: client.data(LARGE))
        for code, text in (step() for step in steps):
            if code >= 400:
                return f"{code} {text.decode()}"
    return ""


@pytest.mark.parametrize("take", [take_all_room, take_all_inodes])
def test_G4_what_runs_out_is_452_and_comes_back_alone(scene: Scene, take: Callable[[Path], None]) -> None:
    """Slow: a disk of 700 MiB is filled under load. What it took is delivered meanwhile; nothing is partial."""
    disk = scene.spool.parent
    scene.start()
    load = scene.load(mix=Mix(large=0.3, huge=0, soft=0.05))
    load.wait_for(100)
    take(disk)
    said = until(lambda: refused(scene), 20, "the disk is full")
    assert said.startswith("452 4.3.1 "), said
    before = load.answered
    load.wait_for(before + 50)
    give_back(disk)
    until(lambda: not refused(scene), 20, "it takes mail again by itself")
    until(scene.ready, 20, "it is ready again by itself")
    load.wait_for(load.answered + 50)
    scene.drain()
    verdict = scene.verdict()
    strangers = [fault for fault in verdict.faults if "late@a.test" not in str(fault)]
    assert not strangers, f"PROOF_SEED={SEED}, {scene.folder}: {verdict}"
    assert verdict.outcomes[Outcome.NACKED] >= 1
    assert verdict.outcomes[Outcome.ACKED] >= 150
