"""An HTTP client of few lines for tests, over TCP or a unix socket, in the test's own event loop."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def exchange(where: Path | int, raw: bytes) -> Answer:
    """Send bytes, read to the end. `where`: a unix socket or a port of 127.0.0.1."""
    if isinstance(where, int):
        reader, writer = await asyncio.open_connection("127.0.0.1", where)
    else:
        reader, writer = await asyncio.open_unix_connection(where)
    try:
        writer.write(raw)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    return Answer(int(first.split()[1]), headers, body)


async def request(where: Path | int, target: str, content: Any = None, *, method: str = "", **headers: str) -> Answer:
    """GET, or POST of `content` as JSON."""
    body = b"" if content is None else json.dumps(content).encode()
    fields = {"Host": "localhost", "Connection": "close", **headers}
    if content is not None:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [f"{method or ('GET' if content is None else 'POST')} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return await exchange(where, "\r\n".join([*lines, "", ""]).encode() + body)
