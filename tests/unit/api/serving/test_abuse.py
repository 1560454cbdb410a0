"""What a client may send: heads and bodies of every kind, and memory that stays flat (hazard H6)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from relay.api.serving.connection import MAX_FIELDS, MAX_HEAD, REST
from tests.serving import POST, Served, answer, connected, said, serving


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as found:
        yield found


async def flood(served: Served, head: bytes, piece: bytes, most: int) -> tuple[int, int]:
    """Write for ever; gives the status and how many bytes were written before it came."""
    async with asyncio.timeout(10), connected(served) as (reader, writer):
        coming = asyncio.create_task(answer(reader))
        writer.write(head)
        written = 0
        with contextlib.suppress(ConnectionError):
            while not coming.done() and written < most:
                writer.write(piece)
                await writer.drain()
                written += len(piece)
                await asyncio.sleep(0)
        return (await coming)[0], written


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# Heads.


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"GET /", b"a" * 1000),
        (b"GET / HTTP/1.1\r\nX: ", b"a" * 1000),
        (b"GET / HTTP/1.1\r\n", b"X: " + b"a" * 1000 + b"\r\n"),
        (b"GET / HTTP/1.1\r\n", b"x:\r\n" * 100),
        (b"", b"\r\n" * 500),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1;", b"e" * 1000),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: " + b"a" * 1000 + b"\r\n"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"a" * 1000),
    ],
    ids=["url", "field", "fields", "number", "empty lines", "chunk extension", "trailers", "trailer"],
)
async def test_H6_an_endless_head_is_431_and_memory_is_flat(served, head, piece):
    await flood(served, head, piece, 50_000_000)
    before = resident()
    for _ in range(10):
        status, written = await flood(served, head, piece, 50_000_000)
        assert (status, written < 8_000_000) == (431, True)  # the kernel's buffers hold some megabytes
    assert resident() - before < 20_000_000


async def test_a_head_may_have_what_is_allowed(served):
    fields = b"".join(b"x-%d: y\r\n" % number for number in range(MAX_FIELDS - 2))
    long = b"x: " + b"y" * (MAX_HEAD - 200) + b"\r\n"
    for more in (fields, long):
        raw = b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + more + b"\r\n"
        assert [(status, body) for status, _, body in await said(served, raw)] == [(200, b"/ok")]


@pytest.mark.parametrize(
    "raw",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 9999999999999999999999\r\n\r\n",
        POST + b"Transfer-Encoding: gzip\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_not_http_is_400(served, raw):
    [(status, fields, body)] = await said(served, raw)
    assert (status, fields["content-type"], fields["connection"]) == (400, "application/problem+json", "close")
    assert json.loads(body)["status"] == 400


@pytest.mark.parametrize("raw", [b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_targets_that_are_no_path_are_answered(served, raw):
    assert (await said(served, raw + b"GET / HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n"))[0][0] in (
        200,
        400,
        405,
    )


async def test_trailers_are_dropped(served):
    raw = b"POST /fields HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    [(_, _, body)] = await said(served, raw + b"1\r\na\r\n0\r\nAuthorization: Bearer x\r\n\r\n")
    assert json.loads(body) == ["host", "connection", "transfer-encoding"]


async def test_http_1_0_head_and_half_close(served):
    assert [a[2] for a in await said(served, b"GET /old HTTP/1.0\r\n\r\n")] == [b"/old"]
    async with connected(served) as (reader, writer):
        writer.write(b"HEAD /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"content-length: 2\r\nconnection: close\r\n\r\n")
    async with connected(served) as (reader, writer):
        writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        writer.write_eof()
        await asyncio.sleep(0.02)
        served.go.set()
        assert (await answer(reader))[2] == b"waited"
        assert await reader.read() == b""


async def test_an_offer_of_http_2_is_not_taken_up_and_the_connection_goes_on(served):
    """Java's client offers it by default, with its first request, whatever that is."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
    async with asyncio.timeout(5), connected(served) as (reader, writer):
        for _ in range(2):
            writer.write(POST + offer + b"Content-Length: 3\r\n\r\nabc" + POST + b"Content-Length: 2\r\n\r\nde")
            assert [(await answer(reader))[2], (await answer(reader))[2]] == [b"abc", b"de"]


# Bodies.


async def test_H6_an_endless_body_is_413_and_memory_is_flat(served):
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    piece = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    await flood(served, head, piece, 1_000_000)
    before = resident()
    for _ in range(10):
        status, written = await flood(served, head, piece, 100_000_000)
        assert (status, written < 20_000_000) == (413, True)
    assert resident() - before < 20_000_000


async def test_H6_a_declared_body_is_refused_before_it_is_sent(served):
    async with asyncio.timeout(5), connected(served) as (reader, writer):
        writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 1000000\r\n\r\n")
        status, fields, _ = await answer(reader)
        assert (status, fields["connection"]) == (413, "close")
    async with asyncio.timeout(5), connected(served) as (reader, writer):
        writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert (await answer(reader))[2] == b"abc"


async def test_an_answer_before_the_body_is_not_lost_by_a_reset(served):
    """Python's own client, among others, sends the whole of it first."""
    async with asyncio.timeout(5), connected(served) as (reader, writer):
        writer.write(POST + b"Content-Length: 8000000\r\n\r\n")
        for _ in range(80):
            writer.write(b"x" * 100_000)
            await writer.drain()
        assert (await answer(reader))[0] == 413
        assert await reader.read() == b""


async def test_what_nobody_asked_for_is_read_for_a_while_only(served):
    async with asyncio.timeout(5), connected(served) as (reader, writer):
        writer.write(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        assert (await answer(reader))[0] == 200
        writer.write(b"67890GET /next HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await answer(reader))[2] == b"/next"
        writer.write(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        assert (await answer(reader))[0] == 200
        served.later(REST + 1)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
