"""An upstream that remembers: every transaction it took, byte for byte and when, with replies a test can set.

For tests that count (kill -9, rate limits, partial results); Postfix and smtp-sink are the upstreams for the rest.
It runs an asyncio loop in a thread of the test process, and never verifies anything but AUTH PLAIN.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from waiting import free_port, until

OFFERS = ("PIPELINING", "SIZE 104857600", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN")


@dataclass(frozen=True)
class Taken:
    """A transaction that got its 250. `data` is unstuffed with CRLF, `at` the monotonic time of the final dot."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes
    at: float
    connection: int


@dataclass
class Script:
    """What the upstream answers; a test may change it at any time. "" means the usual reply."""

    offers: tuple[str, ...] = OFFERS
    login: tuple[str, str] | None = None
    mail: str = ""
    recipients: dict[str, str] = field(default_factory=dict)
    dot: str = ""
    dot_delay: float = 0.0
    vanish_after_dot: int = 0
    """So many times: record the message, then close instead of answering the dot."""


class Ledger:
    """`taken` grows as messages arrive. `stop()` frees the port and drops its connections; `start()` takes it again.

    `dots` counts final dots as they come in, before they are answered; `most_open` is the most connections
    there were at once.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.script = Script()
        self.taken: list[Taken] = []
        self.refused: list[tuple[str, str]] = []
        self.connections = 0
        self.dots = 0
        self.most_open = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._listener: socket.socket | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._run(self._listen())

    def stop(self) -> None:
        self._run(self._shut())

    def remove(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def wait_for(self, count: int, seconds: float = 15) -> list[Taken]:
        """Wait until at least `count` transactions were taken, and give them."""
        until(lambda: len(self.taken) >= count, seconds, f"{count} transaction(s) upstream, {len(self.taken)} seen")
        return list(self.taken)

    def to(self, recipient: str) -> list[Taken]:
        return [mail for mail in self.taken if recipient in mail.recipients]

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._listener = listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept, listener)

    async def _shut(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            self._loop.remove_reader(listener)
            listener.close()
        while self._sessions:
            for session in self._sessions:
                session.cancel()
            await asyncio.wait(self._sessions)
        await asyncio.sleep(0)  # for the sockets of the last ones

    def _accept(self, listener: socket.socket) -> None:
        """By hand: a server of asyncio's that is closed while it accepts forgets the connection and leaves it open."""
        with contextlib.suppress(BlockingIOError):
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio only does so for its own
            session = self._loop.create_task(self._attend(sock))
            self._sessions.add(session)
            session.add_done_callback(lambda session: self._ended(session, sock))
            self.connections += 1
            self.most_open = max(self.most_open, len(self._sessions))

    def _ended(self, session: asyncio.Task[None], sock: socket.socket) -> None:
        """Also one that was cancelled before it began."""
        self._sessions.discard(session)
        sock.close()

    async def _attend(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        reader = asyncio.StreamReader(limit=128 * 1024 * 1024)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, sock)
        writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
        try:
            await _Session(self, reader, writer, self.connections).run()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            transport.abort()
        else:
            writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


class _Session:
    def __init__(self, ledger: Ledger, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.ledger, self.reader, self.writer, self.number = ledger, reader, writer, number
        self.sender, self.recipients = "", list[str]()

    async def run(self) -> None:
        self._say("220 ledger.test ESMTP")
        while True:
            line = (await self.reader.readuntil(b"\r\n")).decode("utf-8", "surrogateescape").rstrip("\r\n")
            verb, _, rest = line.partition(" ")
            if verb.upper() == "QUIT":
                self._say("221 2.0.0 Bye")
                return
            if verb.upper() == "DATA" and self.recipients:
                await self._data()
            else:
                self._say(self._answer(verb.upper(), rest))

    def _say(self, reply: str) -> None:
        self.writer.write(reply.encode("utf-8", "surrogateescape") + b"\r\n")

    def _answer(self, verb: str, rest: str) -> str:
        script = self.ledger.script
        if verb == "EHLO":
            offers = [*script.offers, *(["AUTH PLAIN"] if script.login else [])]
            return "\r\n".join(["250-ledger.test", *(f"250-{offer}" for offer in offers[:-1]), f"250 {offers[-1]}"])
        if verb == "AUTH":
            expected = base64.b64encode(("\0" + "\0".join(script.login or ())).encode()).decode()
            return (
                "235 2.7.0 Welcome" if rest == f"PLAIN {expected}" else "535 5.7.8 Username and password not accepted"
            )
        if verb == "MAIL":
            self.sender, self.recipients = _path(rest), []
            return script.mail or "250 2.1.0 Ok"
        if verb == "RCPT":
            return self._rcpt(_path(rest))
        if verb == "RSET":
            self.sender, self.recipients = "", []
        return "503 5.5.1 No valid recipients" if verb == "DATA" else "250 2.0.0 Ok"

    def _rcpt(self, address: str) -> str:
        reply = self.ledger.script.recipients.get(address, "250 2.1.5 Ok")
        if reply.startswith("2"):
            self.recipients.append(address)
        else:
            self.ledger.refused.append((address, reply))
        return reply

    async def _data(self) -> None:
        self._say("354 Go on")
        script, body = self.ledger.script, bytearray(b"\r\n")
        while not body.endswith(b"\r\n.\r\n"):
            body += await self.reader.readuntil(b".\r\n")
        at = time.monotonic()
        self.ledger.dots += 1
        if script.dot_delay:
            await asyncio.sleep(script.dot_delay)
        if not script.dot:
            data = bytes(body[: -len(b".\r\n")]).replace(b"\r\n..", b"\r\n.")[2:]
            self.ledger.taken.append(Taken(self.sender, tuple(self.recipients), data, at, self.number))
        if script.vanish_after_dot:
            script.vanish_after_dot -= 1
            raise ConnectionAbortedError
        self._say(script.dot or f"250 2.0.0 Ok: taken as {len(self.ledger.taken)}")
        self.sender, self.recipients = "", []


def _path(rest: str) -> str:
    """The address of `FROM:<a@b> SIZE=1` or `TO:<a@b>`."""
    return rest[rest.index("<") + 1 : rest.rindex(">") if " " not in rest else rest.index(">")]


def wait_until_refused(ledger: Ledger, count: int, seconds: float = 15) -> list[tuple[str, str]]:
    """Wait until the ledger refused `count` recipients."""
    until(lambda: len(ledger.refused) >= count, seconds, f"{count} refused recipient(s)")
    return list(ledger.refused)
