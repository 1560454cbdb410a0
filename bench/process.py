"""A child process of the benchmark, and what processes cost: processor seconds and resident memory, from /proc.

Base of every server here. It ends only what it started.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.waiting import Failed

ROOT = Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Child:
    """One process, in a group of its own: Ctrl-C is ours to answer, and Postfix ends all of its group.

    `orphaned`: CPU seconds of processes below all that ended, which nobody waited for: Postfix's daemons.
    """

    orphaned = 0.0

    def __init__(self, name: str) -> None:
        self.name = name
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    def launch(self, command: Sequence[str | Path], output: Path | None = None, folder: Path = ROOT) -> None:
        """`output`: where what it prints is added."""
        with (output or Path(os.devnull)).open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def check(self) -> None:
        """Failed when it ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise Failed(f"{self.name} ended with {self._process.returncode}")

    def end(self, seconds: float = 30) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        below = sum(one.seconds for one in tree(process.pid).values())
        before = _own_seconds()
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        Child.orphaned += max(0.0, below - (_own_seconds() - before))

    def cpu_seconds(self) -> float:
        """Of the process and all below it, since each began."""
        return sum(one.seconds for one in tree(self.pid).values())


@dataclass(frozen=True)
class Stat:
    parent: int
    seconds: float
    resident: int


def stat(pid: int) -> Stat | None:
    """`seconds` counts children that were waited for as well: Postfix's daemons retire after a number of clients."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    except OSError:
        return None
    seconds = sum(map(int, fields[11:15])) / TICK
    return Stat(parent=int(fields[1]), seconds=seconds, resident=int(fields[21]) * PAGE)


def tree(pid: int) -> dict[int, Stat]:
    """The process and all below it that live now."""
    every = {int(entry.name): stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    alive = {number: one for number, one in every.items() if one is not None}
    found = {pid: alive[pid]} if pid in alive else {}
    grown = True
    while grown:
        below = {number: one for number, one in alive.items() if one.parent in found and number not in found}
        found |= below
        grown = bool(below)
    return found


class Others:
    """What everybody else uses of the processors, from when this is made until `share` is asked."""

    def __init__(self) -> None:
        self._before = _processors()

    def share(self) -> float:
        """Of all processors; the kernel's own threads are among the others."""
        ours, idle, every = (after - was for after, was in zip(_processors(), self._before, strict=True))
        return max(0.0, 1 - (ours + idle) / every) if every else 0.0


def _own_seconds() -> float:
    """Of this process and of those it waited for."""
    one = stat(os.getpid())
    return one.seconds if one else 0.0


def _processors() -> tuple[float, float, float]:
    """Seconds: of this process and all it started, idle or waiting for a disk, and all there are."""
    ticks = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    ours = sum(one.seconds for one in tree(os.getpid()).values())
    return ours + Child.orphaned, (ticks[3] + ticks[4]) / TICK, sum(ticks) / TICK


def resident(pid: int) -> float:
    """MB now, of this one process."""
    return _status(pid, "VmRSS:")


def peak_resident(pid: int) -> float:
    """MB; the kernel's own high-water mark of this one process."""
    return _status(pid, "VmHWM:")


def _status(pid: int, name: str) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split(name)[1].split()[0]) * 1024 / 1e6
