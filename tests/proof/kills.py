"""kill -9 at random moments under load, restart at once, and the ledger judged batch by batch (hazard G1).

`test_G1_kills` runs the short form, `make prove` the long one. Every choice comes from one seed.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from proof.letters import Mix
from proof.oracle import Fault, Outcome, Verdict
from proof.scene import Scene
from proof.sender import Load
from waiting import until

EARLY = 0.15
"""Share of kills that do not wait until the relay is ready: they hit its start."""

START = 0.8
LONG = 5_000
"""Messages of a batch with one kill at its end, when the kills are done and messages are wanted still."""

STALLED = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """`messages` acknowledged are spread over the kills; `batch`: kills until the queue is emptied and judged."""

    kills: int
    messages: int
    batch: int = 25
    mix: Mix = field(default_factory=Mix)


@dataclass(slots=True)
class Figures:
    """What a campaign came to so far. `live`: answered in the batch that is not judged yet."""

    kills: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    live: int = 0
    transactions: int = 0
    deliveries: int = 0
    notices: int = 0
    excused: int = 0
    faults: list[Fault] = field(default_factory=list)
    seconds: float = 0.0
    peak_memory: int = 0

    @property
    def acked(self) -> int:
        return self.outcomes[Outcome.ACKED]

    @property
    def clean(self) -> bool:
        return not self.faults

    def add(self, verdict: Verdict) -> None:
        self.outcomes.update(verdict.outcomes)
        self.transactions += verdict.transactions
        self.deliveries += verdict.deliveries
        self.notices += verdict.notices
        self.excused += verdict.excused
        self.faults += verdict.faults

    def __str__(self) -> str:
        found = Counter(fault.kind for fault in self.faults)
        told = f"{self.kills} kills, {self.acked + self.live:,} messages, {self.deliveries:,} deliveries"
        return f"{told}, {self.excused} duplicates excused, faults: {dict(found) or 'none'}"


class Campaign:
    """Runs a plan on a scene whose upstreams run. `told` is called with the figures whenever they change."""

    def __init__(self, scene: Scene, plan: Plan, seed: int, told: Callable[[Figures], None] = lambda _: None) -> None:
        self.figures = Figures()
        self._scene = scene
        self._plan = plan
        self._dice = random.Random(seed)
        self._told = told
        self._began = time.monotonic()

    def run(self) -> Figures:
        """To the plan's end, or to the first batch with a fault: its folder is left as it is."""
        self._began = time.monotonic()
        self._scene.start()
        while self.figures.clean and not self._done():
            self._batch()
        return self.figures

    def _done(self) -> bool:
        return self.figures.kills >= self._plan.kills and self.figures.acked >= self._plan.messages

    def _batch(self) -> None:
        scene, figures = self._scene, self.figures
        load = scene.load(mix=self._plan.mix)
        for _ in range(max(1, min(self._plan.batch, self._plan.kills - figures.kills))):
            self._live(load)
            scene.kill()
            scene.launch()
            figures.kills += 1
            figures.live = load.answered
            figures.peak_memory = scene.peak_memory
            self._told(figures)
        scene.drain(STALLED)
        figures.live = 0
        figures.add(scene.verdict())
        figures.seconds = time.monotonic() - self._began
        self._told(figures)
        if figures.clean:
            scene.forget()

    def _live(self, load: Load) -> None:
        """Return at the random moment of the next kill."""
        if self._dice.random() < EARLY:
            time.sleep(self._dice.uniform(0, START))
            return
        wanted = load.answered + self._dice.uniform(0, 2) * self._share()
        until(lambda: self._answered(load) >= wanted, STALLED, f"{wanted:.0f} answers; see {self._scene.folder}")
        time.sleep(self._dice.uniform(0, 0.05))

    def _answered(self, load: Load) -> int:
        assert self._scene.relay.alive, f"the relay ended by itself: {self._scene.relay.log_text()[-2000:]}"
        assert load.running, f"the load ended by itself: {load.output.read_text()[-2000:]}"
        return load.answered

    def _share(self) -> float:
        """Messages for each kill that is left and waits for any; when none is left, for one at the end of a batch."""
        plan, figures = self._plan, self.figures
        missing, left = plan.messages - figures.acked - figures.live, plan.kills - figures.kills
        usual = plan.messages / max(1, plan.kills)
        most = max(plan.batch * usual, LONG)
        return min(max(missing / max(1, left), usual / 4), most) / (1 - EARLY)


def campaign(scene: Scene, plan: Plan, seed: int) -> Figures:
    return Campaign(scene, plan, seed).run()
