"""The benchmark's own upstream and path: they count what they took, in order, whatever the segments are."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from bench.path import Near
from bench.sink import CREDENTIALS, Session


class Counted:
    def __init__(self) -> None:
        self.messages = 0

    def add(self) -> None:
        self.messages += 1


@contextlib.asynccontextmanager
async def sink(*, chunking: bool = False) -> AsyncIterator[tuple[int, Counted]]:
    count = Counted()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Session(count.add, chunking, None), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], count
    finally:
        server.close()
        await server.wait_closed()


async def talk(port: int, *segments: bytes) -> list[bytes]:
    """Send them, one after the other, and give the codes of all replies."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for segment in segments:
        writer.write(segment)
        await writer.drain()
        await asyncio.sleep(0)
    replies = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    return [line[:3] for line in replies.splitlines() if line[3:4] != b"-"]


WHOLE = (
    b"EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nSubject: x\r\n\r\n..\r\n.\r\n"
    b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n.\r\nQUIT\r\n"
)
CHUNKED = (
    b"EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 9\r\n.\r\nQUIT\r\nBDAT 0 LAST\r\nBDAT 3 LAST\r\n\r\n.QUIT\r\n"
)


async def test_two_messages_in_one_segment() -> None:
    async with sink() as (port, count):
        codes = await talk(port, WHOLE)
    assert codes == [b"220", b"250", b"250", b"250", b"354", b"250", b"250", b"250", b"354", b"250", b"221"]
    assert count.messages == 2


async def test_the_same_byte_by_byte() -> None:
    async with sink() as (port, count):
        codes = await talk(port, *(WHOLE[n : n + 1] for n in range(len(WHOLE))))
    assert len(codes) == 11
    assert count.messages == 2


async def test_chunks_are_counted_by_length_and_answered_each() -> None:
    async with sink(chunking=True) as (port, count):
        codes = await talk(port, CHUNKED)
    assert codes == [b"220", b"250", b"250", b"250", b"250", b"250", b"250", b"221"]
    assert count.messages == 2


@pytest.mark.parametrize(("given", "code"), [(CREDENTIALS, b"235"), (b"d3Jvbmc=", b"535")])
async def test_only_the_right_password_is_taken(given: bytes, code: bytes) -> None:
    async with sink() as (port, _):
        assert await talk(port, b"AUTH PLAIN " + given + b"\r\nQUIT\r\n") == [b"220", code, b"221"]


async def test_a_path_keeps_bytes_and_order_and_takes_its_time() -> None:
    loop = asyncio.get_running_loop()
    async with sink() as (port, count):
        server = await loop.create_server(lambda: Near(port, 0.01), "127.0.0.1", 0)
        began = loop.time()
        codes = await talk(server.sockets[0].getsockname()[1], *(WHOLE[n : n + 7] for n in range(0, len(WHOLE), 7)))
        took = loop.time() - began
        server.close()
        await server.wait_closed()
    assert len(codes) == 11
    assert count.messages == 2
    assert took >= 0.04  # TCP's handshake and the banner
