"""uvicorn, running in the relay's own event loop on sockets it is given.

Started and stopped by `app`. It takes no signal and logs no access. Which door a request came through is settled by
the socket it arrived on, never by anything in the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from relay.api.guards import ControlOnly
from relay.api.sockets import remove_socket

_KEEP_ALIVE = 5  # seconds
_GRACE = 3  # seconds that requests under way may take when stopping
_CONCURRENT = 200  # connections and requests; more get 503


def _configured(app: ASGIApp) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_CONCURRENT,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
    )
    config.load()
    return config


class _Server(uvicorn.Server):
    """Serves TCP through uvicorn's own start-up and adds the control socket, which has its own application."""

    def __init__(self, config: uvicorn.Config, control: uvicorn.Config, control_socket: socket.socket | None) -> None:
        super().__init__(config)
        self.up = asyncio.Event()
        self.leaving = asyncio.Event()
        self._control = control
        self._control_socket = control_socket

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """The relay's own handlers stay: a SIGTERM first drains the mail."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self._control_socket is not None:
            loop = asyncio.get_running_loop()
            self.servers.append(await loop.create_unix_server(self._speak, sock=self._control_socket))
        self.up.set()

    async def main_loop(self) -> None:
        """As uvicorn's, but it wakes once a second, for the Date header, and at once to stop: it polls ten times."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.leaving.wait(), 1.0)
                self.should_exit = True

    def _speak(self) -> asyncio.Protocol:
        config = self._control
        return config.http_protocol_class(config=config, server_state=self.server_state, app_state={})  # type: ignore[call-arg]


class HttpServer:
    """The application on up to two sockets, which it owns from here on."""

    def __init__(self, app: ASGIApp, *, tcp: socket.socket | None, control: socket.socket | None) -> None:
        self._tcp = tcp
        self._control_path = Path(control.getsockname()) if control else None
        self._server = _Server(_configured(ControlOnly(app)), _configured(app), control)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Both sockets are served on return."""
        sockets = [self._tcp] if self._tcp else []
        self._task = asyncio.create_task(self._server.serve(sockets=sockets), name="http")
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
        if self._control_path is not None:
            remove_socket(self._control_path)
