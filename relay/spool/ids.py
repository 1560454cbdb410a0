"""Message ids: 63-bit integers that grow with time, shown as thirteen Crockford base-32 characters.

Used by both spools and their desks. It knows no clock; times are passed in.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from relay.model import MessageId

EPOCH = 1_577_836_800  # 2020-01-01T00:00:00Z
SEQUENCE_BITS = 21
LARGEST = (1 << 63) - 1
LENGTH = 13

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(a + b for a in ALPHABET for b in ALPHABET)
# Crockford: case does not count, and i, l, o read as what they look like.
_DIGITS = {ord(c): "0123456789abcdefghijklmnopqrstuv"[n] for n, c in enumerate(ALPHABET)}
_DIGITS |= {ord(chr(c).upper()): digit for c, digit in _DIGITS.items()}
_DIGITS |= {ord("i"): "1", ord("I"): "1", ord("l"): "1", ord("L"): "1", ord("o"): "0", ord("O"): "0"}


def encode(number: int) -> MessageId:
    """The id people see; ids sort as their numbers do."""
    return MessageId(
        ALPHABET[number >> 60]
        + _PAIRS[number >> 50 & 1023]
        + _PAIRS[number >> 40 & 1023]
        + _PAIRS[number >> 30 & 1023]
        + _PAIRS[number >> 20 & 1023]
        + _PAIRS[number >> 10 & 1023]
        + _PAIRS[number & 1023]
    )


def decode(text: str) -> int:
    """The number of an id. ValueError when it is none."""
    if len(text) != LENGTH or not text.isascii() or not text.isalnum() or "u" in text or "U" in text:
        raise ValueError("not a message id")
    number = int(text.translate(_DIGITS), 32)
    if number > LARGEST:
        raise ValueError("not a message id")
    return number


def find(text: str) -> int | None:
    """The number of an id that somebody typed, or None when it can be nobody's."""
    try:
        return decode(text.strip())
    except ValueError:
        return None


class IdSource:
    """Hands out ids, each larger than any before it, whatever the clock does.

    Within a millisecond they count up from a random start, so that ids tell little about how much mail there is.
    """

    def __init__(self, last: int = 0, start: Callable[[int], int] = random.getrandbits) -> None:
        """`last`: the largest id in the spool."""
        self._last = last
        self._start = start

    def next(self, now: float) -> int:
        """A new number. After a step back of the clock it counts on from the last."""
        milliseconds = int((now - EPOCH) * 1000)
        if milliseconds > self._last >> SEQUENCE_BITS:
            self._last = milliseconds << SEQUENCE_BITS | self._start(SEQUENCE_BITS - 1)
        else:
            self._last += 1
        return self._last
