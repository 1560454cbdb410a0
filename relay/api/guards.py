"""What stands in front of the API: the limit on bodies, and the door that TCP clients meet.

Put around the application by `app` and `server`. A guard answers with a problem document or lets the request pass
unchanged; it never reads what it lets pass.
"""

from __future__ import annotations

import contextlib
import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relay.api.problem import MEDIA_TYPE, problem

MAX_BODY = 1 << 20  # bytes; requests of this version are small JSON documents (hazard H6)
# Mail: its resources bound it by the largest message there may be, while it arrives.
_MAIL = frozenset({"/v1/messages", "/v1/messages/raw", "/smtp/send-email"})
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})


async def answer(scope: Scope, send: Send, status: int, detail: str) -> None:
    """A problem document, and the end of the connection: the request's body was not read."""
    body = json.dumps(problem(status, detail, scope["path"])).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class ControlOnly:
    """For TCP: everything but health and metrics is refused, since nobody can be told apart there yet."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        detail = (
            "over TCP this version answers /healthz, /readyz and /metrics only; everything else is on the control "
            "socket, relay.sock beside the spool, which the commands use: try relay queue list"
        )
        await answer(scope, send, 403, detail)


class _TooLarge(Exception):
    """Ends the reading of a body; the application may make an answer of it, which is not sent."""


class _Counted:
    """One request whose body is counted as it arrives, whatever Content-Length says."""

    def __init__(self, limit: int, receive: Receive, send: Send) -> None:
        self._left = limit
        self._receive = receive
        self._send = send
        self._started = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _TooLarge
        return message

    async def send(self, message: Message) -> None:
        if self.refused:
            return
        self._started = True
        await self._send(message)

    @property
    def refused(self) -> bool:
        return self._left < 0 and not self._started


class BodyLimit:
    """No request makes us hold more than `limit` bytes, but those that bring mail."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _MAIL:
            await self._app(scope, receive, send)
            return
        request = _Counted(self._limit, receive, send)
        with contextlib.suppress(_TooLarge):
            await self._app(scope, request.receive, request.send)
        if request.refused:
            await answer(scope, send, 413, f"the body of a request may have {self._limit} bytes")
