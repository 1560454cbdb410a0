"""The transport side of a session: aiosmtpd's session class without its task, stream reader and per-line awaits.

`session` builds the SMTP conversation on it, `server` calls `tick` and `wind_up`. It never interprets a byte.
"""

from __future__ import annotations

import asyncio
import enum
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from aiosmtpd.smtp import SMTP

from relay.events import CommandRejected
from relay.listener.admission import identify
from relay.listener.replies import SHUTDOWN, TOO_QUIET, Refusal
from relay.listener.service import Service
from relay.listener.talk import Talk

T = TypeVar("T")

UNREAD = 64 * 1024
"""Bytes kept while a session is busy; beyond it reading pauses."""


class Mode(enum.Enum):
    """What the next byte is. BUSY: it waits, something asynchronous is under way. UPGRADE: TLS is being negotiated."""

    COMMAND = enum.auto()
    AUTH = enum.auto()
    DATA = enum.auto()
    BUSY = enum.auto()
    UPGRADE = enum.auto()
    CLOSED = enum.auto()


COMMAND, AUTH, DATA, BUSY, UPGRADE, CLOSED = Mode


class Crowd(Protocol):
    """The sessions of one listener, and the tasks they started."""

    def joined(self, session: Wire) -> None: ...

    def left(self, session: Wire) -> None: ...

    def spawn(self, job: Coroutine[Any, Any, None]) -> None: ...

    def follow(self, job: Awaitable[T], then: Callable[[asyncio.Future[T]], None]) -> None: ...

    def finished(self, job: asyncio.Future[Any]) -> None: ...


class Wire(SMTP):
    """One connection. aiosmtpd's constructor runs once, for the pattern; each connection is a copy of it (L12).

    Work is done in `data_received`, replies leave in one write; only what must wait becomes a task.
    """

    def __init__(self, service: Service, crowd: Crowd, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(service, hostname=service.settings.hostname, loop=loop)
        self.service = service
        self.crowd = crowd
        self.mode = COMMAND
        self.rest = b""
        self.at = 0
        self.out: list[bytes] = []
        self.quiet = 0.0
        self.half_closed = False
        self.held_back = False
        self.choked = False
        self.stopping = False
        self.gone = False
        self.admitted = False
        self.talk: Talk

    def twin(self) -> Wire:
        """A fresh session like this pattern, without running any constructor."""
        kind = type(self)
        copy = kind.__new__(kind)
        copy.__dict__ = self.__dict__.copy()
        return copy

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        service = self.service
        peer = transport.get_extra_info("peername")
        client = identify(peer[0] if isinstance(peer, tuple) else "")
        self.transport: Any = transport
        self.out = []
        self.session = self.talk = Talk(service, client, self.loop)
        refusal = service.admission.enter(client.name)
        self.admitted = refusal is None
        self.crowd.joined(self)
        if refusal is not None:
            self.hang_up(refusal, linger=False)  # nobody counts these: lingering, they would take every descriptor (D8)
            return
        service.ports.observe(service.opened)
        self.greet()

    def data_received(self, data: bytes) -> None:
        if self.mode is CLOSED:
            return
        self.rest = self.rest + data if self.rest else data
        if self.mode is BUSY:
            if len(self.rest) > UNREAD:
                self.hold_back()
        elif self.mode is not UPGRADE:  # else the handshake is just over, `pump` follows
            self.pump()

    def eof_received(self) -> bool:
        """A client that half-closes after its last command still gets its answers (hazard L3)."""
        self.half_closed = True
        return self.mode is BUSY and not self.talk.secure

    def connection_lost(self, error: Exception | None) -> None:
        if self.gone:
            return
        self.gone = True
        self.drop()
        self.mode = CLOSED
        self.crowd.left(self)
        if self.admitted:
            self.service.admission.leave(self.talk.client)
            self.service.ports.observe(self.service.closed)

    def pause_writing(self) -> None:
        """A client that does not read its replies is not read from either."""
        self.choked = True
        self.hold_back()

    def resume_writing(self) -> None:
        self.choked = False
        self.let_go()

    def hold_back(self) -> None:
        if not self.held_back and not self.gone:
            self.held_back = True
            self.transport.pause_reading()

    def let_go(self) -> None:
        if self.held_back and not self.choked and not self.gone:
            self.held_back = False
            self.transport.resume_reading()

    def flush(self) -> None:
        """One write for all replies made since the last one."""
        out = self.out
        if out:
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))
            self.out = []

    def report(self, refusal: Refusal) -> None:
        settings = self.service.settings
        self.service.ports.observe(
            CommandRejected(listener=settings.name, client=self.talk.client, reason=refusal.reason, reply=refusal.reply)
        )

    def hang_up(self, refusal: Refusal, *, linger: bool = True) -> None:
        """Say why, and close."""
        self.report(refusal)
        self.out.append(refusal.wire)
        self.leave(linger=linger)

    def leave(self, *, linger: bool) -> None:
        """Close. `linger`: the client may be sending; a reset would destroy what we said, so let it close first."""
        self.flush()
        self.drop()
        self.mode = CLOSED
        self.quiet = 0.0
        self.rest = b""
        if not linger or self.half_closed or not self.transport.can_write_eof():
            self.transport.close()
            return
        try:
            self.transport.write_eof()
            self.let_go()
        except (OSError, RuntimeError):  # the client is gone and we have not been told yet
            self.transport.abort()

    def tick(self, seconds: float) -> None:
        """So much time went by. Called by the listener's one timer; a timer for every read would cost more."""
        self.quiet += seconds
        patience = self.service.settings.patience
        if self.mode is CLOSED:
            if self.quiet >= patience.linger:
                self.transport.abort()
        elif self.mode is DATA:
            self.tick_data(seconds)
        elif self.mode is not BUSY and self.mode is not UPGRADE and self.quiet >= patience.command:
            self.hang_up(TOO_QUIET)

    def wind_up(self) -> None:
        """The listener stops: idle sessions end now, the others after the answer they wait for."""
        self.stopping = True
        if self.mode is COMMAND or self.mode is AUTH:
            self.hang_up(SHUTDOWN, linger=False)

    def cut(self) -> None:
        """No more time: close without a word."""
        self.transport.abort()

    @abstractmethod
    def greet(self) -> None:
        """A connection was admitted."""

    @abstractmethod
    def pump(self) -> None:
        """Work through `rest`, which begins at `at`."""

    @abstractmethod
    def drop(self) -> None:
        """Forget a message that is still arriving."""

    @abstractmethod
    def tick_data(self, seconds: float) -> None:
        """So much time went by while a message arrives."""
