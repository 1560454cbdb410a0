"""The stage of every campaign: recording upstreams, a relay that routes to them, a load, and the judge at the end.

Tests and `make prove` use it; so do power cuts and strace plans, with a spool folder and a wrapper of their own.
It decides nothing about right and wrong: `oracle` does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from proof import ended
from proof.books import taken
from proof.letters import HARD
from proof.oracle import Cut, Fault, Kind, Law, Sent, Taken, Verdict, judge
from proof.sender import Load
from proof.upstreams import Upstreams
from relay_process import Config, Relay, provider
from waiting import until

ROUTES: Mapping[str, tuple[str, ...]] = {"a.test": ("a",), "b.test": ("b",), "c.test": ("c", "d")}
"""Recipient domain to the providers that may get its mail, one port each. What comes back to senders goes anywhere."""

DOMAINS = tuple(ROUTES)
LOOKING_BACK = 30.0
"""Seconds of the record that are read again at each look; a kill excuses nothing older than 5."""

QUICK: Config = {
    "retry": {"first": "1s", "factor": 1.5, "max": "3s", "give_up_after": "1d", "warn_after": None},
    "circuit": {"failures": 5, "open": "1s", "max_open": "1s"},
    "history": {"keep": "1h", "max_messages": 200_000},
    "http": None,
    "log": {"level": "warning", "format": "json"},
}


class Scene:
    """`with Scene(folder) as scene:` the upstreams run; `scene.start()` runs the relay.

    `seed`: of the letters. `spool`: the folder of the relay's spool; may be changed while it does not run. `program`:
    what to start instead of the relay's command. `wrapper`: words in front of it. `config`: top-level keys.
    `connections`: of the relay to each provider. `vanish`: share of dots that upstreams record and never answer.
    `cuts`: all since the last `forget`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seed: int = 0,
        spool: Path | None = None,
        program: Sequence[str] = (),
        wrapper: Sequence[str] = (),
        config: Config | None = None,
        connections: int = 10,
        vanish: float = 0.001,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.seed = seed
        self.cuts: list[Cut] = []
        self.peak_memory = 0
        names = sorted({name for names in ROUTES.values() for name in names})
        self.upstreams = Upstreams(folder, names, seed=seed, vanish=vanish)
        self.relay = Player(folder, self._config(connections) | (config or {}), program)
        self.relay.wrapper = list(wrapper)
        self.spool = spool or folder / "spool"
        self.loads: list[Load] = []
        self._runs = 0
        self._taken: list[Taken] = []
        self._dead: set[str] = set()
        self._looked = 0.0

    def _config(self, connections: int) -> Config:
        ports, limits = self.upstreams.ports, {"connections": connections}
        routes = [{"match": {"recipient": f"*@{domain}"}, "providers": list(names)} for domain, names in ROUTES.items()]
        return QUICK | {
            "providers": [provider(name, port, limits=limits) for name, port in ports.items()],
            "routes": routes,
        }

    def __enter__(self) -> Self:
        # Not beside the spool: the path of a unix socket may have 107 bytes, and campaigns lie deep.
        self._room = Path(tempfile.mkdtemp(prefix="proof-"))
        self.relay.control = self._room / "relay.sock"
        self.relay.config["control"] = str(self.relay.control)
        self.upstreams.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for load in self.loads:
            load.kill()
        self.relay.stop()
        shutil.rmtree(self._room)
        self.upstreams.stop()

    @property
    def spool(self) -> Path:
        return self._spool

    @spool.setter
    def spool(self, folder: Path) -> None:
        self._spool = folder
        self.relay.config["spool"] = {"url": f"sqlite:///{folder.absolute() / 'spool.db'}"}

    @property
    def database(self) -> Path:
        return self.spool / "spool.db"

    # What is done to the relay.

    def start(self) -> None:
        """Start the relay and wait until it is ready."""
        self.relay.start()

    def launch(self) -> None:
        """Start the relay without waiting."""
        self.relay.write()
        self.relay.launch()

    def ready(self) -> bool:
        return self.relay.ready()

    def kill(self) -> Cut:
        """kill -9, and what the spool holds then."""
        self._measure()
        os.kill(self.relay.innermost, signal.SIGKILL)
        self.relay.wait(20)
        return self.cut(time.time())

    def cut(self, at: float, database: Path | None = None) -> Cut:
        """The relay ended at `at` without a chance to say so, leaving its spool or this copy of it."""
        found = ended.read(database or self.database, at - LOOKING_BACK) if self._exists(database) else ended.Ended()
        self._dead |= found.dead
        self.cuts.append(Cut(at, frozenset(found.recorded)))
        return self.cuts[-1]

    def _exists(self, database: Path | None) -> bool:
        path = database or self.database
        return path.exists() and path.stat().st_size > 0

    def _measure(self) -> None:
        try:
            status = Path(f"/proc/{self.relay.innermost}/status").read_text()
            self.peak_memory = max(self.peak_memory, int(status.split("VmHWM:")[1].split()[0]) * 1024)
        except (OSError, IndexError):
            return  # it ended by itself

    # What is sent.

    def load(self, count: int = 0, **options: Any) -> Load:
        """Start a load: it sends until it is stopped, or `count` messages; see `sender.Load` for the options."""
        self._runs += 1
        run = f"r{self.seed}x{self._runs}"
        self.loads.append(Load(self.folder, self.relay.smtp_port, self.seed, run, DOMAINS, count, **options))
        return self.loads[-1]

    def drain(self, seconds: float = 60) -> None:
        """Loads stop, then the relay, which runs, empties its queue."""
        for load in self.loads:
            load.stop()
        until(self._nothing_waits, seconds, f"the queue is empty; see {self.folder}", every=0.1)
        self._measure()

    def _nothing_waits(self) -> bool:
        return self.relay.ready() and not ended.waiting(self.database)

    # What became of it, since the last `forget`.

    def recorded(self, since: float = 0.0) -> Collection[str]:
        """Recipients that the spool holds as ended, of messages that ended at `since` or later or go on."""
        return ended.read(self.database, since).recorded

    def sent(self) -> list[Sent]:
        return [each for load in self.loads for each in load.journal.read().sent()]

    def taken(self) -> list[Taken]:
        self._taken += map(taken, self.upstreams.lines.new())
        return self._taken

    def dead(self) -> Collection[str]:
        """Recipients that the relay says are dead-lettered."""
        now = time.time()
        self._dead |= ended.read(self.database, self._looked - LOOKING_BACK).dead
        self._looked = now
        return self._dead

    def verdict(self) -> Verdict:
        """Everything sent against everything taken. To be asked for after `drain`."""
        dead = self.dead()
        rightly = {each for each in dead if each.partition("@")[0].endswith(HARD)}
        sent, received = self.sent(), self.taken()
        found = judge(sent, received, Law(self.ports_of, rightly), self.cuts)
        wrongly = unprovoked(sent, set(dead) - rightly)
        return replace(found, faults=found.faults + untold(sent, received, rightly) + wrongly)

    def ports_of(self, recipient: str) -> Collection[int]:
        return [self.upstreams.ports[name] for name in ROUTES[recipient.rpartition("@")[2]]]

    def forget(self) -> None:
        """What was judged is done with, in memory and on disk. Nothing is under way: after `drain` and `verdict`."""
        for load in self.loads:
            load.remove()
        self.loads, self.cuts, self._taken, self._dead = [], [], [], set()
        self.upstreams.lines.truncate()


def untold(sent: Sequence[Sent], received: Sequence[Taken], dead: Collection[str]) -> tuple[Fault, ...]:
    """Dead-lettered in the record only: its sender was never told."""
    told = {
        (recipient, about)
        for each in received
        if not each.sender and each.granted
        for recipient in each.recipients
        for about in each.named
    }
    return tuple(
        Fault(Kind.LOST, each.id, recipient, "failed, and its sender never heard of it")
        for each in sent
        for recipient in each.recipients
        if recipient in dead and each.sender and (each.sender, recipient) not in told
    )


def unprovoked(sent: Sequence[Sent], dead: Collection[str]) -> tuple[Fault, ...]:
    """Dead-lettered, though no upstream refuses such a recipient."""
    return tuple(
        Fault(Kind.FORGED, each.id, recipient, "given up, and no upstream refused it")
        for each in sent
        for recipient in each.recipients
        if recipient in dead
    )


class Player(Relay):
    """The relay's process, perhaps started by another program, or beneath a wrapper."""

    def __init__(self, folder: Path, config: Config, program: Sequence[str]) -> None:
        super().__init__(folder, config)
        self._program = list(program)
        self.environment["PYTHONPATH"] = str(Path(__file__).parent.parent)

    def command(self, *arguments: str, powerless: bool = False) -> list[str]:
        usual = super().command(*arguments, powerless=powerless)
        return [*self._program, *arguments] if self._program else usual

    def stop(self) -> None:
        """A wrapper that is ended alone lets go of the relay, which then runs on."""
        if self._process is not None and self.alive:
            os.kill(self.innermost, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(15)
        super().stop()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def innermost(self) -> int:
        """The relay itself, also when the wrapper did not make way for it. As it starts it has a child of its own."""
        pid = self.pid
        while self._is_wrapper(pid) and (children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            pid = int(children[0])
        return pid

    def _is_wrapper(self, pid: int) -> bool:
        program = Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode()
        return bool(self.wrapper) and Path(program).name == Path(self.wrapper[0]).name


def planted(name: str) -> list[str]:
    """The `program` of a relay with a bug; see `proof.planted`."""
    return [sys.executable, "-m", "proof.planted", name]
