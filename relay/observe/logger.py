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
from typing import TYPE_CHECKING, Any, TextIO

from relay.observe.bare import structlog
from relay.observe.stdlib import route_stdlib
from relay.observe.text import as_console, as_json, mask_fields, place_of

if TYPE_CHECKING:
    from structlog.typing import Processor

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
Fields = MutableMapping[str, Any]


class Sink:
    """Where lines go. Those of one turn of the running loop are one write; without a loop, each is one.

    They go past the stream's text layer into its buffer; that layer passes on each line at once, so order is kept.
    A stream that is gone or full must not stop the mail: its lines are dropped.
    """

    def __init__(self, stream: TextIO, least: int = logging.DEBUG) -> None:
        """`least`: the level from which on lines are wanted."""
        self.least = least
        self._text = stream  # were it dropped, it would close the buffer
        self._stream = stream.buffer
        self._lines: list[bytes] = []
        self._scheduled = False

    def debug(self, line: bytes) -> None:
        self._lines.append(line)
        if not self._scheduled:
            self._schedule()

    info = debug

    def warning(self, line: bytes) -> None:
        self._lines.append(line)
        self.flush()

    error = warning

    def flush(self) -> None:
        self._scheduled = False
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        lines.append(b"")
        with contextlib.suppress(OSError, ValueError):  # ValueError: the stream was closed, at exit
            self._stream.write(b"\n".join(lines))
            self._stream.flush()

    def _schedule(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            self._scheduled = True
            loop.call_soon(self.flush)


class Log(structlog.BoundLoggerBase):
    """structlog's logger with one short way from words and fields through the processors to the sink.

    structlog's own classes make six calls of a line before the first processor, and copy its fields three times.
    """

    def debug(self, words: str, /, **fields: Any) -> None:
        self.write("debug", words, fields)

    def info(self, words: str, /, **fields: Any) -> None:
        self.write("info", words, fields)

    def warning(self, words: str, /, **fields: Any) -> None:
        self.write("warning", words, fields)

    def error(self, words: str, /, **fields: Any) -> None:
        self.write("error", words, fields)

    def shows(self, level: str) -> bool:
        return bool(LEVELS[level] >= self._logger.least)

    def write(self, level: str, words: str, fields: Mapping[str, Any]) -> None:
        """A line at a key of LEVELS, for who has its fields in a dict already."""
        sink = self._logger
        if LEVELS[level] >= sink.least:
            line: Any = {"time": "", "level": level, "event": words, **self._context, **fields}
            for process in self._processors:
                line = process(sink, level, line)
            getattr(sink, level)(line)


class _Stamp:
    """Fills in the time: RFC 3339, UTC, milliseconds. Each of them is formatted once."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at = -1
        self._second = -1
        self._prefix = ""
        self._text = ""

    def __call__(self, logger: object, level: str, event: Fields) -> Fields:
        at = int(self._clock() * 1000)
        if at != self._at:
            self._format(at)
        event["time"] = self._text
        return event

    def _format(self, at: int) -> None:
        second, milliseconds = divmod(at, 1000)
        if second != self._second:
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        self._text = f"{self._prefix}.{milliseconds:03d}Z"
        self._at = at


def _no_traceback(logger: object, level: str, event: Fields) -> Fields:
    if "exc_info" not in event:
        return event
    error = event.pop("exc_info")
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        event["exception"] = place_of(error)
    return event


def _mask(logger: object, level: str, event: Fields) -> Fields:
    return mask_fields(dict(event))


def _renderer(style: str, stream: TextIO) -> Processor:
    terminal = stream.isatty()
    if style == "json" or (style == "auto" and not terminal):
        return lambda _logger, _level, event: as_json(event)
    encoding = stream.encoding  # what it lacks is escaped
    return lambda _logger, _level, event: as_console(event, terminal).encode(encoding, "backslashreplace")


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
    sink = Sink(target, LEVELS[level])
    atexit.register(sink.flush)
    masking = [_mask] if redact else []
    processors: list[Processor] = [_no_traceback, *masking, _Stamp(clock), _renderer(format, target)]
    log = Log(sink, processors, context={})
    route_stdlib(log, LEVELS[level])
    return log
