"""A target that hangs on purpose: the harness's own tests must see it found. Nobody else runs it."""

from __future__ import annotations

LONGEST = 64


def run(data: bytes) -> None:
    while data:
        pass
