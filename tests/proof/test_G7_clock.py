"""G7 on the real process: the clock is set by an hour or a year, ahead and back, while mail comes in and mail waits."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from proof.letters import Mix
from proof.oracle import Outcome
from proof.scene import Scene

SEED = int(os.environ.get("PROOF_SEED", random.SystemRandom().randrange(1_000_000)))
HOUR, YEAR = 3600, 365 * 86400

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """The file that says by how many seconds the relay's clock is wrong."""
    return set_clock(tmp_path / "clock", 0)


def set_clock(file: Path, offset: int) -> Path:
    """As a whole: the relay may be reading it."""
    new = file.with_suffix(".new")
    new.write_text(str(offset))
    return new.rename(file)


@pytest.fixture
def scene(tmp_path: Path, clock: Path) -> Iterator[Scene]:
    with Scene(tmp_path, seed=SEED, vanish=0, program=[sys.executable, "-m", "proof.clock", str(clock)]) as scene:
        yield scene


@pytest.mark.parametrize("step", [HOUR, -HOUR, YEAR, -YEAR])
def test_G7_a_clock_that_is_set_expires_nothing_and_delays_nothing(scene: Scene, clock: Path, step: int) -> None:
    """Slow: under load, with retries of a second and a life of a day. It is set, and after a while set right."""
    scene.start()
    load = scene.load(rate=150, mix=Mix(huge=0, soft=0.2, hard=0))
    for wrong in (step, 0):
        load.wait_for(load.answered + 150)
        set_clock(clock, wrong)
    load.wait_for(load.answered + 150)
    scene.drain(30)
    verdict = scene.verdict()
    assert verdict.clean, f"PROOF_SEED={SEED}, {scene.folder}: {verdict}"
    assert verdict.outcomes[Outcome.ACKED] >= 450
