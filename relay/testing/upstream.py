"""A scripted SMTP server for tests of what a provider may do, good and bad; shipped, so users can test their set-ups.

Tests start it in their own event loop: `async with ScriptedUpstream({"rcpt": [None, Say(450, "4.2.0 later")]}) as up:`.
It is no mail server: whatever it accepts it only remembers.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

OFFERS = ("PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN")
PHASES = frozenset(
    "connect banner ehlo starttls tls auth mail rcpt data body dot after rset quit".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class Say:
    """A well-formed reply. `text` begins with the enhanced code, if any; more lines after "\\n"."""

    code: int
    text: str = "5.0.0 scripted"


@dataclass(frozen=True, slots=True)
class Raw:
    """These very bytes: garbage, half a reply, two replies. `pause`: seconds between single bytes (a drip).

    `granted`: the usual reply is among them, so the command takes effect.
    """

    data: bytes
    pause: float = 0.0
    granted: bool = False


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection, after `last` was sent. `reset`: with RST instead of FIN."""

    last: bytes = b""
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Stall:
    """Say nothing and keep the connection, until it is closed or the server stops."""


Action = Say | Raw | Close | Stall
Script = Mapping[str, Action | Sequence[Action | None]]
"""Phase to what happens there: always, or at its first, second … time (None: as usual), then as usual again.

Phases: connect banner ehlo starttls tls auth mail rcpt data body dot after rset quit. "tls": instead of the handshake
after STARTTLS was granted. "body": when the first bytes of a body were read. "after": right after the reply to the dot.
"""


@dataclass(slots=True)
class Received:
    """One transaction that reached its dot. `mail`, `rcpt`: the command lines; `wire`: the bytes before the dot."""

    mail: bytes
    rcpt: tuple[bytes, ...]
    wire: bytes
    accepted: bool
    connection: int


@dataclass(slots=True)
class Counts:
    """`turns`: how often a client was waited for after it had been answered: round trips. `phases`: commands heard."""

    connections: int = 0
    open: int = 0
    turns: int = 0
    phases: Counter[str] = field(default_factory=Counter)


class _Over(Exception):
    """This connection is to end."""


class ScriptedUpstream:
    """Listens on a free port of 127.0.0.1, or of `host`. `tls`: none, or with a `context` starttls or implicit.

    `auth`: mechanisms offered, any password passes unless the script says otherwise. `offers`: EHLO lines. What it
    saw: `received`, `commands` (every line, in order), `secrets` (what AUTH revealed), `counts`.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        tls: str = "none",
        context: ssl.SSLContext | None = None,
        auth: Sequence[str] = (),
        offers: Sequence[str] = OFFERS,
        host: str = "127.0.0.1",
    ) -> None:
        unknown = set(script or ()) - PHASES
        if unknown:
            raise ValueError(f"no such phase: {', '.join(sorted(unknown))}")
        self.script = dict(script or {})
        self.tls = tls
        self.context = context
        self.auth = tuple(auth)
        self.offers = tuple(offers)
        self.host = host
        self.port = 0
        self.received: list[Received] = []
        self.commands: list[bytes] = []
        self.secrets: list[bytes] = []
        self.counts = Counts()
        self.changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        context = self.context if self.tls == "implicit" else None
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def until(self, reached: Callable[[Self], bool]) -> None:
        """Wait for what a test is after: `await up.until(lambda up: len(up.received) == 2)`."""
        while not reached(self):
            self.changed.clear()
            await self.changed.wait()

    async def until_closed(self) -> None:
        """Wait until every connection has ended."""
        await self.until(lambda upstream: not upstream.counts.open)

    def action(self, phase: str) -> Action | None:
        """What the script says for this phase now."""
        turn = self.counts.phases[phase]
        self.counts.phases[phase] += 1
        self.changed.set()
        plan = self.script.get(phase)
        if plan is None or isinstance(plan, Say | Raw | Close | Stall):
            return plan
        return plan[turn] if turn < len(plan) else None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # nosec
        self._sessions.add(task)
        self.counts.connections += 1
        self.counts.open += 1
        session = _Session(self, reader, writer, self.counts.connections)
        try:
            await session.run()
        except asyncio.CancelledError:
            writer.transport.abort()
        except (_Over, OSError):
            pass  # closed below, after what was said has been sent
        finally:
            writer.close()
            self.counts.open -= 1
            self._sessions.discard(task)
            self.changed.set()


class _Session:
    """One connection. Reads all there is, answers all that is complete, then flushes: as pipelining servers do."""

    def __init__(
        self, upstream: ScriptedUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self._up = upstream
        self._reader = reader
        self._writer = writer
        self._number = number
        self._buffer = b""
        self._out = b""
        self._answered = False
        self._secure = upstream.tls == "implicit"
        self._mail = b""
        self._rcpt: list[bytes] = []

    async def run(self) -> None:
        await self._do("connect", None)
        await self._do("banner", Say(220, "scripted ESMTP"))
        while True:
            line = await self._line()
            self._up.commands.append(line)
            await self._command(line)

    async def _command(self, line: bytes) -> None:
        verb = line[:4].upper()
        handler = _COMMANDS.get(verb)
        if handler is None:
            self._say(Say(500, "5.5.2 what?"))
        else:
            await handler(self, line)

    async def _hello(self, line: bytes) -> None:
        offers = list(self._up.offers)
        if self._up.tls == "starttls" and not self._secure:
            offers.append("STARTTLS")
        if self._up.auth:
            offers.append("AUTH " + " ".join(self._up.auth))
        await self._do("ehlo", Say(250, "\n".join(["scripted", *offers])))

    async def _starttls(self, line: bytes) -> None:
        refused = await self._do("starttls", Say(220, "2.0.0 go ahead"))
        await self._flush()
        if refused or self._up.context is None:
            return
        await self._do("tls", None)
        self._buffer = b""
        await self._writer.start_tls(self._up.context)
        self._secure = True

    async def _authenticate(self, line: bytes) -> None:
        words = line.split(b" ")
        self._up.secrets += [base64.b64decode(word) for word in words[2:]]
        if await self._do("auth", None):
            return
        questions = {b"PLAIN": 1, b"LOGIN": 2, b"CRAM-MD5": 1}[words[1].upper()] - len(words[2:])
        for _ in range(questions):
            self._say(Say(334, base64.b64encode(b"<1.2@scripted>").decode()))
            self._up.secrets.append(base64.b64decode(await self._line()))
        self._say(Say(235, "2.7.0 welcome"))

    async def _on_mail(self, line: bytes) -> None:
        if await self._do("mail", Say(250, "2.1.0 ok")):
            return
        self._mail, self._rcpt = line, []

    async def _on_rcpt(self, line: bytes) -> None:
        if not self._mail:
            self._say(Say(503, "5.5.1 MAIL first"))
        elif not await self._do("rcpt", Say(250, "2.1.5 ok")):
            self._rcpt.append(line)

    async def _on_data(self, line: bytes) -> None:
        if "data" not in self._up.script and not self._rcpt:
            self._say(Say(503 if not self._mail else 554, "5.5.1 no valid recipients"))
        elif not await self._do("data", Say(354, "go ahead")):
            await self._body()

    async def _body(self) -> None:
        if not self._buffer:
            await self._read()
        if await self._do("body", None):
            await self._flush()
        wire, end = b"", -1
        while end < 0:
            probe = b"\r\n" + self._buffer
            end = probe.find(b"\r\n.\r\n")
            if end < 0:
                await self._read()
        wire, self._buffer = self._buffer[:end], self._buffer[end + 3 :]
        refused = await self._do("dot", Say(250, "2.0.0 ok: queued"))
        self._up.received.append(Received(self._mail, tuple(self._rcpt), wire, not refused, self._number))
        self._mail, self._rcpt = b"", []
        self._up.changed.set()
        await self._do("after", None)

    async def _on_rset(self, line: bytes) -> None:
        self._mail, self._rcpt = b"", []
        await self._do("rset", Say(250, "2.0.0 ok"))

    async def _on_quit(self, line: bytes) -> None:
        await self._do("quit", Say(221, "2.0.0 bye"))
        await self._flush()
        raise _Over

    async def _do(self, phase: str, usual: Action | None) -> bool:
        """Act as scripted, else as usual. True: it was scripted and the command is not granted."""
        action = self._up.action(phase)
        await self._act(action or usual)
        granted = (isinstance(action, Say) and action.code < 400) or (isinstance(action, Raw) and action.granted)
        return action is not None and not granted

    async def _act(self, action: Action | None) -> None:
        match action:
            case Say():
                self._say(action)
            case Raw(data, pause) if pause:
                await self._drip(data, pause)
            case Raw(data):
                self._out += data
            case Close(last, reset):
                self._out += last
                await self._flush()
                self._end(reset)
            case Stall():
                await self._flush()
                while True:
                    await self._read()

    def _say(self, reply: Say) -> None:
        *more, last = reply.text.split("\n")
        self._out += (
            b"".join(f"{reply.code}-{line}\r\n".encode() for line in more) + f"{reply.code} {last}\r\n".encode()
        )

    async def _drip(self, data: bytes, pause: float) -> None:
        await self._flush()
        for byte in data:
            self._writer.write(bytes((byte,)))
            await asyncio.sleep(pause)

    def _end(self, reset: bool) -> None:
        sock = self._writer.get_extra_info("socket")
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        else:
            self._writer.close()
        raise _Over

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            await self._read()
        line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
        return line

    async def _read(self) -> None:
        await self._flush()
        self._up.counts.turns += self._answered
        self._answered = False
        data = await self._reader.read(1 << 20)
        if not data:
            raise _Over
        self._buffer += data

    async def _flush(self) -> None:
        if self._out:
            self._writer.write(self._out)
            self._out = b""
            self._answered = True
        await self._writer.drain()


_COMMANDS = {
    b"EHLO": _Session._hello,
    b"HELO": _Session._hello,
    b"STAR": _Session._starttls,
    b"AUTH": _Session._authenticate,
    b"MAIL": _Session._on_mail,
    b"RCPT": _Session._on_rcpt,
    b"DATA": _Session._on_data,
    b"RSET": _Session._on_rset,
    b"QUIT": _Session._on_quit,
}
