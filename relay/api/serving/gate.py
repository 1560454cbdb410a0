"""Taking in connections of one listening socket, never more than a number of them.

Opened by `server`. Beyond the bound it stops accepting: who waits does so in the kernel's backlog, costs no memory here
and is served when somebody goes. It never looks at what a connection says.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from typing import Protocol

_AT_ONCE = 64
"""Accepted in one turn of the loop; mail goes on in between."""


class Guest(Protocol):
    """A connection that came in. Nobody's patience ends by itself: `look` is called about once a second."""

    def look(self, now: float, pressed: bool) -> None: ...
    def abort(self) -> None: ...


def connections_at_most(wanted: int) -> int:
    """No more than an eighth of the descriptors: spool, SMTP and upstreams need theirs (hazard D8)."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if descriptors == resource.RLIM_INFINITY else max(4, min(wanted, descriptors // 8))


class Gate:
    """The socket is its own from here on. `bound`: of open connections; `speak` makes the protocol of one."""

    def __init__(self, listening: socket.socket, bound: int, speak: Callable[[Gate], asyncio.Protocol]) -> None:
        self.bound = bound
        self._socket = listening
        self._speak = speak
        self._guests: set[Guest] = set()
        self._taken = 0
        self._open = False
        self._entering: set[asyncio.Task[None]] = set()

    @property
    def pressed(self) -> bool:
        """No more are taken in, and somebody may be waiting."""
        return self._taken >= self.bound

    def open(self) -> None:
        if not self._open and self._socket.fileno() >= 0:
            self._open = True
            asyncio.get_running_loop().add_reader(self._socket, self._accept)

    def _pause(self) -> None:
        if self._open:
            self._open = False
            asyncio.get_running_loop().remove_reader(self._socket)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if self.pressed:
                return self._pause()
            try:
                client, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return None
            except OSError:  # no descriptors or no memory: again when one goes, or in a second
                return self._pause()
            self._enter(client)
        return None

    def _enter(self, client: socket.socket) -> None:
        client.setblocking(False)
        self._taken += 1
        task = asyncio.get_running_loop().create_task(self._connect(client))
        self._entering.add(task)
        task.add_done_callback(self._entering.discard)

    async def _connect(self, client: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: self._speak(self), client)
        except OSError:  # it went meanwhile
            client.close()
            self._go()

    def entered(self, guest: Guest) -> None:
        self._guests.add(guest)

    def left(self, guest: Guest) -> None:
        self._guests.discard(guest)
        self._go()

    def _go(self) -> None:
        self._taken -= 1
        if not self._open:
            self.open()

    def look(self, now: float) -> None:
        """Once a second: who waits for nothing any more goes, and what could not be accepted is tried again."""
        for guest in tuple(self._guests):
            guest.look(now, self.pressed)
        if not self.pressed:
            self.open()

    def close(self) -> None:
        """Nobody comes in any more. As uvicorn calls it when it stops."""
        self._pause()
        self._socket.close()

    async def wait_closed(self) -> None:
        """uvicorn waits for its servers; this one is closed at once."""

    def abort(self) -> None:
        """Whoever is still there is cut off."""
        for guest in tuple(self._guests):
            guest.abort()
