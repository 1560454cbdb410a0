"""An upstream that writes down the raw bytes of every transaction: command lines as they came, bodies still stuffed.

Used by the inbound tests, in the test's own event loop. It judges nothing; what is no command of ours is a stray.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from waiting import free_port

OFFERS = ("PIPELINING", "SIZE 104857600", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN")
END = b"\r\n.\r\n"
MARK = b"X-Ledger: "


@dataclass
class Taken:
    """`mail`, `rcpt`: whole command lines. `wire`: from 354 to the final dot, as long as `keep` allows, then cut.

    `digest`: SHA-256 from the line that begins with the mark on, `size` bytes in all; both without unstuffing.
    """

    mail: bytes
    rcpt: tuple[bytes, ...]
    wire: bytes = b""
    size: int = 0
    digest: str = ""

    @property
    def sender(self) -> bytes:
        return path(self.mail)

    @property
    def recipients(self) -> tuple[bytes, ...]:
        return tuple(path(line) for line in self.rcpt)


def path(line: bytes) -> bytes:
    """What is between the angle brackets of a MAIL or RCPT."""
    return line[line.index(b"<") + 1 : line.index(b">")]


@dataclass
class Scribe:
    """Use it with `async with`. `refuse`: what to answer to an RCPT line instead of 250."""

    offers: tuple[str, ...] = OFFERS
    keep: int = 1 << 20
    refuse: Callable[[bytes], bytes] = lambda line: b""
    port: int = field(default_factory=free_port)
    taken: list[Taken] = field(default_factory=list)
    strays: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._accept)
        self._arriving: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.Transport] = set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._loop.remove_reader(self._listener)
        self._listener.close()
        while self._arriving:
            await asyncio.wait(self._arriving)
        for transport in tuple(self._open):
            transport.abort()
        await asyncio.sleep(0)

    def _accept(self) -> None:
        """By hand: a server of asyncio's that is closed while it accepts forgets the connection and leaves it open."""
        with contextlib.suppress(BlockingIOError):
            sock, _ = self._listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio only does so for its own
            arrival = self._loop.create_task(self._attend(sock))
            self._arriving.add(arrival)
            arrival.add_done_callback(self._arriving.discard)

    async def _attend(self, sock: socket.socket) -> None:
        """The session begins before this returns, so whoever waits for it finds the transport in `_open`."""
        sock.setblocking(False)
        await self._loop.connect_accepted_socket(lambda: _Session(self), sock)

    def to(self, recipient: bytes) -> list[Taken]:
        return [mail for mail in self.taken if recipient in mail.recipients]


class _Session(asyncio.Protocol):
    def __init__(self, scribe: Scribe) -> None:
        self.scribe = scribe
        self.buffer = b""
        self.mail, self.rcpt = b"", list[bytes]()
        self.body: _Body | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.scribe._open.add(transport)
        self.scribe.connections += 1
        transport.write(b"220 scribe.test ESMTP\r\n")

    def connection_lost(self, error: Exception | None) -> None:
        self.scribe._open.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        out: list[bytes] = []
        self.buffer += data
        while self.buffer:
            if self.body is not None:
                rest = self.body.feed(self.buffer)
                self.buffer = rest or b""
                if rest is None:
                    break
                self._keep(self.body)
                out.append(b"250 2.0.0 Ok: written down\r\n")
            else:
                line, end, rest = self.buffer.partition(b"\r\n")
                if not end:
                    break
                self.buffer = rest
                out.append(self._answer(line))
        if out:
            self.transport.write(b"".join(out))

    def _keep(self, body: _Body) -> None:
        self.body = None
        self.scribe.taken.append(
            Taken(self.mail, tuple(self.rcpt), bytes(body.kept), body.size, body.hash.hexdigest() if body.hash else "")
        )
        self.mail, self.rcpt = b"", []

    def _answer(self, line: bytes) -> bytes:
        verb = line[:5].upper().strip()
        if verb == b"EHLO":
            *more, last = ("scribe.test", *self.scribe.offers)
            return "".join([*(f"250-{word}\r\n" for word in more), f"250 {last}\r\n"]).encode()
        if verb == b"MAIL":
            self.mail, self.rcpt = line, []
        elif verb == b"RCPT":
            refusal = self.scribe.refuse(line)
            if refusal:
                return refusal + b"\r\n"
            self.rcpt.append(line)
        elif verb == b"DATA" and self.rcpt:
            self.body = _Body(self.scribe.keep)
            return b"354 Go on\r\n"
        elif verb == b"DATA":
            return b"554 5.5.1 No valid recipients\r\n"
        elif verb == b"QUIT":
            self.transport.write(b"221 2.0.0 Bye\r\n")
            self.transport.close()
            return b""
        elif verb != b"RSET":
            self.scribe.strays.append(line)
            return b"500 5.5.2 What\r\n"
        return b"250 2.0.0 Ok\r\n"


class _Body:
    """Finds CRLF.CRLF in a stream. Nothing but the first bytes is kept; the rest is counted and digested."""

    def __init__(self, keep: int) -> None:
        self.kept = bytearray()
        self.size = 0
        self.hash: hashlib._Hash | None = None
        self._keep = keep
        self._held = b"\r\n"
        self._virtual = 2

    def feed(self, data: bytes) -> bytes | None:
        """What follows the end, or None: it has not come yet."""
        window = self._held + data
        end = window.find(END)
        if end < 0:
            self._held = window[-4:]
            self._take(window[:-4])
            return None
        self._take(window[: end + 2])
        return window[end + len(END) :]

    def _take(self, piece: bytes) -> None:
        virtual = min(self._virtual, len(piece))
        self._virtual -= virtual
        piece = piece[virtual:]
        self.size += len(piece)
        if self.hash is not None:
            self.hash.update(piece)
        elif MARK in (begin := bytes(self.kept[: self._keep]) + piece):
            self.hash = hashlib.sha256(begin[begin.index(MARK) :])
        if len(self.kept) < self._keep:
            self.kept += piece[: self._keep - len(self.kept)]
