"""The proof proves itself: a relay with a bug must not come out clean (the bugs that kill -9 or plain sending show)."""

from __future__ import annotations

from pathlib import Path

import pytest
from proof.kills import Figures, Plan, campaign
from proof.letters import Mix
from proof.oracle import Kind
from proof.scene import Scene, planted

SEED = 7
EVERYBODY_THERE = Mix(huge=0, soft=0, hard=0)
"""No recipient is refused: that would show without any kill."""


def found(folder: Path, bug: str, plan: Plan, *, vanish: float = 0.0) -> Figures:
    with Scene(folder, seed=SEED, program=planted(bug), vanish=vanish) as scene:
        return campaign(scene, plan, SEED)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("bug", ["acknowledge-before-commit", "delete-before-250"])
def test_G1_a_relay_that_forgets_what_it_promised_is_caught(tmp_path: Path, bug: str) -> None:
    """Slow: some kills."""
    figures = found(tmp_path, bug, Plan(kills=8, messages=2_000, batch=8, mix=EVERYBODY_THERE))
    assert {fault.kind for fault in figures.faults} == {Kind.LOST}, figures


@pytest.mark.timeout(120)
def test_G1_a_relay_that_stuffs_no_dots_is_caught(tmp_path: Path) -> None:
    figures = found(tmp_path, "no-stuffing", Plan(kills=1, messages=100, batch=1, mix=EVERYBODY_THERE))
    assert Kind.CORRUPT in {fault.kind for fault in figures.faults}, figures


@pytest.mark.timeout(120)
def test_G1_the_same_campaign_is_clean_without_a_bug(tmp_path: Path) -> None:
    with Scene(tmp_path, seed=SEED, vanish=0) as scene:
        figures = campaign(scene, Plan(kills=4, messages=1_000, batch=4, mix=EVERYBODY_THERE), SEED)
    assert figures.clean, figures
