"""A scripted SMTP server for tests of what a provider may do, good and bad; shipped, so users can test their set-ups.

Tests start it in their own event loop: `async with ScriptedUpstream({"rcpt": [None, Say(450, "4.2.0 later")]}) as up:`.
It is no mail server: whatever it accepts it only remembers.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import socket
import ssl
import weakref
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from relay.testing.upstream.actions import Action
from relay.testing.upstream.received import Counts, Received
from relay.testing.upstream.record import Log, Record, entry
from relay.testing.upstream.script import OFFERS, Phases, Plan, Script
from relay.testing.upstream.session import Session
from relay.testing.upstream.wire import Wire

_BACKLOG = 1024
_TURNS = 4  # of the loop, until TLS and then TCP let go
_TINY = 2048  # bytes of SO_RCVBUF, before accept: no window is ever taken back, so it has to begin small


class ScriptedUpstream:
    """Listens on a free port of 127.0.0.1, or on `port` of `host`; the port stays the same when it is started again.

    `script`: a Script, or just its phases, with `tls`, `auth` and `offers` beside them. `context`: a server's, for
    starttls and implicit. What it saw: `received`, `commands` (every line, in order), `secrets` (what AUTH revealed),
    `counts`; with keep=False only the counts, and the last command. `record`, `log`: files, shared by many.
    """

    def __init__(
        self,
        script: Script | Phases | None = None,
        *,
        tls: str = "none",
        context: ssl.SSLContext | None = None,
        auth: Sequence[str] = (),
        offers: Sequence[str] = OFFERS,
        host: str = "127.0.0.1",
        port: int = 0,
        record: Record | None = None,
        log: Log | None = None,
        keep: bool = True,
    ) -> None:
        if not isinstance(script, Script):
            script = Script(phases=script or {}, tls=tls, auth=auth, offers=offers)
        self.script = script
        self.plan = Plan(script.phases)
        self.tls = script.tls
        self.context = context
        self.auth = tuple(script.auth)
        self.offers = tuple(script.offers)
        self.recipients = {glob: each for glob, each in script.recipients.items() if not isinstance(each, str)}
        self.host = host
        self.port = port
        self.keep = keep
        self.received: list[Received] = []
        self.commands: list[bytes] = []
        self.secrets: list[bytes] = []
        self.counts = Counts()
        self.changed = asyncio.Event()
        self._record = record
        self._log = log
        self._listener: socket.socket | None = None
        self._sessions: set[asyncio.Task[None]] = set()
        self._wires: weakref.WeakSet[Wire] = weakref.WeakSet()

    @property
    def implicit(self) -> bool:
        return self.tls == "implicit"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen. Raises OSError."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = listener = socket.create_server((self.host, self.port), family=family, backlog=_BACKLOG)
        listener.setblocking(False)
        if self.script.mentions("zero-window"):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _TINY)
        self.port = listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    async def stop(self) -> None:
        """Stop listening and cut all connections."""
        listener, self._listener = self._listener, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        sessions = list(self._sessions)
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)
        for wire in list(self._wires):  # also those that take their leave from TLS
            wire.abort()
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    async def until(self, reached: Callable[[Self], bool]) -> None:
        """Wait for what a test is after: `await up.until(lambda up: len(up.received) == 2)`."""
        while not reached(self):
            self.changed.clear()
            await self.changed.wait()

    async def until_closed(self) -> None:
        """Wait until every connection has ended."""
        await self.until(lambda upstream: not upstream.counts.open)

    def action(self, phase: str) -> Action | None:
        """What the script over all connections says for this phase now."""
        self.counts.phases[phase] += 1
        self.changed.set()
        return self.plan.take(phase)

    # What sessions tell

    def heard(self, line: bytes) -> None:
        if self.keep:
            self.commands.append(line)
        else:
            self.commands[:] = (line,)

    def reveal(self, words: Iterable[bytes]) -> None:
        """What AUTH said, base64 (RFC 4954 4); what is none is shown as it is."""
        if self.keep:
            self.secrets += [_decoded(word) for word in words]

    async def take(self, mail: Received) -> None:
        """Returns once the transaction is on record. Raises OSError if it cannot be."""
        if self._record is not None:
            lines = (mail.mail, mail.rcpt, mail.content, mail.answered, self._record.mark)
            await self._record.put(entry(mail.at, self.port, mail.connection, *lines))
        self.counts.dots += 1
        self.counts.taken += mail.taken
        if self.keep:
            self.received.append(mail)
        self.changed.set()

    def event(self, number: int, what: bytes) -> None:
        if self._log is not None:
            self._log.put(self.port, number, "=", what)

    # Connections

    def _accept(self, listener: socket.socket) -> None:
        """By hand: a server of asyncio's that is closed while it accepts forgets the connection and leaves it open."""
        try:
            for _ in range(_BACKLOG):
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio only does so for its own
                self._begin(sock)
        except OSError:  # no more of them, or they are gone again
            return

    def _begin(self, sock: socket.socket) -> None:
        counts, log, port = self.counts, self._log, self.port
        counts.connections += 1
        counts.open += 1
        counts.most_open = max(counts.most_open, counts.open)
        number = counts.connections
        tap = None if log is None else lambda way, data: log.put(port, number, way, data)
        wire = Wire(patient=self.implicit, tap=tap)
        self.event(number, b"connected")
        task = asyncio.ensure_future(self._serve(sock, wire, number))
        self._sessions.add(task)
        self._wires.add(wire)
        task.add_done_callback(lambda task: self._ended(task, sock, wire, number))
        self.changed.set()

    async def _serve(self, sock: socket.socket, wire: Wire, number: int) -> None:
        sock.setblocking(False)
        own = self.script.connections[number - 1] if number <= len(self.script.connections) else {}
        await asyncio.get_running_loop().connect_accepted_socket(lambda: wire, sock)
        await Session(self, wire, number, Plan(own)).run()

    def _ended(self, task: asyncio.Task[None], sock: socket.socket, wire: Wire, number: int) -> None:
        """Also of a session that was cancelled before it began."""
        self._sessions.discard(task)
        if task.cancelled():
            wire.abort()
        if not wire.connected:
            sock.close()
        self.counts.open -= 1
        self.event(number, b"closed")
        self.changed.set()


def _decoded(word: bytes) -> bytes:
    try:
        return base64.b64decode(word)
    except binascii.Error:
        return word
