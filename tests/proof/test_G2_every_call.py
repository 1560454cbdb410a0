"""G2, the short form: killed at a spread of the system calls that make a promise. `make prove` takes every one."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from proof.scene import Scene
from proof.traced import Traced
from waiting import needs_root, program

SEED = int(os.environ.get("PROOF_SEED", random.SystemRandom().randrange(1_000_000)))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Traced]:
    needs_root("strace looks into a process that pytest did not start itself")
    program("strace")
    with Scene(tmp_path, seed=SEED) as scene:
        yield Traced(scene)


RUNNING = {
    "commit": {"fdatasync": (1, 4, 9), "pwrite64": (37,)},
    "log": {"pwrite64": (2, 90, 160)},
    "network": {"write": (2, 25, 60)},
    "body": {"fsync": (1, 2), "openat": (1,), "unlink": (1,)},
}


@pytest.mark.parametrize("what", RUNNING)
def test_G2_killed_at_a_call_while_mail_flows(traced: Traced, what: str) -> None:
    """Slow: the relay is started again after every kill."""
    killed = {call: traced.kill_running(call, moments) for call, moments in RUNNING[what].items()}
    assert all(killed.values()), f"a call that never came proves nothing: {killed}"
    verdict = traced.judged()
    assert verdict.clean, f"PROOF_SEED={SEED}, {traced.scene.folder}: {verdict}"
    assert traced.kills >= 3 and verdict.deliveries >= 10


@pytest.mark.parametrize(("call", "moments"), [("pwrite64", (1, 30, 60)), ("fdatasync", (7,)), ("mkdir", (2,))])
def test_G2_killed_at_a_call_of_the_first_start(traced: Traced, call: str, moments: tuple[int, ...]) -> None:
    """Slow: the relay is started twice for every kill. The schema is made, or is not; never half of it."""
    assert traced.kill_starting(call, moments, fresh=True) == len(moments)


def test_G2_killed_at_a_call_of_a_start_that_recovers(traced: Traced) -> None:
    """Slow: every start finds what the kill before it left."""
    assert traced.kill_running("fdatasync", (6,)) == 1
    calls = {"pwrite64": (1, 5, 10), "fdatasync": (1, 3), "unlink": (1,)}
    killed = {call: traced.kill_starting(call, moments, fresh=False) for call, moments in calls.items()}
    assert all(killed.values()), f"a call that never came proves nothing: {killed}"
    verdict = traced.judged()
    assert verdict.clean, f"PROOF_SEED={SEED}, {traced.scene.folder}: {verdict}"
    assert traced.kills >= 4
