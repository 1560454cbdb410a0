"""The sandbox's process from outside: what it inherits, what it may, what is left of it on either loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from sandboxes import ENDLESS, children, descriptors, processes, read

from relay.automation.jobs import Job, Text
from relay.automation.renderer import Renderer

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks at processes by /proc")

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])

Loop = Callable[[], asyncio.AbstractEventLoop]


def _job(source: str) -> Job:
    return Job(texts=(Text(place=("body",), source=source),))


@contextlib.contextmanager
def _inheritable() -> Iterator[None]:
    """A descriptor of the relay that every program would get, as those that its own parent gave it."""
    with socket.socket() as leaked:
        leaked.set_inheritable(True)
        yield


@LOOPS
def test_H3_it_has_nothing_may_open_nothing_and_knows_nothing(loop: Loop) -> None:
    async def look() -> None:
        renderer, before = Renderer(), set(processes())
        await renderer.render([_job("x")], {})
        (pid,) = set(processes()) - before
        _shut_in(pid)
        await renderer.close()

    with _inheritable(), asyncio.Runner(loop_factory=loop) as runner:
        runner.run(look())


def _shut_in(pid: int) -> None:
    assert read(pid, "environ").strip(b"\0") in (b"", b"LC_CTYPE=C.UTF-8")  # which Python sets itself
    assert descriptors(pid) == {"0", "1", "2"}
    assert Path(f"/proc/{pid}/fd/2").readlink() == Path("/dev/null")
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    assert os.getsid(pid) == pid
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC):
        assert resource.prlimit(pid, limit) == (0, 0)
    assert resource.prlimit(pid, resource.RLIMIT_AS)[1] < 300 << 20


@LOOPS
def test_nothing_is_left_of_processes_that_were_killed(loop: Loop) -> None:
    async def work() -> None:
        renderer = Renderer(seconds=0.1)
        for _ in range(3):
            slow, fine = await renderer.render([_job(ENDLESS), _job("fine")], {})
            assert slow.problem and slow.problem.text.startswith("took longer than 0.1 s")
            assert fine.values == ("fine",)
        await renderer.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(work())

    run()  # what a loop itself opens once is open then
    before = children(os.getpid()), descriptors(os.getpid())
    run()
    assert (children(os.getpid()), descriptors(os.getpid())) == before


RELAY = f"""
import asyncio, uvloop
from relay.automation.jobs import Job, Text
from relay.automation.renderer import Renderer

def job(source):
    return Job(texts=(Text(place=(), source=source),))

async def main():
    renderer = Renderer(seconds=0.5, in_all=99)
    busy = asyncio.create_task(renderer.render([job({ENDLESS!r})] * 99, {{}}))
    await renderer.render([job("x")], {{}})
    print("ready", flush=True)
    await busy

uvloop.run(main())
"""


def test_H3_it_does_not_outlive_a_relay_that_is_killed() -> None:
    relay = subprocess.Popen([sys.executable, "-c", RELAY], stdout=subprocess.PIPE)
    with relay, contextlib.ExitStack() as opened:
        assert relay.stdout and relay.stdout.readline() == b"ready\n"
        watched = [os.pidfd_open(pid) for pid in processes(relay.pid)]
        for descriptor in watched:
            opened.callback(os.close, descriptor)
        assert len(watched) == 2  # one waits to be asked, one is in a loop without end
        relay.kill()
        for descriptor in watched:
            assert select.select([descriptor], [], [], 10)[0]
