"""The log: one line for each thing that happened, as JSON, or for people when it goes to a terminal.

`app` configures it and hands `LogObserver` to the rooms. It never logs a subject, content or a secret, and an event is
always one line (hazards H8, H9). Lines of one turn of the event loop leave in one write; warnings leave at once.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

from relay.observe.stdlib import route_stdlib
from relay.observe.text import Renderer, as_console, as_json, mask_fields, place_of

Log = Any
"""A structlog logger: `log.info("words", field=value)`. Its class is made at run time, so it has no better type."""

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
Fields = MutableMapping[str, Any]


class Sink:
    """Where lines go. Those of one turn of the running loop are one write; without a loop, each is one.

    A stream that is gone or full must not stop the mail: its lines are dropped.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._scheduled = False

    def debug(self, line: str) -> None:
        self._lines.append(line)
        if not self._scheduled:
            self._schedule()

    info = debug

    def warning(self, line: str) -> None:
        self._lines.append(line)
        self.flush()

    error = critical = warning

    def flush(self) -> None:
        self._scheduled = False
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        with contextlib.suppress(OSError, ValueError):  # ValueError: the stream was closed, at exit
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()

    def _schedule(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            self._scheduled = True
            loop.call_soon(self.flush)


class _Stamp:
    """Adds time (RFC 3339, UTC, milliseconds) and level in front. The part up to the second is formatted once."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second = -1
        self._text = ""

    def __call__(self, logger: object, level: str, event: Fields) -> Mapping[str, Any]:
        now = self._clock()
        second = int(now)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        stamp = f"{self._text}.{int((now - second) * 1000):03d}Z"
        return {"time": stamp, "level": level, "event": event.pop("event"), **event}


def _no_traceback(logger: object, level: str, event: Fields) -> Fields:
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        event["exception"] = place_of(error)
    return event


def _mask(logger: object, level: str, event: Fields) -> Fields:
    return mask_fields(dict(event))


def _renderer(style: str, stream: TextIO) -> Renderer:
    terminal = stream.isatty()
    if style == "json" or (style == "auto" and not terminal):
        return as_json
    return lambda event: as_console(event, colours=terminal)


def configure(
    level: str = "info",
    format: str = "auto",
    redact: bool = False,
    *,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.time,
) -> Log:
    """A logger of its own, to which the standard library's loggers are led as well.

    `level`: a key of LEVELS. `format`: auto | console | json. `redact`: mask the local parts of addresses.
    """
    target = sys.stderr if stream is None else stream
    sink = Sink(target)
    atexit.register(sink.flush)
    render = _renderer(format, target)
    masking: list[Processor] = [_mask] if redact else []
    processors: list[Processor] = [_no_traceback, *masking, _Stamp(clock), lambda _logger, _level, event: render(event)]
    log = structlog.wrap_logger(
        sink,
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
    ).bind()
    route_stdlib(log, LEVELS[level])
    return log
