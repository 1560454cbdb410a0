"""Power cuts by the hundred: a relay under load on a disk whose power is cut, and what becomes of its mail (hazard G3).

`campaign` is what tests and `make prove` call. A round is one relay on one fresh disk, cut at several random moments:
each cut is a copy of the disk, and the relay goes on. Afterwards every copy is powered up with a relay and upstreams of
its own, empties its queue, and both halves of that history, the first relay's up to the cut and its successor's after
it, go before the judge. It knows nothing of how a copy is made, `disks` does, nor of right and wrong, `oracle` does.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from proof import ended
from proof.disks import MODES, ORDERED, Damaged, Disk, Moment, disk, keep, powered_up, yard
from proof.letters import HARD, Mix
from proof.oracle import Cut, Law, Outcome, Sent, Taken, Verdict, as_of, judge
from proof.scene import Scene, untold
from waiting import until

PER_ROUND = 10
PARALLEL = 2
KEPT = 5
"""Disks of failures that are kept, per stand. They have holes, but bodies have not."""
LARGE = Mix(large=0.15, huge=0.001, soft=0.002)
"""Bodies beyond 256 KiB are files: their content, their name and their row are three things to keep."""

SMALL = Mix(large=0, huge=0, special=0, null=0, soft=0, hard=0)
BODIES = replace(SMALL, large=1)


@dataclass(frozen=True, slots=True)
class Copy:
    """What a cut left. `kills`: those the original went through before it."""

    name: str
    image: Path
    options: str
    moment: Moment
    kills: tuple[Cut, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one copy. `trouble`: why it could not be judged. `saved`: deliveries it owed and made.

    `image`: where the copy of a failure is kept.
    """

    name: str
    verdict: Verdict | None = None
    trouble: str = ""
    saved: int = 0
    image: Path | None = None

    @property
    def clean(self) -> bool:
        return self.verdict is not None and self.verdict.clean

    def __str__(self) -> str:
        kept = f"; its disk: {self.image}" if self.image else ""
        return f"cut {self.name}: {self.trouble or self.verdict}{kept}"


@dataclass(slots=True)
class Figures:
    """What a campaign did so far. `acked`: messages acknowledged before the cut, added up over the cuts."""

    cuts: int = 0
    rounds: int = 0
    acked: int = 0
    saved: int = 0
    excused: int = 0
    seconds: float = 0.0
    failures: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not self.failures

    def add(self, finding: Finding) -> None:
        self.cuts += 1
        self.saved += finding.saved
        if finding.verdict is not None:
            self.acked += finding.verdict.outcomes.get(Outcome.ACKED, 0)
            self.excused += finding.verdict.excused
        if not finding.clean:
            self.failures.append(finding)

    def __str__(self) -> str:
        failed = "".join(f"\n{finding}" for finding in self.failures)
        return (
            f"{self.cuts} power cuts of {self.rounds} relays in {self.seconds:.0f} s: {self.acked} acknowledged"
            f" messages judged, {self.saved} deliveries made from what the disk had kept, {self.excused} duplicates"
            f" excused, {len(self.failures)} failed{failed}"
        )


def campaign(
    folder: Path,
    cuts: int,
    seed: int,
    *,
    program: Sequence[str] = (),
    progress: Callable[[Figures], None] = lambda figures: None,
    parallel: int = PARALLEL,
) -> Figures:
    """So many cuts. All that is random follows from `seed` and the number of the round, and a finding's name says both.

    `program`: what runs instead of the relay, see `scene.planted`; only the relay that is cut, not its successor.
    """
    figures, began = Figures(), time.monotonic()
    with ThreadPoolExecutor(parallel) as pool:
        while figures.cuts < cuts:
            place = folder / f"round{figures.rounds}"
            dice = random.Random(f"{seed}/{figures.rounds}")
            with stand(
                place, f"{seed}.{figures.rounds}", options=dice.choice(MODES), program=program, dice=dice
            ) as one:
                one.play(min(PER_ROUND, cuts - figures.cuts), dice)
            figures.rounds += 1
            for finding in pool.map(one.examine, one.copies):
                figures.add(finding)
                figures.seconds = time.monotonic() - began
                progress(figures)
            if figures.clean:
                shutil.rmtree(place)
    return figures


def worst_moments(folder: Path, *, program: Sequence[str] = ()) -> list[Finding]:
    """Cuts in which only what the relay flushed for this message is kept: nothing else makes the disk write.

    The log of the database has been copied and starts over, so a commit writes where blocks are already: no change of
    ext4's own, whose journal would carry a new name along. The upstreams are silent, so that nothing else ends, and the
    copy owes everything. One large body, another, and then small ones: whose fsync makes whose name durable matters.
    """
    with stand(folder, "worst", program=program) as one:
        scene = one.scene
        scene.start()
        scene.load(200, mix=SMALL).wait()
        scene.drain()
        log = scene.database.with_name(scene.database.name + "-wal")
        until(lambda: scene.database.stat().st_mtime_ns > log.stat().st_mtime_ns, 30, "the log was copied")
        with scene.upstreams.silent():
            for count, mix in ((1, BODIES), (1, BODIES), (20, SMALL)):
                scene.load(count, mix=mix).wait_for(count)
                one.cut()
    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(one.examine, one.copies))


@contextlib.contextmanager
def stand(
    folder: Path,
    name: str,
    *,
    options: str = ORDERED,
    program: Sequence[str] = (),
    dice: random.Random | None = None,
) -> Iterator[Stand]:
    """A disk with a relay's spool on it, and a scene around it. Copies may be examined when it is over, too."""
    dice = dice or random.Random(name)
    with (
        disk(options) as drive,
        Scene(
            folder / "first",
            seed=dice.randrange(1 << 30),
            spool=drive.folder / "spool",
            program=program,
            connections=dice.choice((1, 2, 10)),
        ) as scene,
    ):
        yield Stand(folder, name, options, drive, scene)


class Stand:
    """One relay on one disk, and the cuts of it."""

    def __init__(self, folder: Path, name: str, options: str, drive: Disk, scene: Scene) -> None:
        self.folder = folder
        self.name = name
        self.options = options
        self.drive = drive
        self.scene = scene
        self.copies: list[Copy] = []
        self.kept = 0
        self._reading = threading.Lock()

    # Cutting.

    def play(self, cuts: int, dice: random.Random) -> None:
        """Start the relay, load it, and cut at random moments; the first may fall before it is ready."""
        self.scene.launch()
        self.scene.load(sessions=dice.choice((2, 8, 16)), rate=dice.choice((60, 150, 400)), mix=LARGE)
        for _ in range(cuts):
            lot = dice.random()
            time.sleep(dice.uniform(0.02, 0.7))  # the moment of the cut is what is random
            if lot < 0.15 and self.scene.ready():
                self.kill_and_cut()
                self.scene.launch()
            elif lot < 0.4:
                with self.scene.upstreams.silent():
                    time.sleep(dice.uniform(0.02, 0.5))
                    self.cut()
            else:
                self.cut()
        for load in self.scene.loads:
            load.kill()

    def cut(self) -> Copy:
        """Power away, for the copy; the original goes on."""
        name = f"{self.name}.{len(self.copies)}"
        image = yard() / f"cut-{name}.img"
        kills = tuple(self.scene.cuts)
        self.copies.append(Copy(name, image, self.options, self.drive.cut(image), kills))
        return self.copies[-1]

    def kill_and_cut(self) -> Copy:
        """The process ends before its machine does: nobody holds its files any more."""
        os.kill(self.scene.relay.innermost, signal.SIGKILL)
        copy = self.cut()
        self.scene.relay.wait(20)
        self.scene.cut(copy.moment.before_this)
        return copy

    # Examining.

    def examine(self, copy: Copy) -> Finding:
        """Start on the copy, let it empty its queue, judge. Several may be examined at a time."""
        try:
            finding = self._examine(copy)
        except (Exception, pytest.fail.Exception) as error:
            finding = Finding(copy.name, trouble=f"{type(error).__name__}: {error}")
        if not finding.clean and self.kept < KEPT:
            self.kept += 1
            finding = replace(finding, image=self.folder / copy.image.name)
            keep(copy.image, self.folder)
        copy.image.unlink()
        return finding

    def _examine(self, copy: Copy) -> Finding:
        with powered_up(copy.image, copy.options) as root:
            spool = root / "spool"
            left = _left(spool / "spool.db")
            with Scene(self.folder / f"after-{copy.name}", spool=spool, vanish=0) as after:
                after.start()
                after.drain(90)
                dead = after.dead()
                taken = self._in_the_words_of_the_first(after.taken(), after)
        sent, before = self._until(copy.moment)
        cuts = (*copy.kills, Cut(copy.moment.before_this, left.recorded))
        rightly = {each for each in dead if each.partition("@")[0].endswith(HARD)}
        verdict = judge(sent, [*before, *taken], Law(self.scene.ports_of, rightly), cuts)
        verdict = replace(verdict, faults=verdict.faults + untold(sent, [*before, *taken], rightly))
        return Finding(copy.name, verdict, saved=sum(len(each.recipients) for each in taken))

    def _in_the_words_of_the_first(self, taken: Sequence[Taken], after: Scene) -> list[Taken]:
        """The same providers have other ports for the successor."""
        ports = {port: self.scene.upstreams.ports[name] for name, port in after.upstreams.ports.items()}
        return [replace(each, port=ports[each.port]) for each in taken]

    def _until(self, moment: Moment) -> tuple[list[Sent], list[Taken]]:
        """The first half: what clients had been told, and upstreams taken, when the power went."""
        with self._reading:
            sent, taken = self.scene.sent(), list(self.scene.taken())
        told = [
            each if each.ended <= moment.after_this else replace(each, outcome=Outcome.UNKNOWN)
            for each in as_of(sent, moment.before_this)
        ]
        return told, [each for each in taken if each.at <= moment.before_this]


def _left(database: Path) -> ended.Ended:
    """What the spool held as ended when the power went. Nothing, if it had not been made yet. Raises Damaged."""
    if not database.exists() or not database.stat().st_size:
        return ended.Ended()
    found = ended.integrity(database)
    if found != "ok":
        raise Damaged(f"the spool: {found}")
    return ended.read(database)
