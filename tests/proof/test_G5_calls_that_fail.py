"""G5 on the real process: the k-th fsync, fdatasync or pwrite64 fails. No 250 for what is not durable, nothing half."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from proof.oracle import Outcome
from proof.scene import Scene
from proof.traced import Traced, inject, injected, wrapper
from waiting import needs_root, program

SEED = int(os.environ.get("PROOF_SEED", random.SystemRandom().randrange(1_000_000)))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Traced]:
    needs_root("strace looks into a process that pytest did not start itself")
    program("strace")
    with Scene(tmp_path, seed=SEED) as scene:
        yield Traced(scene)


@pytest.mark.parametrize(
    ("call", "moments"),
    [("fdatasync", ("1", "3", "6+")), ("pwrite64", ("2", "50", "80+")), ("fsync", ("1", "2"))],
)
def test_G5_a_disk_that_fails_is_451_and_never_250(traced: Traced, call: str, moments: tuple[str, ...]) -> None:
    """Slow: a failed disk is believed only after a restart. Until then the relay says that it is not ready."""
    for when in moments:
        failed, ready = traced.fail_running(call, "EIO", when)
        assert failed >= 1
        assert not ready, f"{call} said EIO at {when}"
    verdict = traced.judged()
    assert verdict.clean, f"PROOF_SEED={SEED}, {traced.scene.folder}: {verdict}"
    assert verdict.outcomes[Outcome.NACKED] >= 1


def test_G4_a_disk_that_is_full_for_a_while_is_no_failure(traced: Traced) -> None:
    """Slow: the same by ENOSPC, which passes: the relay is ready again without a restart."""
    for when in ("2", "50", "80..110"):
        failed, ready = traced.fail_running("pwrite64", "ENOSPC", when)
        assert failed >= 1
        assert ready, f"pwrite64 said ENOSPC at {when}"
    verdict = traced.judged()
    assert verdict.clean, f"PROOF_SEED={SEED}, {traced.scene.folder}: {verdict}"


def test_G4_without_room_to_set_aside_it_starts_and_loses_nothing(traced: Traced) -> None:
    """Slow: under strace from its first call on. The room is asked for at the start, and never granted."""
    scene = traced.scene
    scene.relay.wrapper = wrapper(traced.log, inject("fallocate", "error=ENOSPC", "1+"))
    scene.start()
    scene.load(20).wait()
    scene.drain()
    assert injected(traced.log), "it asked for no room"
    verdict = scene.verdict()
    assert verdict.clean, f"PROOF_SEED={SEED}, {scene.folder}: {verdict}"
    assert verdict.outcomes[Outcome.ACKED] == 20
