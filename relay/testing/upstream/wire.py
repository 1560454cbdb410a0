"""One TCP connection of a scripted upstream, with everything rude that can be done to it.

The session reads and writes through it. It knows no SMTP, and keeps what was read until the session took it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import ssl
from collections.abc import Callable, Iterator

_GLANCE = 0.05  # seconds between two looks at a connection that is not read from
_RESET = b"\x01\0\0\0\0\0\0\0"  # struct linger: on, 0 seconds, so that closing sends RST
_FAREWELL = 1.0  # seconds for the other side's half of TLS's good-bye
_HURT = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)
Tap = Callable[[str, bytes], None]


class Over(Exception):
    """This connection has ended, or is to end."""


class Wire(asyncio.Protocol):
    """`buffer`: what came and was not taken yet. `tap` sees every byte: "<" from the client, ">" to it.

    `patient`: it reads nothing until TLS begins or somebody reads.
    """

    def __init__(self, *, patient: bool = False, tap: Tap | None = None) -> None:
        self.buffer = bytearray()
        self._patient = patient
        self._tap = tap
        self._transport: asyncio.Transport | None = None
        self._clear: asyncio.Transport | None = None  # what TLS lies upon
        self._ended = False
        self._secure = False
        self._full = False
        self._waiter: asyncio.Future[None] | None = None

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # asyncio's are Transports, uvloop's look like them
        if self._patient:
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        if self._tap is not None:
            self._tap("<", data)
        self.buffer += data
        self._wake()

    def eof_received(self) -> bool:
        self._ended = True
        self._wake()
        return not self._secure  # in clear, what was asked before the end is still answered

    def connection_lost(self, error: Exception | None) -> None:
        self._ended = True
        self._full = False
        self._wake()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the session calls

    @property
    def connected(self) -> bool:
        """It is, or was: the socket is the transport's to close."""
        return self._transport is not None

    @property
    def transport(self) -> asyncio.Transport:
        if self._transport is None:
            raise Over
        return self._transport

    async def read(self) -> None:
        """Wait until there is more in the buffer. Over: nothing more will come."""
        if self._patient:
            self._patient = False
            self.transport.resume_reading()
        before = len(self.buffer)
        while len(self.buffer) == before:
            if self._ended:
                raise Over
            await self._changed()

    async def _changed(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def ignore(self) -> None:
        """Read and forget until the client ends it: then Over."""
        while True:
            self.buffer.clear()
            await self.read()

    async def wait(self, seconds: float) -> None:
        """Over, sooner, when the client does not wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._ended:
                    await self._changed()
                raise Over

    async def write(self, data: bytes) -> None:
        if self._tap is not None:
            self._tap(">", data)
        self.transport.write(data)
        while self._full:
            await self._changed()
        if self.transport.is_closing():
            raise Over

    async def drip(self, data: bytes, pause: float) -> None:
        for at in range(len(data)):
            await self.write(data[at : at + 1])
            await self.wait(pause)

    async def flood(self, data: bytes) -> None:
        """The same again and again; some MB a second, so that other connections live."""
        some = data * max(1, 4096 // len(data))
        while True:
            await self.write(some)
            await self.wait(0.001)

    def hold(self) -> None:
        """Read no more, until TLS begins or somebody reads: what comes now may be a handshake."""
        self._patient = True
        self.transport.pause_reading()

    async def spoken_to(self) -> None:
        """Wait until there is something to read, without reading it; only while held."""
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        with self._socket() as sock:
            loop.add_reader(sock, came.set)
            try:
                await came.wait()
            finally:
                loop.remove_reader(sock)

    async def encrypt(self, context: ssl.SSLContext) -> None:
        """The server's half of a handshake. What came before it in clear is forgotten (RFC 3207 4.2)."""
        self.buffer.clear()
        self._patient = False
        self._secure = True
        loop = asyncio.get_running_loop()
        secure = await loop.start_tls(self.transport, self, context, server_side=True, ssl_shutdown_timeout=_FAREWELL)
        if secure is None:
            raise Over
        self._transport, self._clear = secure, self._transport

    async def beneath(self, data: bytes) -> None:
        """Write under TLS. Only a few bytes: they go to the socket at once."""
        if self._tap is not None:
            self._tap(">", data)
        with self._socket() as sock:
            sock.send(data)

    async def stop_reading(self) -> None:
        """Until the client gives up: then Over."""
        self.transport.pause_reading()
        with self._socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            watch = select.poll()
            watch.register(sock, getattr(select, "POLLRDHUP", 0))
            # No event loop tells the end of a connection that it does not read from.
            while not any(event & _HURT for _, event in watch.poll(0)):  # noqa: ASYNC110
                await asyncio.sleep(_GLANCE)
        self.abort()  # asyncio never closes TLS whose end came while nobody read
        raise Over

    def half_close(self) -> None:
        with self._socket() as sock:
            sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End with RST: what the client has not read yet may be lost to it."""
        if self._transport is not None:
            with contextlib.suppress(OSError, Over), self._socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()

    def close(self) -> None:
        """FIN, after all that was written."""
        if self._transport is None:
            return
        if self._patient:  # unread, it would make an RST of the FIN
            with contextlib.suppress(OSError, Over), self._socket() as sock:
                sock.recv(1 << 20, socket.MSG_DONTWAIT)
        self._transport.close()

    def abort(self) -> None:
        """Gone with the next turn of the loop, whatever state it is in; may be said again."""
        for transport in {self._transport, self._clear}:
            if transport is not None:
                transport.abort()

    @contextlib.contextmanager
    def _socket(self) -> Iterator[socket.socket]:
        """The socket itself: event loops show a part of it only."""
        number = self.transport.get_extra_info("socket").fileno()
        if number < 0:
            raise Over
        with socket.socket(fileno=os.dup(number)) as sock:
            yield sock
