"""G1, the short form: 104 kills under load in four campaigns. `make prove` runs the long one."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from proof.kills import Plan, campaign
from proof.letters import Mix
from proof.scene import Scene

SEED = int(os.environ.get("PROOF_SEED", random.SystemRandom().randrange(1_000_000)))
PLAN = Plan(kills=26, messages=2_600, batch=13, mix=Mix(huge=0.0002))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(4))
def test_G1_kill_9_at_random_moments_loses_forges_and_doubles_nothing(tmp_path: Path, part: int) -> None:
    """Slow: each kill lets the relay live for a while before it."""
    seed = SEED + part
    with Scene(tmp_path, seed=seed) as scene:
        figures = campaign(scene, PLAN, seed)
    assert figures.clean, f"PROOF_SEED={SEED}, part {part}, {tmp_path}: {figures}\n{figures.faults[:20]}"
    assert figures.kills >= PLAN.kills
    assert figures.acked >= PLAN.messages
