"""Text that is safe to show: log lines as JSON or for a terminal, and addresses without their local parts.

Called by the log; pure. It never lets a control character through (hazard H9) and never drops a field.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec

# ASCII only: JSON then escapes every control character, line separators (U+0085, U+2028), bidirectional overrides and
# lone surrogates by itself, so one event is one line whatever an address or a reply holds.
_ESCAPING = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, default=str)
_FAST = msgspec.json.Encoder(enc_hook=str)

# The local part of an address, quoted or not, in running text. Whatever is glued to it ("to=<b@x>") is masked with it.
# It starts only where a word does and never gives back: linear in texts that an upstream chose.
_LOCAL_PART = re.compile(r'"(?:[^"\\]|\\.)*+"(?=@)|(?<![^\s<>"@,;()])[^\s<>"@,;()]++(?=@)')

_COLOURS = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_RESET = "\x1b[0m"


def as_json(event: Mapping[str, Any]) -> bytes:
    """One line of JSON, in the order of the fields."""
    try:
        line = _FAST.encode(event)
        if line.isascii():
            return line
    except ValueError:  # a lone surrogate, or what is not UTF-8
        pass
    return _ESCAPING.encode(event).encode()


def escaped(text: str) -> str:
    """The same text, printable characters as they are, all others as Python escapes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def as_console(event: Mapping[str, Any], colours: bool) -> str:
    """One line for people: time, level, what happened, then `name=value`."""
    level = str(event["level"])
    words = escaped(str(event["event"]))
    fields = " ".join(f"{name}={_shown(value)}" for name, value in event.items() if name not in _LEADING)
    clock = str(event["time"])[11:19]
    if colours:
        return f"{clock} {_COLOURS.get(level, '')}{level:<8}{_RESET}\x1b[1m{words}{_RESET} {fields}"
    return f"{clock} {level:<8}{words} {fields}"


_LEADING = frozenset({"time", "level", "event"})


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(_shown(item) for item in value)
    text = escaped(str(value))
    return text if text and " " not in text else f'"{text}"'


def masked(text: str) -> str:
    """Local parts cut to their first letter: `bob@example.org` becomes `b…@example.org`."""
    return _LOCAL_PART.sub(lambda found: found[0][0] + "…", text) if "@" in text else text


def mask_fields(event: dict[str, Any]) -> dict[str, Any]:
    """Every text of an event masked, also inside lists."""
    return {name: _masked_value(value) for name, value in event.items()}


def _masked_value(value: Any) -> Any:
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, (list, tuple)):
        return [_masked_value(item) for item in value]
    return value


def moment(at: float) -> str:
    """A time for people and machines: RFC 3339, UTC, whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def place_of(error: BaseException, frames: int = 4) -> str:
    """An exception as class and places, innermost first. Not its text: that may be content or a secret (hazard H8)."""
    places: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{_short(code.co_filename)}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    where = " < ".join(reversed(places[-frames:]))
    reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    return f"{type(error).__name__}{reason}" + (f" at {where}" if where else "")


def _short(path: str) -> str:
    return "/".join(path.split("/")[-2:])
