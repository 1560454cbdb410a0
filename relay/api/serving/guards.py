"""What stands in front of the API: how many requests at once, and how large their bodies.

Put around the application by `server`. A guard answers with a problem document or lets the request pass unchanged; it
never reads what it lets pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relay.api.problem import MEDIA_TYPE, problem
from relay.compose.senders import House

MAX_BODY = 1 << 20
"""Bytes; most requests are small JSON documents (hazard H6)."""

MAX_FORM = 64 << 10
"""For what needs no token yet, and for settings of one provider."""

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
TOKEN_PATH = "/token"  # nosec B105 - a path

DETAIL_ONLY = frozenset({"/smtp/send-email"})
"""Where the body of an error is fixed by those who use it."""

_MAIL_AS_JSON = frozenset({"/v1/messages", "/smtp/send-email", "/v1/services/smtp.send_email"})
_LONGEST_WAIT = 30
_OBJECTS = 16
"""Bytes in memory for each of JSON that may be anything: `[],[],[]` takes as many and more (hazard H6)."""


class Size(NamedTuple):
    """How many bytes a body may have; `weight`: what each of them takes in memory until the answer, 0: it streams."""

    limit: int
    weight: int = 1


Sizes = Callable[[str], Size]
"""By path."""


def sizes_of(house: Callable[[], House]) -> Sizes:
    """Mail is bounded by the largest message there may be now: in JSON its attachments are base64 (RFC 4648 4)."""

    def size(path: str) -> Size:
        if path in _MAIL_AS_JSON:
            return Size(house().max_message_size * 4 // 3 + MAX_BODY)
        if path == "/v1/messages/raw":
            return Size(house().max_message_size, weight=0)
        if path == "/v1/events":
            return Size(MAX_BODY, weight=_OBJECTS)
        if path == TOKEN_PATH or path.startswith("/api/email-provider/"):
            return Size(MAX_FORM)
        return Size(MAX_BODY)

    return size


async def answer(
    scope: Scope,
    send: Send,
    status: int,
    detail: str,
    *,
    retry_after: int = 0,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """A problem document. The connection goes on only if all that remains of the request can be thrown away soon."""
    plain = scope["path"] in DETAIL_ONLY
    body = json.dumps({"detail": detail} if plain else problem(status, detail, scope["path"])).encode()
    media_type = b"application/json" if plain else MEDIA_TYPE.encode()
    headers = [*headers, (b"content-type", media_type), (b"content-length", b"%d" % len(body))]
    if retry_after:
        headers.append((b"retry-after", b"%d" % retry_after))
    if status == 413 or any(name == b"expect" for name, _ in scope["headers"]):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Room:
    """For so many requests at once. Who is turned away is told a later second each time as many went away as there is
    room for: they do not come back all at once.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self._second = 0
        self._refused = 0

    def when(self, second: int) -> int:
        if second != self._second:
            self._second, self._refused = second, 0
        self._refused += 1
        return min(1 + self._refused // self.limit, _LONGEST_WAIT)


class Busy:
    """At most `limit` requests are in work at once; the others hear when to come back, before their body is read.

    An eighth as many logins have a room of their own: their bodies come from anybody, as slowly as is allowed, and
    must not keep out who has a token (hazard D3). Health and metrics always pass.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._usual = _Room(limit)
        self._logins = _Room(max(1, limit // 8))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        room = self._logins if scope["path"] == TOKEN_PATH else self._usual
        if room.taken >= room.limit:
            detail = f"{room.limit} requests are in work, no more are taken at once; come back a little later"
            await answer(scope, send, 429, detail, retry_after=room.when(int(asyncio.get_running_loop().time())))
            return
        room.taken += 1
        try:
            await self._app(scope, receive, send)
        finally:
            room.taken -= 1


class _Refused(Exception):
    """Ends the reading of a body; the application may make an answer of it, which is not sent."""


class _Body:
    """One body, counted as it arrives, whatever Content-Length says. `refusal`: status and why it is not read on."""

    def __init__(self, size: Size, room: Bodies, receive: Receive, send: Send) -> None:
        self.size = size
        self.read = 0
        self.refusal = 0
        self._room = room
        self._receive = receive
        self._send = send
        self._started = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message.get("body"):
            self._add(len(message["body"]))
        return message

    def _add(self, size: int) -> None:
        self.read += size
        self._room.held += size * self.size.weight
        if self.read > self.size.limit:
            self.refusal = 413
        elif self.size.weight and self._room.held > self._room.most:
            self.refusal = 429
        if self.refusal:
            raise _Refused

    async def send(self, message: Message) -> None:
        if self.refusal and not self._started:
            return
        self._started = True
        await self._send(message)

    @property
    def unanswered(self) -> bool:
        return self.refusal != 0 and not self._started


class Bodies:
    """No body is larger than its path allows, and all that are held at once take at most `most` bytes."""

    def __init__(self, app: ASGIApp, sizes: Sizes, most: int) -> None:
        self.most = most
        self.held = 0
        self._app = app
        self._sizes = sizes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = self._sizes(scope["path"])
        announced = _announced(scope)
        if announced > size.limit:
            await self._refuse(scope, send, 413, size)
        elif size.weight and announced * size.weight + self.held > self.most:
            await self._refuse(scope, send, 429, size)
        else:
            await self._count(scope, _Body(size, self, receive, send), send)

    async def _count(self, scope: Scope, body: _Body, send: Send) -> None:
        try:
            with contextlib.suppress(_Refused):
                await self._app(scope, body.receive, body.send)
        finally:
            self.held -= body.read * body.size.weight
        if body.unanswered:
            await self._refuse(scope, send, body.refusal, body.size)

    async def _refuse(self, scope: Scope, send: Send, status: int, size: Size) -> None:
        if status == 413:
            await answer(scope, send, 413, f"the body of this request may have {size.limit} bytes")
        else:
            detail = "the bodies of requests in work fill the memory there is for them; come back a little later"
            await answer(scope, send, 429, detail, retry_after=2)


def _announced(scope: Scope) -> int:
    """The parser has refused a Content-Length that is no number."""
    return next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0)
