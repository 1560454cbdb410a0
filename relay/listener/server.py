"""A listener: its sockets, its sessions, the one timer that watches them, and how it ends.

`app` builds, starts, reconfigures and stops it. It never looks into a conversation.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from relay.listener.admission import Admission
from relay.listener.service import Ports, Service
from relay.listener.session import Session
from relay.listener.settings import ListenerError, Settings
from relay.listener.sockets import BACKLOG, open_sockets
from relay.listener.wire import Wire

T = TypeVar("T")


class Listener:
    """One address that speaks SMTP. `start` and `reconfigure` raise ListenerError."""

    def __init__(self, settings: Settings, ports: Ports) -> None:
        self.settings = settings
        self._ports = ports
        self._admission = Admission(settings, ports.room)
        self._sessions: set[Wire] = set()
        self._tasks: set[asyncio.Task[None] | None] = set()
        self._followed: set[asyncio.Future[Any]] = set()
        self._servers: list[asyncio.Server] = []
        self._empty = asyncio.Event()
        self._empty.set()
        self._timer: asyncio.TimerHandle | None = None
        self._pattern: Session

    async def start(self) -> None:
        """Listen and serve. Nothing is left open when it raises."""
        self._adopt(self.settings)
        await self.open()
        self._sweep()

    async def open(self) -> None:
        """Listen, first or again after `close`."""
        loop = asyncio.get_running_loop()
        for sock in open_sockets(self.settings):
            local = sock.family == socket.AF_UNIX
            serve = loop.create_unix_server if local else loop.create_server
            self._servers.append(await serve(self._connect, sock=sock, backlog=BACKLOG))

    async def close(self) -> None:
        """Free the address for another listener. Sessions go on."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        await asyncio.sleep(0)  # the loop closes the sockets in its next turn

    def reconfigure(self, settings: Settings) -> None:
        """Other settings for connections to come; the sockets stay. The address must be the same."""
        if settings.address != self.settings.address:
            raise ListenerError(f"listener {settings.name}: a new address needs a new listener")
        self._adopt(settings)

    def _adopt(self, settings: Settings) -> None:
        service = Service(settings, self._ports, self._admission)
        self._pattern = Session(service, self, asyncio.get_running_loop())
        self._admission.configure(settings)
        self.settings = settings

    def addresses(self) -> list[Any]:
        """Where it listens: (host, port, …) or a path."""
        return [sock.getsockname() for server in self._servers for sock in server.sockets]

    @property
    def connections(self) -> int:
        return len(self._sessions)

    async def stop(self, seconds: float) -> None:
        """Accept no more, tell idle clients 421, let messages under way finish for so long, then cut the rest.

        On return no connection is left, and what was being accepted is decided if the time was enough.
        """
        for server in self._servers:
            server.close()
        if self.settings.address.startswith("unix:"):
            Path(self.settings.address.removeprefix("unix:")).unlink(missing_ok=True)
        for session in tuple(self._sessions):
            session.wind_up()
        await self._settled(seconds)
        if self._timer is not None:
            self._timer.cancel()
        for session in tuple(self._sessions):
            session.cut()
        await self._settled(1.0)  # the loop takes a turn or two to report them lost
        self._servers.clear()

    async def _settled(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
                while self._tasks or self._followed:
                    await asyncio.wait([job for job in (*self._tasks, *self._followed) if job is not None])
        except TimeoutError:
            pass

    def _connect(self) -> asyncio.Protocol:
        return self._pattern.twin()

    # What sessions ask for

    def joined(self, session: Wire) -> None:
        self._sessions.add(session)
        self._empty.clear()

    def left(self, session: Wire) -> None:
        self._sessions.discard(session)
        if not self._sessions:
            self._empty.set()

    def spawn(self, job: Coroutine[Any, Any, None]) -> None:
        """Run it, and keep it from being collected while it runs. A done callback would cost a turn of the loop."""
        self._tasks.add(self._pattern.loop.create_task(self._run(job)))

    async def _run(self, job: Coroutine[Any, Any, None]) -> None:
        try:
            await job
        except Exception as error:
            logging.getLogger(__name__).error("internal error in the listener: %s", type(error).__name__)
        finally:
            self._tasks.discard(asyncio.current_task())

    def follow(self, job: Awaitable[T], then: Callable[[asyncio.Future[T]], None]) -> None:
        """Call `then` with it when it is done, which then says so to `finished`. Only a coroutine needs a task."""
        future = job if isinstance(job, asyncio.Future) else asyncio.ensure_future(job, loop=self._pattern.loop)
        self._followed.add(future)
        future.add_done_callback(then)

    def finished(self, job: asyncio.Future[Any]) -> None:
        self._followed.discard(job)

    def _sweep(self) -> None:
        """One timer for all sessions; a quarter of the shortest patience is exact enough, a second often enough."""
        patience = self.settings.patience
        step = min(1.0, min(patience.command, patience.data, patience.window, patience.linger) / 4)
        self._timer = asyncio.get_running_loop().call_later(step, self._sweep)
        for session in tuple(self._sessions):
            session.tick(step)
