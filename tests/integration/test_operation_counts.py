"""What a message costs in operations, under a crowd: flushes, system calls, SQL statements. Unlike time they repeat.

The bounds lie above the worst of many runs on busy cores by a third; on an idle machine what is batched costs less.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from relay_process import Relay, provider
from waiting import needs_root, program, until

from bench.process import Child
from bench.rig import running
from bench.traffic import Load, Sink, push
from tests.contract.spools import Hands, delivered

MAKE = Callable[..., Relay]
MESSAGES = 1000
KEPT, NEW = Load(MESSAGES, kept=True), Load(MESSAGES)
SENDING = ("write", "writev", "sendto", "sendmsg")
RECEIVING = ("read", "readv", "recvfrom", "recvmsg")
POLLING = ("epoll_wait", "epoll_pwait", "epoll_pwait2")
FLUSHING = ("fsync", "fdatasync")
LINE = re.compile(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", re.MULTILINE)

pytestmark = pytest.mark.timeout(120)


def strace(output: Path) -> list[str]:
    needs_root("strace looks into a process that pytest did not start itself, and smtp-sink drops to a user of its own")
    for name in ("smtp-source", "smtp-sink"):
        program(name)
    return [program("strace"), "-f", "-q", "-c", "-o", str(output)]


def counted(output: Path) -> Counter[str]:
    """strace's table, once it is there."""
    until(lambda: output.exists() and "total" in output.read_text(), 20, "strace tells what it counted")
    return Counter({name: int(calls) for calls, name in LINE.findall(output.read_text()) if name != "total"})


def per_message(calls: Counter[str], names: tuple[str, ...]) -> float:
    return sum(calls[name] for name in names) / MESSAGES


def hand_over(load: Load, relay: Relay, sink: Sink) -> None:
    """All of it, until the sink has it."""
    push(load, Child("relay"), relay.smtp_port, sink, seconds=60)


def to_sink(sink: Sink) -> dict[str, Any]:
    return {"providers": [provider("sink", sink.port, limits={"connections": 20})]}


@pytest.mark.slow
@pytest.mark.parametrize(("load", "most"), [(KEPT, 0.35), (NEW, 0.6)], ids=["kept", "new"])
def test_mail_of_a_crowd_shares_its_flushes(relay: MAKE, tmp_path: Path, load: Load, most: float) -> None:
    """Slow: 1,000 messages. A message alone takes two, one to accept it and one to record what became of it."""
    output, sink = tmp_path / "strace.txt", Sink(tmp_path)
    one = relay(**to_sink(sink))
    # -D: strace is the child of the relay, not its parent. seccomp: only these calls stop, the rest runs at full speed.
    one.wrapper = [*strace(output), "-D", "--seccomp-bpf", "-e", f"trace={','.join(FLUSHING)}"]
    one.start()
    with running(sink):
        hand_over(load, one, sink)
        assert one.terminate() == 0
    assert 0.02 < per_message(counted(output), FLUSHING) <= most


@pytest.mark.slow
@pytest.mark.parametrize(
    ("load", "sending", "receiving", "polling"),
    [(KEPT, 8.5, 8.5, 2.0), (NEW, 13.5, 11.5, 3.0)],
    ids=["kept", "new"],
)
def test_a_message_takes_few_system_calls(
    relay: MAKE, tmp_path: Path, load: Load, sending: float, receiving: float, polling: float
) -> None:
    """Slow: 1,000 messages, every call of the relay stopped twice.

    Most polls do not wait: a commit is gathered over turns of the loop, and under strace even an idle one is long.
    """
    output, sink = tmp_path / "strace.txt", Sink(tmp_path)
    one = relay(**to_sink(sink)).start()
    with running(sink):
        hand_over(load.warm(), one, sink)
        tracer = subprocess.Popen([*strace(output), "-p", str(one.pid)], stderr=subprocess.DEVNULL)
        try:
            until(lambda: traced(one.pid), 10, "strace is attached")
            hand_over(load, one, sink)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(20)
    calls = counted(output)
    assert per_message(calls, SENDING) <= sending, calls
    assert per_message(calls, RECEIVING) <= receiving, calls
    assert per_message(calls, POLLING) <= polling, calls


def traced(pid: int) -> bool:
    """Every thread of the process."""
    threads = [Path(f"/proc/{pid}/task/{name}/status") for name in os.listdir(f"/proc/{pid}/task")]  # noqa: PTH208
    return all("TracerPid:\t0" not in status.read_text() for status in threads)


async def test_twenty_at_once_take_few_statements(tmp_path: Path) -> None:
    """Accepted, handed to a worker, settled: with twenty in step two commits, each of one statement."""
    asked: list[str] = []

    def watch(connection: apsw.Connection) -> None:
        connection.trace_v2(
            apsw.SQLITE_TRACE_STMT, lambda event: None if event["trigger"] else asked.append(event["sql"])
        )

    apsw.connection_hooks.append(watch)
    try:
        hands = Hands("sqlite", tmp_path)
        await hands.open()
        asked.clear()
        for _ in range(MESSAGES // 20):
            await asyncio.gather(*[hands.accept() for _ in range(20)])
            await asyncio.gather(*[hands.settle(delivered(lease)) for lease in await hands.claim()])
        await hands.spool.close()
    finally:
        apsw.connection_hooks.remove(watch)
    assert 2 * MESSAGES / 20 <= len(asked) <= 4 * MESSAGES / 20
