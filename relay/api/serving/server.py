"""uvicorn, running in the relay's own event loop on sockets it is given.

Started and stopped by `door`. It takes no signal and logs no access. Which door a request came through is settled by
the socket it arrived on, never by anything in the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from relay.api.serving.connection import Connection
from relay.api.serving.gate import Gate, connections_at_most
from relay.api.serving.guards import Bodies, Busy, Sizes, sizes_of
from relay.api.serving.sockets import remove_socket
from relay.compose.senders import House
from relay.model import Identity

_GRACE = 3  # seconds that requests under way may take when stopping


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Of one door: open connections, requests in work at once, bytes of bodies held for them."""

    connections: int
    requests: int
    held: int


TCP = Bounds(connections=1000, requests=500, held=96 << 20)  # two of the largest mails as JSON; work takes thrice that
CONTROL = Bounds(connections=100, requests=50, held=64 << 20)
_HEADERS = [("X-Frame-Options", "DENY"), ("X-Content-Type-Options", "nosniff")]
"""No page of anybody's shows ours, where a click would do something, or runs an answer (hazard H14)."""

_USUAL = sizes_of(lambda: House(hostname="localhost", fallback=Identity(address="")))


def configured(app: ASGIApp, bounds: Bounds, sizes: Sizes) -> uvicorn.Config:
    config = uvicorn.Config(
        Busy(Bodies(app, sizes, bounds.held), bounds.requests),
        http=Connection,
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        headers=_HEADERS,
        timeout_graceful_shutdown=_GRACE,
    )
    config.load()
    return config


class _Server(uvicorn.Server):
    """uvicorn's life on gates of our own: it has no bound on connections but a refusal."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()
        self.leaving = asyncio.Event()
        self.gates: list[Gate] = []

    def add(self, listening: socket.socket, config: uvicorn.Config, bound: int) -> None:
        state = self.server_state
        self.gates.append(Gate(listening, connections_at_most(bound), lambda gate: Connection(gate, config, state)))

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """The relay's own handlers stay: a SIGTERM first drains the mail."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers = list(self.gates)  # type: ignore[arg-type]  # to be closed and waited for
        await self.on_tick(0)  # the Date header
        for gate in self.gates:
            gate.open()
        self.started = True
        self.up.set()

    async def main_loop(self) -> None:
        """As uvicorn's, but it wakes once a second, for date and patience, and at once to stop: it polls ten times."""
        clock = asyncio.get_running_loop().time
        while not await self.on_tick(0):
            for gate in self.gates:
                gate.look(clock())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.leaving.wait(), 1.0)
                self.should_exit = True


class HttpServer:
    """`outside` on TCP and `inside` on the control socket, which it owns from here on. `sizes`: of bodies it takes."""

    def __init__(
        self,
        outside: ASGIApp,
        inside: ASGIApp,
        *,
        tcp: socket.socket | None,
        control: socket.socket | None,
        sizes: Sizes = _USUAL,
        bounds: tuple[Bounds, Bounds] = (TCP, CONTROL),
    ) -> None:
        self._control_path = Path(control.getsockname()) if control else None
        first = configured(outside, bounds[0], sizes)
        self._server = _Server(first)
        if tcp is not None:
            self._server.add(tcp, first, bounds[0].connections)
        if control is not None:
            self._server.add(control, configured(inside, bounds[1], sizes), bounds[1].connections)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Both sockets are served on return."""
        self._task = asyncio.create_task(self._server.serve(), name="http")
        up = asyncio.create_task(self._server.up.wait())
        await asyncio.wait({up, self._task}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Requests under way are finished, within `_GRACE`; the control socket's name goes. Safe to call twice."""
        task, self._task = self._task, None
        if task is None:
            return
        self._server.leaving.set()
        await task
        for gate in self._server.gates:
            gate.abort()
        if self._control_path is not None:
            remove_socket(self._control_path)
