"""How long a client may take, in which order it is answered, and who waits when too many come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from relay.api.serving.connection import HEAD, HURRIED, KEPT, MAX_LINE, REST, SILENCE
from tests.serving import POST, Served, answer, connected, said, serving


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as found:
        yield found


# Patience.


async def test_H6_a_slow_head_is_408(served):
    async with asyncio.timeout(5), connected(served) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        await asyncio.sleep(0.02)
        served.later(HEAD - 1)
        writer.write(b"y\r\nY:")  # a byte now and then buys no time
        await asyncio.sleep(0.02)
        served.later(HEAD + 0.01)
        assert (await answer(reader))[0] == 408
        assert await reader.read() == b""


async def test_who_says_nothing_is_let_go(served):
    async with asyncio.timeout(5), connected(served) as (reader, _), connected(served) as (kept, writer):
        writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await answer(kept))[0] == 200
        served.later(KEPT - 0.5)
        served.later(KEPT + 0.5)
        assert await kept.read() == b""
        served.later(HEAD + 0.1)
        assert await reader.read() == b""


async def test_H6_what_lies_in_the_kernel_while_we_are_late_is_read(served):
    """A loop that was busy for seconds looks at its clients before it reads what they sent."""
    async with asyncio.timeout(5), connected(served) as (reader, writer):
        writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        served.gate.look(asyncio.get_running_loop().time() + HEAD + 5)
        assert (await answer(reader))[0] == 200


async def test_H6_a_body_that_stops_or_trickles_is_408(served):
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(5), connected(served) as (reader, writer):
        writer.write(POST + b"Content-Length: 1000\r\n\r\n")
        await asyncio.sleep(0.02)
        began = loop.time()
        for _ in range(20):
            writer.write(b"x")
            await asyncio.sleep(0.01)
        served.gate.look(began + SILENCE - 0.5)
        served.gate.look(began + SILENCE + 0.1)
        assert (await answer(reader))[0] == 408
    await asyncio.sleep(0.01)
    assert served.went == 1  # the application was told


async def test_H6_who_does_not_read_is_cut_off(served):
    async with asyncio.timeout(5), connected(served) as (reader, writer):
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readexactly(1)
        served.later(SILENCE + 1)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(30_000_000)


async def test_work_of_ours_is_never_too_slow(served):
    async with asyncio.timeout(5), connected(served) as (reader, writer):
        writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.02)
        served.later(3600)
        served.go.set()
        assert (await answer(reader))[2] == b"waited"


# Order.


async def test_pipelined_requests_are_answered_in_their_order(served):
    one = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
    async with asyncio.timeout(5), connected(served) as (reader, writer):
        writer.write(one + b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(10)))
        await asyncio.sleep(0.02)
        served.go.set()
        assert [(await answer(reader))[2] for _ in range(11)] == [b"waited", *(b"/%d" % n for n in range(10))]


@pytest.mark.parametrize(
    ("second", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: %s\r\n" % (b"x" * 1000) * 40, 431),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
async def test_a_refusal_waits_for_the_answers_before_it(served, second, status):
    async with asyncio.timeout(5), connected(served) as (reader, writer):
        writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.02)
        writer.write(second)
        await asyncio.sleep(0.02)
        served.go.set()
        assert (await answer(reader))[2] == b"waited"
        assert (await answer(reader))[0] == status
        assert await reader.read() == b""


async def test_H6_a_long_line_of_requests_is_cut(served):
    one = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
    async with asyncio.timeout(5), connected(served) as (reader, writer):
        writer.write(one * 10_000)
        await asyncio.sleep(0.05)
        served.go.set()
        answers = [await answer(reader) for _ in range(MAX_LINE + 2)]
        assert [status for status, _, _ in answers] == [200] * (MAX_LINE + 1) + [429]
        assert answers[-1][1]["retry-after"] == "1"


# The crowd.


async def test_beyond_the_bound_clients_wait_and_come_in_when_others_go(served):
    raw = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
    crowd = [asyncio.create_task(said(served, raw)) for _ in range(60)]
    await asyncio.sleep(0.1)
    assert served.gate.pressed
    served.go.set()
    answers = await asyncio.gather(*crowd)
    assert [one[0][2] for one in answers] == [b"waited"] * 60
    assert sum(one[0][1].get("connection") == "close" for one in answers) >= 40  # others waited


async def test_H6_slowloris_locks_nobody_out(served):
    async with asyncio.timeout(5), contextlib.AsyncExitStack() as stack:
        for _ in range(40):
            _, writer = await stack.enter_async_context(connected(served))
            writer.write(b"GET / HTTP/1.1\r\nX: ")
        honest = asyncio.create_task(said(served, b"GET /me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
        await asyncio.sleep(0.05)
        assert served.gate.pressed
        for _ in range(4):
            served.later(HURRIED + 0.1)
            await asyncio.sleep(0.05)
            served.later(REST + 0.1)
            await asyncio.sleep(0.05)
        assert (await honest)[0][2] == b"/me"
