"""Mail over HTTP: `python -m bench.web PORT MESSAGES --connections N` sends POST /v1/messages on kept connections, with
`--event NAME` POST /v1/events.

Bytes straight into the transport, in a process of its own: it is not what is measured. A 429 is asked again after its
Retry-After; anything else but 202 ends it with 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from typing import cast

_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) .*?\r\n\r\n", re.DOTALL)
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_LATER = re.compile(rb"\r\nretry-after: (\d+)\r\n", re.IGNORECASE)


def request(size: int, token: str = "", event: str = "") -> bytes:
    """One recipient, text of so many bytes; or an event that has as many to tell."""
    line = "All work and no play makes a dull mail, says the proverb.\n"
    text = (line * (size // len(line) + 1))[:size]
    if event:
        return _post("/v1/events", {"event": event, "data": {"to": "user@example.test", "text": text}}, token)
    letter = {"from": "app@bench.test", "to": ["user@example.test"], "subject": "Of the benchmark", "text": text}
    return _post("/v1/messages", letter, token)


def _post(path: str, content: object, token: str) -> bytes:
    body = json.dumps(content).encode()
    fields = ["Host: localhost", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    fields += [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join([f"POST {path} HTTP/1.1", *fields, "", ""]).encode() + body


class Load:
    """What is left to send, shared by all connections. `over` is set when all were taken, or one was not."""

    def __init__(self, messages: int, raw: bytes) -> None:
        self.raw = raw
        self.left = self.missing = messages
        self.later = 0
        self.wrong = b""
        self.over = asyncio.Event()

    def take(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def taken(self) -> None:
        self.missing -= 1
        if not self.missing:
            self.over.set()

    def fail(self, answer: bytes) -> None:
        self.wrong = answer
        self.over.set()


class Session(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._got = b""
        self._waits = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no asyncio.Transport
        self._next()

    def _next(self) -> None:
        if self._load.take():
            self._send()
        else:
            self._transport.close()

    def _send(self) -> None:
        self._waits = True
        self._transport.write(self._load.raw)

    def data_received(self, data: bytes) -> None:
        got = self._got = self._got + data
        head = _HEAD.match(got)
        if head is None:
            return
        length = _LENGTH.search(got, 0, head.end())
        end = head.end() + (int(length[1]) if length else 0)
        if len(got) >= end:
            self._got = got[end:]
            self._waits = False
            self._answered(head[1], got)

    def _answered(self, status: bytes, answer: bytes) -> None:
        if status == b"202":
            self._load.taken()
            self._next()
        elif status == b"429":
            self._load.later += 1
            later = _LATER.search(answer)
            asyncio.get_running_loop().call_later(int(later[1]) if later else 1, self._send)
        else:
            self._load.fail(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waits:
            self._load.fail(b"the connection ended before the answer")


async def send(port: int, load: Load, connections: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: Session(load), "127.0.0.1", port)
    await load.over.wait()


def main() -> int:
    import uvloop

    parser = argparse.ArgumentParser(prog="python -m bench.web")
    parser.add_argument("port", type=int)
    parser.add_argument("messages", type=int)
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--token", default="")
    parser.add_argument("--event", default="")
    given = parser.parse_args()

    async def run() -> Load:
        load = Load(given.messages, request(given.size, given.token, given.event))
        await send(given.port, load, given.connections)
        return load

    load = uvloop.run(run())
    if load.wrong:
        print(f"bench.web: {load.wrong[:500]!r}", file=sys.stderr)
    return int(bool(load.wrong))


if __name__ == "__main__":
    sys.exit(main())
