"""A path with a round trip of its own: a proxy that holds every segment back for half of it, in both directions.

`python -m bench.path LISTEN UPSTREAM SECONDS`. It limits no bandwidth, keeps the order, and never looks at what passes.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast


class Side(asyncio.Protocol):
    """One end of a connection: what arrives here leaves on the other side `delay` later."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.other: Side | None = None
        self.transport: asyncio.Transport | None = None
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no asyncio.Transport

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(self.delay, self._pass_on, data)

    def connection_lost(self, exc: Exception | None) -> None:
        asyncio.get_running_loop().call_later(self.delay, self._close_other)

    def _pass_on(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        elif self.other.transport is not None:
            self.other.transport.write(data)

    def _close_other(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class Near(Side):
    """The client's side: it opens the far one when a client comes."""

    def __init__(self, upstream: int, delay: float) -> None:
        super().__init__(delay)
        self.upstream = upstream
        self.opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(3 * self.delay)  # SYN, SYN and ACK, ACK: only then a server speaks
        _, far = await loop.create_connection(lambda: Side(self.delay), "127.0.0.1", self.upstream)
        far.other, self.other = self, far
        for data in self.early:
            self._pass_on(data)


async def serve(listen: int, upstream: int, round_trip: float) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: Near(upstream, round_trip / 2), "127.0.0.1", listen, backlog=500
    )
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
