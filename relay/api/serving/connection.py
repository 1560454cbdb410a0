"""One HTTP connection: uvicorn's protocol on httptools, with bounds on what a client may send and how long it may take.

Made by `gate` for each connection. What goes wrong before the application sees a request is answered here, with a
problem document: 400, 408, 413, 431. It never reads a body that nobody asked for, but to throw it away.
"""

from __future__ import annotations

import asyncio
import json
from enum import Enum, auto
from http import HTTPStatus
from math import inf
from typing import cast

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from relay.api.problem import MEDIA_TYPE, problem
from relay.api.serving.gate import Gate

MAX_HEAD = 32 * 1024
"""Bytes of a request line with its header, or of anything else that is neither header nor body."""

MAX_FIELDS = 100
MAX_LINE = 16
"""Requests that a client sends before it has read the answer to the first."""

HEAD = 10.0
"""Seconds for a whole head; of patience with a connection that says nothing."""

KEPT = 5.0
"""Seconds that a connection may wait for its next request. For both: `HURRIED` when others cannot come in."""

HURRIED = 3.0
SILENCE = 30.0
"""Seconds without a byte of a body, or of an answer that the client does not read."""

RATE = 1024.0
"""Bytes a second: what a body must make on average, after the first half minute."""

REST = 5.0
"""Seconds for what a client still sends when it has its answer: closing at once would reset the connection, and
the answer could be lost (RFC 9112 9.6)."""

MAX_REST = 64 << 20


class _Stage(Enum):
    """What is read now: nothing yet, a head, a body, or what is thrown away before the connection is closed."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    REST = auto()


class _Wrong(Exception):
    """Ends the parser's work on a request that must not go on."""

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        self.detail = detail


_NOT_HTTP = _Wrong(400, "this is not a request of HTTP/1.1")
_HEAD_TOO_LARGE = _Wrong(431, f"request line and header may have {MAX_HEAD} bytes in {MAX_FIELDS} fields")
_MANY = _Wrong(429, f"{MAX_LINE} requests may wait for their turn on a connection; send on when answers came")
_HOST = _Wrong(400, "a request of HTTP/1.1 has one Host field (RFC 9112 3.2)")
_NO_PROXY = _Wrong(405, "this is no proxy")
_SLOW_HEAD = _Wrong(408, f"request line and header must be there within {HEAD:.0f} seconds")
_SLOW_BODY = _Wrong(408, f"the body stopped for {SILENCE:.0f} seconds, or is slower than {RATE:.0f} bytes a second")


class _Way:
    """The transport as the rest of uvicorn sees it: closing it leaves politely."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, connection: Connection, transport: asyncio.Transport) -> None:
        self.write = transport.write
        self.close = connection.leave
        self.is_closing = connection.is_leaving


class Connection(HttpToolsProtocol):
    """`_due`: when patience with what is read ends; `_since`: when this stage began. Seconds of the loop's clock."""

    def __init__(self, gate: Gate, config: Config, state: ServerState) -> None:
        super().__init__(config, state, app_state={})
        self._gate = gate
        self._stage = _Stage.IDLE
        self._since = self._due = 0.0
        self._late = False  # at the last look
        self._unread = inf  # since when the client has not read what is written
        self._head = 0  # bytes of this head, or of the trailers of this body
        self._dry = 0  # bytes since the parser last made something of them
        self._rest = 0  # bytes thrown away since the answer
        self._refusal: _Wrong | None = None

    # The connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._real = cast(asyncio.Transport, transport)  # uvloop's is no asyncio.Transport
        super().connection_made(self._real)
        self.transport = _Way(self, self._real)  # type: ignore[assignment]
        self._enter(_Stage.IDLE, HEAD)
        self._gate.entered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.left(self)
        self._enter(_Stage.REST, inf)
        super().connection_lost(exc)

    def abort(self) -> None:
        self._real.abort()

    def is_leaving(self) -> bool:
        return self._stage is _Stage.REST or self._real.is_closing()

    def leave(self) -> None:
        """Nothing more is written. What the client still sends of a body is thrown away for a while."""
        if self.is_leaving():
            return
        if self._stage is _Stage.IDLE:
            self._enter(_Stage.REST, 2 * SILENCE)
            self._real.close()
        else:
            self._enter(_Stage.REST, REST)
            self._real.write_eof()
            self.flow.resume_reading()

    def shutdown(self) -> None:
        """The relay stops."""
        if self.cycle is None or self.cycle.response_complete:
            self._real.close()
        else:
            self.cycle.keep_alive = False

    # What arrives.

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn says None
        """A client that sends no more may still wait for its answer. True: the other direction stays open."""
        waiting = self._stage is _Stage.IDLE and self.cycle is not None and not self.cycle.response_complete
        if waiting:
            self.cycle.keep_alive = False
        return waiting

    def data_received(self, data: bytes) -> None:
        if self._stage is _Stage.REST or self._refusal:
            self._throw_away(len(data))
            return
        if self._stage is _Stage.IDLE:
            self._enter(_Stage.HEAD, HEAD)
        self._dry += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            self._refuse(error.__context__ if isinstance(error.__context__, _Wrong) else _NOT_HTTP)
            return
        if self._dry > MAX_HEAD:
            self._refuse(_HEAD_TOO_LARGE)

    def _parse(self, data: bytes) -> None:
        """An offer to speak another protocol is not taken up (RFC 9110 7.8): the request is read as if it made none."""
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as offer:
                data = self._without_offer() + data[offer.args[0] :]
                self.parser = httptools.HttpRequestParser(self)  # the old one takes the body for the other protocol
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does

    def _without_offer(self) -> bytes:
        fields = [(name, value) for name, value in self.headers if name not in (b"upgrade", b"connection")]
        lasting = b"close" not in b",".join(value.lower() for name, value in self.headers if name == b"connection")
        first = b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        last = (b"connection", b"keep-alive" if lasting else b"close")
        return first + b"".join(b"%s: %s\r\n" % field for field in (*fields, last)) + b"\r\n"

    def _throw_away(self, size: int) -> None:
        self._rest += size
        if self._rest > MAX_REST:
            self.abort()

    def on_message_begin(self) -> None:
        self._head = 0
        if self._stage is not _Stage.HEAD:  # sent together with the one before
            self._enter(_Stage.HEAD, HEAD)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Trailers are counted and dropped: a field that comes behind the body was seen by no check."""
        self._count(len(name) + len(value) + 4)
        if self._stage is _Stage.BODY:
            return
        if len(self.headers) >= MAX_FIELDS:
            raise _HEAD_TOO_LARGE
        super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._dry = 0
        self._head += size
        if self._head > MAX_HEAD:
            raise _HEAD_TOO_LARGE

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _NO_PROXY
            return
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (not hosts and self.parser.get_http_version() != "1.0"):
            raise _HOST
        if len(self.pipeline) >= MAX_LINE:
            raise _MANY
        super().on_headers_complete()
        if self._gate.pressed:  # others wait to come in
            self.cycle.keep_alive = False
        self._head = 0
        self._enter(_Stage.BODY, SILENCE)

    def on_body(self, body: bytes) -> None:
        self._dry = 0
        if self.cycle.response_complete:
            self._throw_away(len(body))
            return
        self._due = min(self._due + len(body) / RATE, self.loop.time() + SILENCE)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._dry = 0
        if self.parser.should_upgrade():
            return
        self._enter(_Stage.IDLE, KEPT)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's, but without a timer for each request; a refusal waits for the answers before it."""
        self.server_state.total_requests += 1
        if self.is_leaving():
            return
        self.flow.resume_reading()
        self._rest = 0
        if self.cycle.response_complete:
            self.cycle.body = bytearray()  # what nobody asked for, and would be kept until the next request
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal:
            self._say(self._refusal)
        elif self._stage is _Stage.IDLE:
            self._enter(_Stage.IDLE, KEPT)
        else:
            self._due = min(self._due, self.loop.time() + REST)

    # What goes wrong.

    def _refuse(self, why: _Wrong) -> None:
        """Answers come in the order of the requests (RFC 9112 9.3.2), so this one may have to wait."""
        self._refusal = why
        if self._stage is _Stage.BODY:
            self._refuse_body(why)
        elif self.cycle is None or self.cycle.response_complete:
            self._say(why)

    def _refuse_body(self, why: _Wrong) -> None:
        """The application hears that the client went, and what it answers goes nowhere."""
        if self.pipeline:
            self.pipeline.popleft()  # the newest, which was not begun
            return
        begun = self.cycle.response_started
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        if begun:
            self.abort()
        else:
            self._say(why)

    def _say(self, why: _Wrong) -> None:
        body = json.dumps(problem(why.status, why.detail, "")).encode()
        fields = [
            *self.server_state.default_headers,
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *([(b"retry-after", b"1")] if why.status == 429 else ()),
        ]
        first = b"HTTP/1.1 %d %s\r\n" % (why.status, HTTPStatus(why.status).phrase.encode())
        self._real.write(first + b"".join(b"%s: %s\r\n" % field for field in fields) + b"\r\n" + body)
        self.leave()

    # Patience.

    def _enter(self, stage: _Stage, seconds: float) -> None:
        self._stage = stage
        self._late = False
        self._since = self.loop.time()
        self._due = self._since + seconds

    def pause_writing(self) -> None:
        self._unread = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._unread = inf
        super().resume_writing()

    def look(self, now: float, pressed: bool) -> None:
        """Called about once a second. `pressed`: no more connections are taken in, so who idles is in the way."""
        if now > self._unread + SILENCE:
            self.abort()
        elif self._stage is _Stage.IDLE or self._stage is _Stage.HEAD:
            self._look_for_request(now, self._since + HURRIED if pressed else self._due)
        elif self._stage is _Stage.BODY:
            self._look_at_body(now)
        elif now > (self._since + HURRIED / 2 if pressed and not self._real.is_closing() else self._due):
            self.abort()

    def _look_for_request(self, now: float, due: float) -> None:
        """At the second look: when it is we who are late, what it sent lies in the kernel and is read before that."""
        if now <= due or self._refusal or self.flow.read_paused:
            return
        if not self._late:
            self._late = True
            return
        if self._stage is _Stage.HEAD:
            self._refuse(_SLOW_HEAD)
        elif self.cycle is None or self.cycle.response_complete:
            self._real.close()

    def _look_at_body(self, now: float) -> None:
        if self.flow.read_paused:  # it is we who do not read
            self._due = now + SILENCE
        elif now > self._due and self.cycle.response_complete:
            self.abort()
        elif now > self._due and not self._refusal:
            self._refuse(_SLOW_BODY)
