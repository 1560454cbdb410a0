"""Clients that speak raw bytes to a relay process, many at once: what is sent is exactly what a test says.

Used by the inbound tests of this folder, in the test's own event loop. It interprets nothing but where a reply ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import ssl
import struct
import termios
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")
SECONDS = 30.0


class Client:
    """One connection. `door`: a port of 127.0.0.1 or the path of a unix socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.socket = writer.get_extra_info("socket")

    @classmethod
    async def knock(cls, door: int | Path, tls: ssl.SSLContext | None = None) -> Client:
        """Connect; the banner is not read yet."""
        if isinstance(door, Path):
            return cls(*await asyncio.open_unix_connection(str(door)))
        return cls(
            *await asyncio.open_connection("127.0.0.1", door, ssl=tls, server_hostname="localhost" if tls else None)
        )

    async def greeted(self) -> Client:
        await self.expect(b"220")
        self.send(b"EHLO client.test\r\n")
        await self.expect(b"250")
        return self

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def send_apart(self, pieces: Iterable[bytes]) -> None:
        """Over a unix socket: each piece only when the relay has read the one before, so that it sees them apart."""
        assert self.socket.family == socket.AF_UNIX
        for piece in pieces:
            self.writer.write(piece)
            while self._unread():  # noqa: ASYNC110 - the kernel has no event for it
                await asyncio.sleep(0.0005)

    def _unread(self) -> bool:
        if self.writer.is_closing():
            return False
        if self.writer.transport.get_write_buffer_size():
            return True
        return bool(struct.unpack("i", fcntl.ioctl(self.socket.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0])

    async def reply(self) -> bytes:
        """The last line of the next reply; b"" when the relay closed."""
        while True:
            async with asyncio.timeout(SECONDS):
                line = await self.reader.readline()
            if line[3:4] != b"-":
                return line

    async def codes(self, count: int) -> list[bytes]:
        return [(await self.reply())[:3] for _ in range(count)]

    async def expect(self, *codes: bytes) -> list[bytes]:
        """The next replies, which must have these codes."""
        replies = [await self.reply() for _ in codes]
        assert [reply[:3] for reply in replies] == list(codes), replies
        return replies

    async def say(self, line: bytes) -> bytes:
        self.send(line + b"\r\n")
        return await self.reply()

    async def rest(self) -> bytes:
        """Everything until the relay closes."""
        said = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(SECONDS):
                while more := await self.reader.read(65536):
                    said += more
        return said

    async def quit(self) -> None:
        """QUIT must be answered by 221 and the end: neither too few nor too many replies came before."""
        self.send(b"QUIT\r\n")
        said = await self.rest()
        assert said == b"221 2.0.0 Bye\r\n", said
        self.writer.close()

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def opened(door: int | Path, tls: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    """A client that heard nothing yet."""
    client = await Client.knock(door, tls)
    try:
        yield client
    finally:
        client.writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await client.writer.wait_closed()


@contextlib.asynccontextmanager
async def connected(door: int | Path, tls: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    """A client that said EHLO."""
    async with opened(door, tls) as client:
        yield await client.greeted()


async def until(condition: Callable[[], T], seconds: float, what: str) -> T:
    """As `waiting.until`, while the loop of the test goes on."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() >= deadline:
            pytest.fail(f"after {seconds:g} s still not: {what} (last seen: {value!r})")
        await asyncio.sleep(0.03)
    return value
