"""Fuzz input as choices: a few leading bytes decide about options, the rest is what the target is given.

Used by the targets. It needs no atheris, so that a corpus replays wherever Python runs; what is missing reads as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Reading:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        return (self.take(1) or b"\0")[0]

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.byte() % len(choices)]

    def take(self, count: int) -> bytes:
        found = self._data[self._at : self._at + count]
        self._at += len(found)
        return found

    def number(self, below: int) -> int:
        """Two bytes, scaled: every place in something long can be reached."""
        return int.from_bytes(self.take(2).ljust(2, b"\0"), "big") * below >> 16

    def rest(self) -> bytes:
        return self.take(len(self._data))


def pieces(data: bytes, cut: int) -> list[bytes]:
    """`cut` 0: in one piece, 1: byte by byte, else as a generator with that seed likes, 1 to 17 bytes each."""
    if cut == 0:
        return [data]
    random, found, at = Random(cut), [], 0
    while at < len(data):
        step = 1 if cut == 1 else random.randint(1, 17)
        found.append(data[at : at + step])
        at += step
    return found
