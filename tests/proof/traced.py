"""The relay under strace: killed at its k-th system call, or told by it that the disk failed (hazards.md, G2 and G5).

Tests and `make prove` run these campaigns on a `Scene`. strace counts calls for each thread by itself: the k-th call is
that of the first thread that gets so far. It changes nothing but the calls it is told to.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from proof import ended
from proof.letters import Mix
from proof.oracle import Fault, Outcome, Verdict
from proof.scene import Scene
from waiting import program, until

CALLS = (
    "fsync",
    "fdatasync",
    "pwrite64",
    "write",
    "writev",
    "sendto",
    "sendmsg",
    "unlink",
    "unlinkat",
    "rename",
    "renameat2",
    "ftruncate",
    "fallocate",
    "mkdir",
    "openat",
)
"""What a spool and its promises are made of. Of some the relay makes none; a campaign finds that out."""

KILL = "signal=SIGKILL"
MIX = Mix(large=0.5, huge=0, special=0.05, null=0.05, soft=0.08, hard=0.08)
MESSAGES = 14
"""Of which, but for one load in 16,000, one is so large that its body is a file: else nothing calls fsync."""

ON_ITS_WAY = 1.0
"""Seconds within which mail may go to a new connection after the disk failed: it had been handed over before."""

QUIET = 0.3
"""Seconds without a call that strace looks at, after which none is under way."""

Progress = Callable[[str], None]


def inject(call: str, what: str, when: str) -> list[str]:
    """Options of strace. `what`: "signal=SIGKILL", "error=EIO", "delay_enter=1s"; `when`: "3", "3+", "1..4"."""
    return ["-e", f"trace={call}", "-e", f"inject={call}:{what}:when={when}"]


def wrapper(output: Path, options: Sequence[str]) -> list[str]:
    """Words in front of the relay's command."""
    return [*_strace(output), *options]


def _strace(output: Path) -> list[str]:
    # Without --seccomp-bpf, which is quicker: strace 6.1 then delivers no signal on entering a call.
    return [program("strace"), "-f", "-q", "-ttt", "-e", "signal=none", "-o", str(output)]


@contextlib.contextmanager
def attached(pid: int, output: Path, options: Sequence[str]) -> Iterator[None]:
    """All threads of a running process are under strace, also those it starts."""
    strace = subprocess.Popen([*_strace(output), "-p", str(pid), *options], stderr=subprocess.PIPE)
    try:
        until(lambda: strace.poll() is not None or _traced(pid), 10, f"strace is attached to {pid}")
        yield
    finally:
        if strace.poll() is None:
            strace.send_signal(signal.SIGINT)  # it lets go, the process goes on
        said = strace.communicate(timeout=20)[1]
        assert not said, said.decode()


def _traced(pid: int) -> bool:
    """True also for a process that has ended."""
    tasks = Path(f"/proc/{pid}/task").glob("*/status")
    return all("TracerPid:\t0\n" not in _read(status) for status in tasks)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def died(output: Path) -> float:
    """When the process was killed, in unix seconds: as it made the last call."""
    return float(re.findall(r"^\d+ +([\d.]+) ", output.read_text(errors="replace"), re.MULTILINE)[-1])


def injected(output: Path) -> list[float]:
    """When strace meddled with a call, in unix seconds."""
    found = re.findall(r"^\d+ +([\d.]+) .*\(INJECTED\)", output.read_text(errors="replace"), re.MULTILINE)
    return [float(at) for at in found]


@dataclass
class Figures:
    """What the long form came to. `calls`: system calls of which every k was tried; `line`: what it does."""

    calls: int = 0
    kills: int = 0
    acked: int = 0
    excused: int = 0
    seconds: float = 0.0
    line: str = ""
    faults: list[Fault] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        self.calls += 1
        self.acked += verdict.outcomes[Outcome.ACKED]
        self.excused += verdict.excused
        self.faults += verdict.faults

    def __str__(self) -> str:
        return (
            f"{self.kills} kills at a call, {self.calls} calls done, faults: {len(self.faults) or 'none'}; {self.line}"
        )


class Traced:
    """Campaigns over one scene, whose relay does not run at first. Each leaves it running, drained and judged."""

    def __init__(self, scene: Scene, progress: Progress = lambda line: None) -> None:
        self.scene = scene
        self.log = scene.folder / "strace.txt"
        self.kills = 0
        self._progress = progress

    def kill_running(self, call: str, moments: Iterable[int]) -> int:
        """At each k-th call of the scenario: kill it, read its spool, start it again. Gives how many were killed."""
        scene, before = self.scene, self.kills
        for when in moments:
            scene.start()
            with attached(scene.relay.innermost, self.log, inject(call, KILL, str(when))):
                self._scenario()
                self._until_killed_or_drained()
            if not self._was_killed(f"{call} {when}"):
                break
        return self.kills - before

    def kill_starting(self, call: str, moments: Iterable[int], *, fresh: bool) -> int:
        """The same with the calls of the start: of a spool there was nothing of, or on the one there is."""
        scene, before = self.scene, self.kills
        for when in moments:
            if fresh:
                scene.spool = scene.spool.with_name(f"{scene.spool.name.partition('-')[0]}-{call}-{when}")
            scene.relay.wrapper = wrapper(self.log, inject(call, KILL, str(when)))
            scene.launch()
            until(lambda: not scene.relay.running or scene.ready(), 30, f"{call} {when}: it is killed or ready")
            if not self._was_killed(f"start, {call} {when}", empty=fresh):
                break
            if fresh:
                scene.start()
                assert self._terminated() == 0, scene.relay.log_text()
        return self.kills - before

    def fail_running(self, call: str, error: str, when: str) -> tuple[int, bool]:
        """The scenario with calls that fail. Gives how many did, and whether /readyz says 200 after it."""
        scene = self.scene
        scene.start()
        with attached(scene.relay.innermost, self.log, inject(call, f"error={error}", when)):
            self._scenario()
            ready = scene.ready()
            until(self._quiet, 10, "no call is under way: one that strace lets go of in its middle fails by ENOSYS")
        failed = injected(self.log)
        self._progress(f"{call} says {error} at {when}: {len(failed)} failed, {'' if ready else 'not '}ready")
        assert self._terminated() == 0, scene.relay.log_text()
        if failed and not ready:
            scene.cut(min(failed[0] + ON_ITS_WAY, time.time()))  # the next process is its successor, however soon
        return len(failed), ready

    def judged(self) -> Verdict:
        """What became of everything, after a start like any other."""
        scene = self.scene
        scene.start()
        scene.drain()
        verdict = scene.verdict()
        scene.forget()
        return verdict

    def _scenario(self) -> None:
        """It is over when every message was answered, or the relay is no more."""
        load = self.scene.load(MESSAGES, sessions=2, fresh=1, mix=MIX)
        until(lambda: load.file.exists() and load.file.stat().st_size, 30, "the load has begun")
        until(lambda: not load.running or not self.scene.relay.running, 60, "the messages were answered")
        load.stop()

    def _quiet(self) -> bool:
        return time.time() - self.log.stat().st_mtime > QUIET

    def _until_killed_or_drained(self) -> None:
        relay = self.scene.relay
        until(lambda: not relay.running or self._drained(), 60, "it is killed, or owes nothing")

    def _drained(self) -> bool:
        """Bodies are removed behind the last settlement, by calls that are to be counted, too."""
        bodies = self.scene.spool / f"{self.scene.database.name}.bodies"
        return not ended.waiting(self.scene.database) and not any(each.is_file() for each in bodies.rglob("*"))

    def _was_killed(self, what: str, *, empty: bool = False) -> bool:
        """If it was not, it is ended as usual; that, too, makes calls."""
        relay = self.scene.relay
        code = self._terminated() if relay.running else relay.wait(10)
        relay.wrapper = []
        if code == 0:
            self._progress(f"{what}: no such call any more")
            return False
        assert code in (-signal.SIGKILL, 128 + signal.SIGKILL), f"{what}: it ended with {code}:\n{relay.log_text()}"
        if not empty:
            self.scene.cut(died(self.log))
        self.kills += 1
        self._progress(f"{what}: killed")
        return True

    def _terminated(self) -> int:
        os.kill(self.scene.relay.innermost, signal.SIGTERM)
        return self.scene.relay.wait(20)


def campaign(folder: Path, calls: Sequence[str], seed: int, told: Callable[[Figures], None]) -> Figures:
    """The long form of G2: every k of each of these calls, of the start, of the scenario and of the start after it."""
    figures, began = Figures(), time.monotonic()
    with Scene(folder, seed=seed) as scene:

        def tell(line: str) -> None:
            figures.kills, figures.line, figures.seconds = traced.kills, line, time.monotonic() - began
            told(figures)

        traced = Traced(scene, tell)
        for call in calls:
            starting = call != "openat"  # 1,200 at a start, of which 1,190 read the program
            if starting:
                traced.kill_starting(call, count(1), fresh=True)
            traced.kill_running(call, count(1))
            if starting:
                traced.kill_starting(call, count(1), fresh=False)
            figures.add(traced.judged())
            assert scene.relay.terminate() == 0
            tell(f"{call}: done")
            if figures.faults:
                break
    return figures
