"""The API of a relay that does not run, called within this process: the same application over the spool itself.

Made by `client` when nothing answers on the control socket. It holds the spool's lock until it is closed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message

from relay.app.offline import offline_api
from relay.app.plan import CannotStart
from relay.cli.asking import JSON, Relay, decoded
from relay.cli.options import Failure
from relay.config.load import Loaded

Open = Callable[[Loaded], AbstractAsyncContextManager[ASGIApp]]
"""Takes the spool's lock and gives it back. Raises CannotStart."""


class Local(Relay):
    """Opened at the first question."""

    def __init__(self, loaded: Loaded, open_api: Open = offline_api) -> None:
        self._loaded = loaded
        self._open = open_api
        self._runner = asyncio.Runner()
        self._opened = AsyncExitStack()
        self._api: ASGIApp | None = None
        self._closed = False

    def exchange(self, target: str, order: JSON | None = None, method: str = "") -> tuple[int, JSON]:
        """As Relay's. Raises Failure when the spool cannot be had."""
        try:
            return self._runner.run(self._exchange(target, order, method))
        except CannotStart as error:
            raise Failure(str(error)) from None

    async def _exchange(self, target: str, order: JSON | None, method: str) -> tuple[int, JSON]:
        if self._api is None:
            self._api = await self._opened.enter_async_context(self._open(self._loaded))
        body = b"" if order is None else json.dumps(order).encode()
        status, content = await call(self._api, method or ("POST" if body else "GET"), target, body)
        return status, decoded(content)

    def close(self) -> None:
        """Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._runner.run(self._opened.aclose())
        self._runner.close()


async def call(api: ASGIApp, method: str, target: str, body: bytes) -> tuple[int, bytes]:
    """One request as a server would make it: status and body of the answer."""
    path, _, query = target.partition("?")
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": headers,
        "client": None,
        "server": None,
    }
    answer: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        answer.append(message)

    await api(scope, receive, send)
    status: int = answer[0]["status"]
    return status, b"".join(message.get("body", b"") for message in answer[1:])
