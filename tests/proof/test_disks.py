"""The harness of power cuts proves itself: what was not asked to be kept is lost, what was is there.

design.md's table of durability facts, measured again wherever the tests run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest
from proof.disks import MODES, Disk, disk, needs_disks, powered_up, yard
from waiting import until

COMMITS = 10


@pytest.fixture
def drive() -> Iterator[Disk]:
    needs_disks()
    with disk() as made:
        yield made


def after_a_cut(drive: Disk, look: Callable[[Path], int]) -> int:
    copy = yard() / f"after-{threading.get_ident()}.img"
    drive.cut(copy)
    try:
        with powered_up(copy) as folder:
            return look(folder)
    finally:
        copy.unlink()


def opened(folder: Path, journal: str, synchronous: str) -> apsw.Connection:
    connection = apsw.Connection(str(folder / "facts.db"))
    connection.execute(f"PRAGMA journal_mode = {journal}").fetchall()
    connection.execute(f"PRAGMA synchronous = {synchronous}").fetchall()
    connection.execute("CREATE TABLE IF NOT EXISTS fact (n INTEGER)")
    connection.execute("DELETE FROM fact")
    # What comes before the commits is not what is measured. Not os.sync(): other tests have disks, too.
    subprocess.run(["sync", "--file-system", folder], check=True)
    return connection


def survivors(folder: Path) -> int:
    connection = apsw.Connection(str(folder / "facts.db"))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    found: int = connection.execute("SELECT count(*) FROM fact").fetchall()[0][0]
    connection.close()
    return found


@pytest.mark.parametrize(
    ("journal", "synchronous", "expected"),
    [("WAL", "OFF", 0), ("WAL", "NORMAL", 0), ("DELETE", "FULL", COMMITS - 1), ("WAL", "FULL", COMMITS)],
)
def test_G3_commits_that_survive_a_power_cut(drive: Disk, journal: str, synchronous: str, expected: int) -> None:
    connection = opened(drive.folder, journal, synchronous)
    for n in range(COMMITS):
        connection.execute("INSERT INTO fact VALUES (?)", (n,))
    assert after_a_cut(drive, survivors) == expected
    connection.close()


def write_and_rename(folder: Path, *, content: bool, name: bool) -> None:
    """`content`, `name`: which of the two is made durable."""
    file = os.open(folder / "new", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(file, b"x" * 300_000)
    if content:
        os.fsync(file)
    os.close(file)
    (folder / "new").rename(folder / "body")
    if name:
        opened = os.open(folder, os.O_RDONLY)
        os.fsync(opened)
        os.close(opened)


@pytest.mark.parametrize(
    ("content", "name", "expected"), [(False, False, -1), (True, False, -1), (False, True, 0), (True, True, 300_000)]
)
def test_G3_files_that_survive_a_power_cut(drive: Disk, content: bool, name: bool, expected: int) -> None:
    """-1: not there. Without its own fsync the content is missing, without that of the folder the name."""
    write_and_rename(drive.folder, content=content, name=name)

    def size(folder: Path) -> int:
        body = folder / "body"
        return body.stat().st_size if body.exists() else -1

    assert after_a_cut(drive, size) == expected


@pytest.mark.parametrize("options", MODES)
def test_G3_a_copy_is_one_moment(options: str) -> None:
    """Cut while a writer is busy: every commit that ended before is there, and both structures are whole."""
    needs_disks()
    with disk(options) as drive:
        connection = opened(drive.folder, "WAL", "FULL")
        committed = [0]
        done = threading.Event()

        def write() -> None:
            while not done.is_set():
                connection.execute("INSERT INTO fact VALUES (1)")
                committed[0] += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(4):
                before = committed[0]
                while committed[0] < before + 20:
                    done.wait(0.001)
                acknowledged = committed[0]
                assert after_a_cut(drive, survivors) >= acknowledged
        finally:
            done.set()
            writer.join()
            connection.close()


def test_nothing_stays_mounted_after_a_failure() -> None:
    needs_disks()
    with pytest.raises(ZeroDivisionError), disk() as drive:
        mounted = drive.folder
        assert mounted.is_mount()
        raise ZeroDivisionError
    assert not mounted.exists()
    assert str(yard()) not in Path("/proc/mounts").read_text()


HOLDS_A_DISK = """
import sys
from proof.disks import disk, yard
with disk():
    print(yard(), flush=True)
    sys.stdin.read()
"""


def test_nothing_stays_mounted_after_a_kill() -> None:
    needs_disks()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS_A_DISK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    with process:
        assert process.stdout is not None
        folder = process.stdout.readline().strip()
        assert folder in Path("/proc/mounts").read_text()
        process.kill()
    until(lambda: folder not in Path("/proc/mounts").read_text(), 20, "everything is unmounted")
    until(lambda: not Path(folder).exists(), 20, "everything is removed")
