"""When the HTTP side is loaded: after mail is served, and without TCP not before somebody knocks.

Built by `app` with the sockets, which wait meanwhile. FastAPI and uvicorn are a quarter of the relay's start and of its
memory; a relay with `http: null` needs them only while its operator types commands. It never answers by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from relay.api.parts import ApiParts
from relay.api.serving.sockets import remove_socket

if TYPE_CHECKING:
    from relay.api.serving.server import HttpServer

PAUSE = 0.25
"""Seconds until it is tried again after it failed, at the earliest."""


class Door:
    """The sockets are its own from here on. `failed`: called when a knock could not be answered."""

    def __init__(
        self,
        parts: ApiParts,
        *,
        tcp: socket.socket | None,
        control: socket.socket,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._parts = parts
        self._failed = failed
        self._tcp = tcp
        self._control = control
        self._path = Path(control.getsockname())
        self._server: HttpServer | None = None
        self._opening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Both are served on return; the control socket alone is served from the first connection on."""
        if self._tcp is not None:
            await self._open()
        else:
            self._listen()

    def _listen(self) -> None:
        asyncio.get_running_loop().add_reader(self._control, self._knock)

    def _knock(self) -> None:
        asyncio.get_running_loop().remove_reader(self._control)
        self._opening = asyncio.create_task(self._answer(), name="http")

    async def _answer(self) -> None:
        """Mail goes on whatever becomes of this. Another version may lie on the disk by now, or descriptors ran out."""
        try:
            await self._open()
        except Exception as error:
            self._failed(error)
            self._turn_away()
            await asyncio.sleep(PAUSE)
            self._listen()

    def _turn_away(self) -> None:
        """Whoever knocked sees it at once, by the end of the connection."""
        with contextlib.suppress(OSError):  # nobody waits any more
            while True:
                self._control.accept()[0].close()

    async def _open(self) -> None:
        server = await asyncio.to_thread(self._build)  # mail goes on meanwhile
        await server.start()
        self._server = server

    def _build(self) -> HttpServer:
        from relay.api.app import create_app
        from relay.api.serving.entrance import doors
        from relay.api.serving.guards import sizes_of
        from relay.api.serving.server import HttpServer

        outside, inside = doors(create_app(self._parts), self._parts)
        sizes = sizes_of(self._parts.house)
        return HttpServer(outside, inside, tcp=self._tcp, control=self._control, sizes=sizes)

    async def stop(self) -> None:
        """As `HttpServer.stop`. Safe to call twice."""
        if self._opening is not None:
            await asyncio.wait({self._opening})
        if self._server is not None:
            await self._server.stop()
        elif self._control.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
            if self._tcp is not None:
                self._tcp.close()
            remove_socket(self._path)
