"""Waits are counted from when a message was due, whoever is late."""

from __future__ import annotations

import asyncio
import time

import pytest

from bench.paced import AGAIN, paced
from bench.waiting import Failed

LATE = 0.03


class Server:
    """Says its banners in turn, the last one from then on; takes LATE seconds to accept a message."""

    def __init__(self, *banners: bytes) -> None:
        self._banners = list(banners)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        banner = self._banners.pop(0) if len(self._banners) > 1 else self._banners[0]
        writer.write(banner)
        for reply in (b"250-me\r\n250 SIZE\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n") * banner.startswith(
            b"220"
        ):
            await reader.readline()
            writer.write(reply)
        if banner.startswith(b"220"):
            await reader.readuntil(b"\r\n.\r\n")
            await asyncio.sleep(LATE)
            writer.write(b"250 kept\r\n")
        await reader.read()
        writer.close()


async def waits(server: Server, messages: int) -> list[float]:
    async with await asyncio.start_server(server, "127.0.0.1", 0) as listening:
        return await paced(listening.sockets[0].getsockname()[1], 100, messages / 100)


async def test_a_wait_is_the_servers() -> None:
    began = time.monotonic()
    found = await waits(Server(b"220 me\r\n"), 3)

    assert len(found) == 3
    assert all(LATE <= wait <= time.monotonic() - began for wait in found)


async def test_being_turned_away_is_part_of_the_wait() -> None:
    (wait,) = await waits(Server(b"421 4.7.0 Too many connections\r\n", b"220 me\r\n"), 1)

    assert wait >= AGAIN + LATE


async def test_any_other_refusal_ends_the_measurement() -> None:
    with pytest.raises(Failed, match="554"):
        await waits(Server(b"554 5.7.1 no\r\n"), 1)
