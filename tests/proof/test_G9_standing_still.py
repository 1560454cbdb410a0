"""G9: the process is stopped for longer than its timeouts, or its disk answers nobody. No mail is lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients import letter, send, smtp
from proof.letters import Mix
from proof.scene import Scene
from proof.traced import attached, inject
from waiting import needs_root, program, until

SEED = int(os.environ.get("PROOF_SEED", random.SystemRandom().randrange(1_000_000)))
STILL = 7.0
TIMEOUTS = {"connect": "5s", "command": "4s", "data": "5s"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, seed=SEED, vanish=0) as scene:
        for each in scene.relay.config["providers"]:
            each["timeouts"] = TIMEOUTS
        yield scene


def test_G9_stopped_for_longer_than_its_timeouts(scene: Scene) -> None:
    """Slow: it must stand still for longer than it waits for upstreams. Their answers lie unread when it goes on."""
    scene.start()
    load = scene.load(mix=Mix(huge=0, soft=0.05))
    for answered in (150, 300):
        load.wait_for(answered)
        scene.relay.signal(signal.SIGSTOP)
        time.sleep(STILL)
        scene.relay.signal(signal.SIGCONT)
    load.wait_for(450)
    scene.drain()
    verdict = scene.verdict()
    assert verdict.clean, f"PROOF_SEED={SEED}, {scene.folder}: {verdict}"


def test_G9_a_disk_that_answers_nobody_stops_no_event_loop(scene: Scene) -> None:
    """Slow: fdatasync takes seconds. Health, other sessions and their refusals go on; the dot waits, and holds."""
    needs_root("strace looks into a process that pytest did not start itself")
    program("strace")
    scene.start()
    blocked = inject("fdatasync", "delay_enter=4000000", "1..2")
    with attached(scene.relay.innermost, scene.folder / "strace.txt", blocked):
        waiting = threading.Thread(target=send, args=(scene.relay.door, ["one@a.test"], letter()))
        began = time.monotonic()
        waiting.start()
        slowest = 0.0
        while waiting.is_alive():
            asked = time.monotonic()
            assert scene.relay.get("/healthz")[0] == 200
            with smtp(scene.relay.door) as client:
                client.ehlo()
                assert client.mail("other@app.test")[0] == 250 and client.rcpt("two@b.test")[0] == 250
            slowest = max(slowest, time.monotonic() - asked)
            time.sleep(0.05)
        assert time.monotonic() - began > 3
        assert slowest < 2, f"others waited for {slowest:.1f} s"
    until(lambda: len(scene.taken()) == 1, 20, "it was delivered")
