"""A small application behind our HTTP connections, on real sockets, and what its tests say to it and hear."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

from uvicorn.server import ServerState

from relay.api.serving.connection import Connection
from relay.api.serving.gate import Gate
from relay.api.serving.guards import Size
from relay.api.serving.server import Bounds, configured
from relay.api.serving.sockets import tcp_socket

LIMIT = 100_000
POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"


async def reply(send, body=b"", status=200):
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def body_of(receive):
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        parts.append(message["body"])
        more = message["more_body"]
    return b"".join(parts)


@dataclass
class Served:
    gate: Gate
    port: int
    go: asyncio.Event
    went: int = 0

    async def app(self, scope, receive, send):
        match scope["path"]:
            case "/echo":
                try:
                    await reply(send, await body_of(receive))
                except ConnectionError:
                    self.went += 1
            case "/wait":
                await self.go.wait()
                await reply(send, b"waited")
            case "/large":
                await reply(send, b"x" * 30_000_000)
            case "/fields":
                await body_of(receive)
                await reply(send, json.dumps([name.decode() for name, _ in scope["headers"]]).encode())
            case path:
                await reply(send, path.encode())

    def later(self, seconds: float) -> None:
        """It looks twice before it loses its patience with a request."""
        then = asyncio.get_running_loop().time() + seconds
        self.gate.look(then)
        self.gate.look(then)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    """A gate on a port of its own, with twenty places."""
    tcp = tcp_socket("127.0.0.1", 0)
    port = tcp.getsockname()[1]
    found: Served

    async def app(scope, receive, send):
        await found.app(scope, receive, send)

    bounds = Bounds(connections=20, requests=50, held=10 * LIMIT)
    config, state = configured(app, bounds, lambda path: Size(LIMIT)), ServerState()
    gate = Gate(tcp, bounds.connections, lambda gate: Connection(gate, config, state))
    found = Served(gate, port, asyncio.Event())
    gate.open()
    yield found
    found.go.set()
    gate.close()
    gate.abort()
    await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def connected(served: Served):
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def answer(reader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    return int(head[0].split()[1]), fields, await reader.readexactly(int(fields.get("content-length", 0)))


async def said(served: Served, raw: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """All answers until the server closes, which it must."""
    async with asyncio.timeout(5), connected(served) as (reader, writer):
        writer.write(raw)
        answers = []
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                answers.append(await answer(reader))
        return answers
