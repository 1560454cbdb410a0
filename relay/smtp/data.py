"""The message after DATA: where it ends, its line ends, and dot transparency (RFC 5321 4.1.1.4, 4.5.2).

The listener decodes with `DataDecoder`; whoever composes or reads a body uses `stuff`, `unstuff` and their classes.
It never keeps a body: what is fed comes back at once but for the last four bytes, which may be part of the end.

Wire form is what is stored and sent: CRLF, dot-stuffed, without the final dot. What a client sends is that already,
so the common path looks for dots and odd line ends and gives the same bytes back.
"""

from __future__ import annotations

import re
from typing import Final, Literal

Policy = Literal["normalize", "reject"]
Problem = Literal["too_big", "bare"]

_END: Final = b"\r\n.\r\n"
_DOT: Final = b"\r\n."
_FIRST_DOT = re.compile(rb"\r\n\.")  # searched for twice as fast as `find` does
_PARTS_OF_END: Final = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r", b"\n")


class DataDecoder:
    """Takes the bytes after 354, gives wire form; only CRLF.CRLF ends it.

    `done`: the end was seen; `rest` is what came after it, commands. `problem`, to be read when done: "too_big": the
    content exceeds `max_size`; "bare": a CR or LF alone, under "reject". With a problem no more bytes come back, memory
    stays flat and the end is still looked for, so the session stays in step. `size`: octets of content, not counting
    stuffing (exact unless too big). `eight_bit`: bytes above 127 were seen.
    """

    __slots__ = ("_bare", "_held", "_max_size", "_reject", "_virtual", "done", "eight_bit", "rest", "size")

    def __init__(self, policy: Policy, max_size: int) -> None:
        self._reject = policy == "reject"
        self._max_size = max_size
        self._held = b"\r\n"  # DATA begins right after a CRLF: its first line may be the dot
        self._virtual = 2  # bytes of that CRLF not yet taken off again
        self._bare = False
        self.done = False
        self.rest = b""
        self.size = 0
        self.eight_bit = False

    @property
    def problem(self) -> Problem | None:
        if self.size > self._max_size:
            return "too_big"
        return "bare" if self._bare else None

    def feed(self, data: bytes) -> bytes:
        """The wire form these bytes add. After the end they are added to `rest`."""
        if self.done:
            self.rest += data
            return b""
        data = self._held + data
        found = _FIRST_DOT.search(data)
        dot = found.start() if found else -1
        end = data.find(_END, dot) if found else -1
        if end < 0:
            cut = len(data) - _undecided(data)
            self._held = data[cut:]
        else:
            cut = end + 2
            self.rest = data[end + 5 :]
            self.done = True
        # From here on every line break in data[:cut] has the byte after it at its side, unless that is a break too.
        return self._take(data[:cut], -1 < dot < cut - 2) if cut and self.size <= self._max_size else b""

    def _take(self, raw: bytes, dotted: bool) -> bytes:
        wire, stuffing, bare = _to_wire(raw, dotted)
        virtual, self._virtual = self._virtual, 0
        self.size += len(wire) - virtual - stuffing
        self.eight_bit = self.eight_bit or not wire.isascii()
        self._bare = self._bare or (bare and self._reject)
        if self._bare or self.size > self._max_size:
            return b""
        return wire[virtual:] if virtual else wire


def _undecided(data: bytes) -> int:
    """How many bytes at the end of `data` say nothing until the next one is known."""
    if data[-1:] in _DOT:
        for part in _PARTS_OF_END:
            if data.endswith(part):
                return len(part)
    return 0


def _to_wire(raw: bytes, dotted: bool) -> tuple[bytes, int, bool]:
    """Wire form of what a client sent, how many of its dots are stuffing, and whether it had a CR or LF alone.

    `dotted`: some line begins with a dot.
    """
    # Without CRs, and with one put before each LF again, it is the same only if all breaks were CRLF. These two and a
    # comparison run at the speed of memchr and memcmp; looking for CRLF itself is three times slower.
    bare = raw.replace(b"\r", b"").replace(b"\n", b"\r\n") != raw
    if not bare:
        if not dotted:
            return raw, 0, False
        dots = raw.count(b"\r\n..")
        if dots == raw.count(_DOT):
            return raw, dots, False
    # RFC 5321 4.5.2: a dot alone at the front of a line is deleted. Left there it could meet a normalised line end and
    # end the message upstream (`\r\n.\n`). A dot after a bare CR or LF is content, and becomes the first of a line.
    content = _normalized(raw.replace(_DOT, b"\r\n"))
    return content.replace(_DOT, b"\r\n.."), content.count(_DOT), bare


def _normalized(content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def stuff(content: bytes) -> bytes:
    """Wire form of a whole content: line ends become CRLF, the last line gets one, leading dots are doubled."""
    if not content:
        return b""
    wire = _normalized(b"\n" + content).replace(_DOT, b"\r\n..")[2:]
    return wire if wire.endswith(b"\r\n") else wire + b"\r\n"


class Stuffer:
    """Wire form of a content that comes in pieces, as `stuff` makes it. `size`: octets of content in CRLF form."""

    __slots__ = ("_held", "_tail", "eight_bit", "size")

    def __init__(self) -> None:
        self._tail = b"\r\n"
        self._held = b""
        self.size = 0
        self.eight_bit = False

    def feed(self, content: bytes) -> bytes:
        content = self._held + content
        self._held = b"\r" if content.endswith(b"\r") else b""  # half of a line end, perhaps
        return self._stuffed(_normalized(content[: len(content) - len(self._held)]))

    def finish(self) -> bytes:
        """What is still owed: the end of the last line."""
        ended = not self._held and (self._tail == b"\r\n" or not self.size)
        self._held = b""
        return b"" if ended else self._stuffed(b"\r\n")

    def _stuffed(self, content: bytes) -> bytes:
        # The two bytes before a piece decide about its first; the replacement never touches them.
        self.size += len(content)
        self.eight_bit = self.eight_bit or not content.isascii()
        joined = self._tail + content
        self._tail = joined[-2:]
        return joined.replace(_DOT, b"\r\n..")[2:]


class Unstuffer:
    """Content of a body in wire form that comes in pieces; every piece comes back at once."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"

    def feed(self, wire: bytes) -> bytes:
        # The two bytes before a piece decide about its first; the replacement never touches them.
        joined = self._tail + wire
        self._tail = joined[-2:]
        return joined.replace(_DOT, b"\r\n")[2:]


def unstuff(wire: bytes) -> bytes:
    """Content of a whole body in wire form."""
    return Unstuffer().feed(wire)
