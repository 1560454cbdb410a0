"""When the HTTP side is loaded, and that its sockets are never left behind."""

from __future__ import annotations

import asyncio
import errno
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import uvloop

from relay.api.operations.queue import Operations
from relay.api.parts import ApiParts
from relay.api.serving.door import Door
from relay.api.serving.sockets import control_socket, tcp_socket
from tests.parts import parts
from tests.web import request

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
Loop = Callable[[], asyncio.AbstractEventLoop]


def unexpected(error: BaseException) -> None:
    raise AssertionError from error


PARTS = parts()


@LOOPS
def test_the_first_knock_on_the_control_socket_is_answered(loop: Loop, tmp_path: Path) -> None:
    async def scenario() -> list[int]:
        door = Door(PARTS, tcp=None, control=control_socket(tmp_path / "s"), failed=unexpected)
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
        door = Door(PARTS, tcp=None, control=control_socket(tmp_path / "s"), failed=unexpected)
        await door.start()
        await door.stop()
        await door.stop()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())
    assert not (tmp_path / "s").exists()


async def test_with_tcp_both_are_served_from_the_start(tmp_path: Path) -> None:
    tcp = tcp_socket("127.0.0.1", 0)
    port = tcp.getsockname()[1]
    door = Door(PARTS, tcp=tcp, control=control_socket(tmp_path / "s"), failed=unexpected)
    await door.start()
    assert [(await request(where, "/readyz")).status for where in (port, tmp_path / "s")] == [200, 200]
    await door.stop()
    tcp_socket("127.0.0.1", port).close()


async def test_stopped_before_it_was_started(tmp_path: Path) -> None:
    """Something else did not start."""
    tcp = tcp_socket("127.0.0.1", 0)
    port = tcp.getsockname()[1]
    await Door(PARTS, tcp=tcp, control=control_socket(tmp_path / "s"), failed=unexpected).stop()
    assert not (tmp_path / "s").exists()
    tcp_socket("127.0.0.1", port).close()


async def test_stopped_while_it_opens(tmp_path: Path) -> None:
    door = Door(PARTS, tcp=None, control=control_socket(tmp_path / "s"), failed=unexpected)
    await door.start()
    asking = asyncio.create_task(request(tmp_path / "s", "/readyz"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await door.stop()
    assert not (tmp_path / "s").exists()
    await asyncio.gather(asking, return_exceptions=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moody(ApiParts):
    """Without a descriptor as long as nobody was told."""

    told: list[BaseException]

    @property
    def operations(self) -> Operations:
        if not self.told:
            raise OSError(errno.EMFILE, "Too many open files")
        return PARTS.operations


@LOOPS
def test_a_knock_that_cannot_be_answered_is_told_and_the_next_one_is(loop: Loop, tmp_path: Path) -> None:
    """Whoever knocked would wait for ever, and nobody would know why."""

    async def scenario() -> tuple[list[type[BaseException]], int]:
        failures: list[BaseException] = []
        parts = Moody(**{field.name: getattr(PARTS, field.name) for field in fields(PARTS)}, told=failures)
        door = Door(parts, tcp=None, control=control_socket(tmp_path / "s"), failed=failures.append)
        await door.start()
        async with asyncio.timeout(5):
            crowd = [request(tmp_path / "s", "/readyz") for _ in range(3)]
            assert all(isinstance(one, Exception) for one in await asyncio.gather(*crowd, return_exceptions=True))
            answer = await request(tmp_path / "s", "/readyz")
        await door.stop()
        return [type(failure) for failure in failures], answer.status

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(scenario()) == ([OSError], 200)
    assert not (tmp_path / "s").exists()


def test_a_relay_is_there_before_fastapi_and_uvicorn_are() -> None:
    program = "import relay.app.process, sys; print(sorted({'fastapi', 'uvicorn', 'starlette'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
