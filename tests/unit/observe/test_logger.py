"""The log: lines, levels, batching, and what must never be in one."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import Any

import pytest

from relay.observe.logger import Sink, configure
from relay.observe.text import as_console, masked, place_of


class Bytes(io.BytesIO):
    """Remembers how often it was written to."""

    writes = 0

    def write(self, data: Any) -> int:
        self.writes += 1
        return super().write(data)


class Stream(io.TextIOWrapper):
    """As stderr is: a text layer above bytes."""

    def __init__(self, terminal: bool = False, encoding: str = "utf-8") -> None:
        self.bytes = Bytes()
        super().__init__(self.bytes, encoding=encoding)
        self._terminal = terminal

    @property
    def writes(self) -> int:
        return self.bytes.writes

    def getvalue(self) -> str:
        return self.bytes.getvalue().decode(self.encoding)

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(autouse=True)
def _stdlib_as_before():
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


def lines(stream: Stream) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_off_a_terminal_with_time_level_and_event_first():
    stream = Stream()
    configure("info", "auto", stream=stream, clock=lambda: 1_795_000_000.25).info("delivered", message="0a")
    assert stream.getvalue() == (
        '{"time":"2026-11-18T11:06:40.250Z","level":"info","event":"delivered","message":"0a"}\n'
    )


def test_console_on_a_terminal_and_json_when_told():
    terminal, told = Stream(terminal=True), Stream(terminal=True)
    configure("info", "auto", stream=terminal).info("delivered", to=["a@b", "c@d"])
    configure("info", "json", stream=told).info("delivered")
    assert "\x1b[" in terminal.getvalue()
    assert "to=a@b,c@d" in terminal.getvalue()
    assert lines(told)[0]["event"] == "delivered"


def test_console_into_a_file_has_no_colours():
    stream = Stream()
    configure("info", "console", stream=stream).info("message accepted", reply="250 ok")
    assert "\x1b" not in stream.getvalue()
    assert 'reply="250 ok"' in stream.getvalue()


def test_a_terminal_is_given_no_letter_that_its_encoding_lacks():
    stream = Stream(encoding="ascii")
    configure("info", "console", stream=stream).info("delivered", to=["für@b.example"])
    assert stream.getvalue().endswith(" to=f\\xfcr@b.example\n")


def test_what_is_bound_to_a_logger_is_in_its_lines():
    stream = Stream()
    configure("info", "json", stream=stream).bind(listener="internal").info("delivered", message="0a")
    (line,) = lines(stream)
    assert list(line) == ["time", "level", "event", "listener", "message"]


def test_times_are_to_the_millisecond_whichever_came_before():
    stream, times = Stream(), iter([1_795_000_000.25, 1_795_000_000.2509, 1_795_000_000.999, 1_795_000_001.0])
    log = configure("info", "json", stream=stream, clock=lambda: next(times))
    for _ in range(4):
        log.info("delivered")
    assert [str(line["time"])[17:] for line in lines(stream)] == ["40.250Z", "40.250Z", "40.999Z", "41.000Z"]


def test_level_hides_what_is_below():
    stream = Stream()
    log = configure("warning", "json", stream=stream)
    log.info("small")
    log.warning("large")
    assert [line["event"] for line in lines(stream)] == ["large"]


async def test_lines_of_one_turn_of_the_loop_are_one_write():
    stream = Stream()
    log = configure("info", "json", stream=stream)
    for _ in range(100):
        log.info("delivered")
    assert stream.writes == 0
    await asyncio.sleep(0)
    assert (stream.writes, len(lines(stream))) == (1, 100)


async def test_a_warning_takes_what_waits_with_it_at_once_and_in_order():
    stream = Stream()
    log = configure("info", "json", stream=stream)
    log.info("first")
    log.warning("second")
    assert [line["event"] for line in lines(stream)] == ["first", "second"]


def test_a_stream_that_is_gone_stops_nothing():
    stream = Stream()
    sink = Sink(stream)
    stream.close()
    sink.warning(b"nobody reads this")


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("bad", ["\r\n", "\n", "\x00", "\x1b[2J", "\x85", "\u2028", "\u202e", "\ud800", "\t"])
def test_H9_whatever_a_field_holds_it_is_one_escaped_line(style, bad):
    stream = Stream()
    log = configure("info", style, stream=stream)
    log.info("refused", reply=f'550 no{bad}{{"event":"message accepted"}}', to=[f"a{bad}@b"])
    text = stream.getvalue()
    assert len(text.splitlines()) == 1
    assert bad not in text.rstrip("\n")


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("bob@example.org", "b…@example.org"),
        ("b@example.org", "b…@example.org"),
        ('"bob smith"@example.org', '"…@example.org'),
        ("550 5.1.1 <bob@example.org>: no such user", "550 5.1.1 <b…@example.org>: no such user"),
        ("für@example.org,eve@x", "f…@example.org,e…@x"),
        ("no address here", "no address here"),
        ("", ""),
    ],
)
def test_masking_cuts_local_parts(text, safe):
    assert masked(text) == safe


def test_masking_is_linear_in_texts_an_upstream_chose():
    assert masked("@" + "x" * 200_000 + ' "' * 50_000).startswith("@x")


def test_redact_masks_every_field_also_in_lists():
    stream = Stream()
    log = configure("info", "json", redact=True, stream=stream)
    log.info("delivered", **{"from": "alice@a.example", "to": ["bob@b.example"], "reply": "250 bob@b.example ok"})
    assert "alice" not in stream.getvalue()
    assert "bob" not in stream.getvalue()
    assert lines(stream)[0]["to"] == ["b…@b.example"]


def test_H8_an_exception_is_logged_as_class_and_place_without_its_text():
    stream = Stream()
    log = configure("info", "json", stream=stream)
    try:
        raise ValueError("canary-7351 in a password")
    except ValueError:
        log.error("internal error", exc_info=True)
    assert "canary-7351" not in stream.getvalue()
    assert str(lines(stream)[0]["exception"]).startswith("ValueError at observe/test_logger.py:")


def test_an_operating_system_error_keeps_its_reason():
    assert place_of(OSError(28, "No space left on device")) == "OSError (No space left on device)"


def test_L8_what_aiosmtpd_logs_goes_nowhere():
    stream = Stream()
    configure("debug", "json", stream=stream)
    logging.getLogger("mail.log").error("b'Y2FuYXJ5'")
    logging.getLogger("mail").critical("b'Y2FuYXJ5'")
    logging.getLogger("uvicorn.access").info("GET /metrics")
    assert stream.getvalue() == ""


def test_H8_asyncio_is_heard_but_not_the_repr_of_what_it_was_doing():
    stream = Stream()
    configure("info", "json", stream=stream)
    logging.getLogger("asyncio").error("Exception in callback Session.feed(b'AUTH PLAIN canary')\nhandle: canary")
    logging.getLogger("asyncio").error("Task was destroyed but it is pending! <Task canary>")
    events = [line["event"] for line in lines(stream)]
    assert events == ["Exception in callback Session.feed", "Task was destroyed but it is pending!"]


def test_other_libraries_are_heard_with_their_name():
    stream = Stream()
    configure("info", "json", stream=stream)
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("uvicorn.error").info("Started server process")
    assert [(line["event"], line["logger"]) for line in lines(stream)] == [
        ("Invalid HTTP request received.", "uvicorn.error")
    ]


def test_console_shows_empty_and_spaced_values_in_quotes():
    line = as_console({"time": "2026-11-18T11:06:40.250Z", "level": "info", "event": "x", "from": "", "n": 3}, False)
    assert line == '11:06:40 info    x from="" n=3'
