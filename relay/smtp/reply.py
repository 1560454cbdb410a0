"""SMTP replies: an upstream's, parsed from bytes as they come (RFC 5321 4.2), and ours, formatted.

The upstream's conversation and the listener call it. It never lets a control character through in either direction.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from msgspec import Struct

from relay.model import Reply

MAX_LINE: Final = 12_288  # RFC 4954 section 4: the longest line any extension allows
MAX_LINES: Final = 100
MAX_REPLY: Final = 65_536
MAX_TEXT: Final = 2_000  # of what is kept; a reply is stored with every recipient it was for
MAX_OFTEN: Final = 100
MAX_OWN: Final = 510  # RFC 5321 4.5.3.1.5, without CRLF

_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)", re.ASCII)  # RFC 3463 section 2


class ParsedReply(Struct, frozen=True):
    """`lines`: the text of each line as it came, without code and line end."""

    reply: Reply
    lines: tuple[bytes, ...]


class ProtocolError(Exception):
    """The upstream does not speak SMTP; nothing more can be read from this connection.

    `replies`: those that were complete before the fault, in the same `feed`; they count.
    """

    def __init__(self, message: str, replies: Sequence[ParsedReply] = ()) -> None:
        super().__init__(message)
        self.parsed = tuple(replies)

    @property
    def replies(self) -> tuple[Reply, ...]:
        return tuple(parsed.reply for parsed in self.parsed)


class ReplyParser:
    """Bytes in, complete replies out, however they are cut. Bounded: a line, the lines of a reply, a reply."""

    def __init__(self) -> None:
        self._buffer = b""
        self._code = b""
        self._lines: list[bytes] = []
        self._size = 0

    @property
    def partial(self) -> bool:
        """True when part of a reply has been read and not its end."""
        return bool(self._buffer or self._lines)

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes. Raises ProtocolError."""
        return [parsed.reply for parsed in self.read(data)]

    def read(self, data: bytes) -> list[ParsedReply]:
        """As `feed`, with the lines, for EHLO. Bare LF ends a line too: who answers so means it."""
        lines = (self._buffer + data).split(b"\n")
        self._buffer = lines.pop()
        done: list[ParsedReply] = []
        for line in lines:
            # Where no reply is half read, a line that fits all limits means the same each time it comes.
            whole = None if self._lines or len(line) > MAX_OFTEN else _whole(line)
            if whole is not None:
                done.append(whole)
            elif problem := self._line(line.removesuffix(b"\r"), done):
                raise ProtocolError(problem, done)
        if len(self._buffer) > MAX_LINE:
            raise ProtocolError("reply line too long", done)
        return done

    def _line(self, line: bytes, done: list[ParsedReply]) -> str:
        """Take one line; what is wrong with it, or ""."""
        self._size += len(line) + 2
        if len(line) > MAX_LINE or self._size > MAX_REPLY or len(self._lines) >= MAX_LINES:
            return "reply too long"
        found = _LINE.fullmatch(line)
        if found is None:
            return f"not an SMTP reply: {printable(line[:80])}"
        code, more, text = found.groups()
        if self._lines and code != self._code:
            return f"reply changes its code from {self._code.decode()} to {code.decode()}"
        self._code = code
        self._lines.append(text or b"")
        if more != b"-":
            done.append(_parsed(int(code), tuple(self._lines)))
            self._lines.clear()
            self._size = 0
        return ""


@lru_cache(maxsize=256)  # "250 2.1.5 Ok" and its like come thousands of times a second
def _whole(line: bytes) -> ParsedReply | None:
    """The reply that is this one line. None: it goes on, or is none."""
    found = _LINE.fullmatch(line.removesuffix(b"\r"))
    if found is None or found[2] == b"-":
        return None
    return _parsed(int(found[1]), (found[3] or b"",))


def _parsed(code: int, lines: tuple[bytes, ...]) -> ParsedReply:
    enhanced = ""
    texts: list[str] = []
    for line in lines:
        text = printable(line).strip()
        found = _ENHANCED.match(text)
        # RFC 2034 section 4: the class agrees with the reply code; else it is just text.
        if found and ord(text[0]) - 48 == code // 100:
            enhanced = enhanced or found[1]
            text = text[found.end() :] if found[1] == enhanced else text
        if text:
            texts.append(text)
    return ParsedReply(Reply(code=code, enhanced=enhanced, text=" / ".join(texts)[:MAX_TEXT]), lines)


def printable(raw: bytes) -> str:
    """Text safe to log, store and show: UTF-8 where it is, everything else and all controls as escapes."""
    text = raw.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else _escaped(text)


def _escaped(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def format_reply(reply: Reply) -> bytes:
    """One line of ASCII with its CRLF; whatever the text holds, it is never two."""
    line = str(reply)
    if not line.isprintable():
        line = _escaped(line)
    return line.encode("ascii", "backslashreplace")[:MAX_OWN] + b"\r\n"
