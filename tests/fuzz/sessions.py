"""A listener's session without a network: a transport that keeps what is written, and a crowd that holds its tasks.

Used by the session target and the session's state machine. Time stands still; timers are the unit tests'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from relay.events import Event
from relay.listener.admission import Admission, Room
from relay.listener.service import Ports, Service
from relay.listener.session import Session
from relay.listener.settings import Patience, Settings
from relay.listener.wire import Wire
from relay.testing.fakes import FakeIntake
from tests.registry import FakeAccounts

NOW = 1_795_000_000.0
QUICK = Patience(slow=0.0, auth_delay=0.0, linger=0.0)
USER, PASSWORD = "crm", "secret"


class FakeTransport(asyncio.Transport):
    """`written`: what the client would read. `lost` is called, once, when the connection is closed or aborted."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__({"peername": ("127.0.0.1", 4711)})
        self.written = bytearray()
        self.reading = True
        self.finished = False
        self.protocol: Any = None
        self._loop = loop
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert data, "an empty write"
        assert not self.finished, "written after the end"
        if not self._closing:
            self.written += data

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self.protocol.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.finished = True

    def pause_reading(self) -> None:
        assert self.reading, "paused twice"
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading, "resumed while reading"
        self.reading = True


_patterns: dict[asyncio.AbstractEventLoop, Session] = {}


class OneClient:
    """A session and its client. Implements the crowd of one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, intake: FakeIntake, **settings: Any) -> None:
        self.intake = intake
        self.events: list[Event] = []
        self.tasks: set[asyncio.Future[Any]] = set()
        self.present: set[Wire] = set()
        self.room = Room(4)
        self._loop = loop
        known = Settings(name="test", address="127.0.0.1:0", hostname="relay.test", patience=QUICK)
        known = Settings(**{name: getattr(known, name) for name in known.__slots__} | settings)
        ports = Ports(
            intake=intake,
            accounts=FakeAccounts({USER: PASSWORD}),
            observe=self.events.append,
            clock=lambda: NOW,
            monotonic=lambda: 0.0,
            room=self.room,
        )
        service = Service(known, ports, Admission(known, self.room))
        if (
            loop not in _patterns
        ):  # as in a listener: the constructor of aiosmtpd's class costs more than a session (L12)
            _patterns[loop] = Session(service, self, loop)
        self.session = _patterns[loop].twin()
        self.session.service, self.session.crowd = service, self
        self.transport = FakeTransport(loop)
        self.transport.protocol = self.session
        self.session.connection_made(self.transport)

    def joined(self, session: Wire) -> None:
        self.present.add(session)

    def left(self, session: Wire) -> None:
        self.present.discard(session)

    def spawn(self, job: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(job)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def follow(self, job: Awaitable[Any], then: Callable[[asyncio.Future[Any]], None]) -> None:
        future = asyncio.ensure_future(job, loop=self._loop)
        self.tasks.add(future)
        future.add_done_callback(then)

    def finished(self, job: asyncio.Future[Any]) -> None:
        self.tasks.discard(job)

    @property
    def open(self) -> bool:
        return not self.transport.is_closing() and not self.transport.finished

    async def send(self, chunk: bytes) -> None:
        """As the loop would: only while the session reads."""
        while not self.transport.reading and self.tasks:
            await self.settle()
        if self.open:
            self.session.data_received(chunk)

    async def step(self, data: bytes) -> tuple[bytes, int]:
        """A few bytes, and all that follows from them: what is answered, and how many messages are stored by now."""
        said = len(self.transport.written)
        self.session.data_received(data)
        if self.tasks:
            await self.settle()
        return bytes(self.transport.written[said:]), len(self.intake.submissions)

    async def settle(self) -> None:
        """Until nothing is under way."""
        while self.tasks:
            await asyncio.wait(self.tasks)
            await asyncio.sleep(0)

    async def hang_up(self) -> None:
        """The client closes its side; whatever the session still has to do, it does."""
        if not self.transport.is_closing() and not self.session.eof_received():
            self.transport.close()
        await self.settle()
        self.transport.close()
        await asyncio.sleep(0)
        await self.settle()
