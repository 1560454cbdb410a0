"""A target with a bug on purpose: the harness's own tests must see it found. Nobody else runs it."""

from __future__ import annotations

LONGEST = 64
WORDS = (b"BUG!",)


def run(data: bytes) -> None:
    if data[:1] == b"x" and b"BUG!" in data:
        raise ValueError("planted")
