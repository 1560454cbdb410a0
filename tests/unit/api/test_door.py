"""When the HTTP side is loaded, and that its sockets are never left behind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from relay.api.door import Door
from relay.api.parts import ApiParts, Readiness
from relay.api.sockets import control_socket, tcp_socket
from tests.desk import FakeDesk, FakeExplain
from tests.web import request

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
Loop = Callable[[], asyncio.AbstractEventLoop]


async def ready() -> Readiness:
    return Readiness(mode="relay", checks={"spool": "ok"})


async def metrics() -> bytes:
    return b""


PARTS = ApiParts(
    desk=FakeDesk(),
    explain=FakeExplain(),
    readiness=ready,
    metrics=metrics,
    providers=lambda: (),
    clock=lambda: 0.0,
    version="0.1.0",
)


@LOOPS
def test_the_first_knock_on_the_control_socket_is_answered(loop: Loop, tmp_path: Path) -> None:
    async def scenario() -> list[int]:
        door = Door(PARTS, tcp=None, control=control_socket(tmp_path / "s"))
        await door.start()
        crowd = await asyncio.gather(*(request(tmp_path / "s", "/readyz") for _ in range(5)))
        await door.stop()
        await door.stop()
        return [answer.status for answer in crowd]

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(scenario()) == [200] * 5
    assert not (tmp_path / "s").exists()


@LOOPS
def test_nobody_knocked(loop: Loop, tmp_path: Path) -> None:
    async def scenario() -> None:
        door = Door(PARTS, tcp=None, control=control_socket(tmp_path / "s"))
        await door.start()
        await door.stop()
        await door.stop()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())
    assert not (tmp_path / "s").exists()


async def test_with_tcp_both_are_served_from_the_start(tmp_path: Path) -> None:
    tcp = tcp_socket("127.0.0.1", 0)
    port = tcp.getsockname()[1]
    door = Door(PARTS, tcp=tcp, control=control_socket(tmp_path / "s"))
    await door.start()
    assert [(await request(where, "/readyz")).status for where in (port, tmp_path / "s")] == [200, 200]
    await door.stop()
    tcp_socket("127.0.0.1", port).close()


async def test_stopped_before_it_was_started(tmp_path: Path) -> None:
    """Something else did not start."""
    tcp = tcp_socket("127.0.0.1", 0)
    port = tcp.getsockname()[1]
    await Door(PARTS, tcp=tcp, control=control_socket(tmp_path / "s")).stop()
    assert not (tmp_path / "s").exists()
    tcp_socket("127.0.0.1", port).close()


async def test_stopped_while_it_opens(tmp_path: Path) -> None:
    door = Door(PARTS, tcp=None, control=control_socket(tmp_path / "s"))
    await door.start()
    asking = asyncio.create_task(request(tmp_path / "s", "/readyz"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await door.stop()
    assert not (tmp_path / "s").exists()
    await asyncio.gather(asking, return_exceptions=True)


def test_a_relay_is_there_before_fastapi_and_uvicorn_are() -> None:
    program = "import relay.app, sys; print(sorted({'fastapi', 'uvicorn', 'starlette'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
