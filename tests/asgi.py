"""Asking an application without a socket: one request, one answer, whoever the caller is to be."""

from __future__ import annotations

import json
from typing import Any

from starlette.types import ASGIApp, Message

from relay.api.callers import CONTROL, Caller
from tests.web import Answer


class Client:
    """`who`: as the entrance would have found out. `body`: bytes, or what becomes JSON."""

    def __init__(self, app: ASGIApp, who: Caller = CONTROL) -> None:
        self.app = app
        self.who = who

    async def __call__(self, method: str, target: str, body: Any = None, **headers: str) -> Answer:
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        path, _, query = target.partition("?")
        fields = {"host": "localhost", "content-length": str(len(raw))}
        fields |= {} if body is None else {"content-type": "application/json"}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in (fields | headers).items()],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8025),
            "state": {},
            "caller": self.who,
        }
        incoming: list[Message] = [{"type": "http.request", "body": raw, "more_body": False}]
        outgoing: list[Message] = []

        async def receive() -> Message:
            return incoming.pop(0) if incoming else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            outgoing.append(message)

        await self.app(scope, receive, send)
        start, *bodies = outgoing
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], found, b"".join(message.get("body", b"") for message in bodies))
