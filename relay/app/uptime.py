"""How long the clock has been believable: monotonic time since the start, or since somebody set the clock.

Asked by the worker before it lets anything expire (hazard G7). Reads both clocks; sets nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

STEP = 30.0
"""Seconds by which the clock may be slewed between two looks before it counts as set."""


class Uptime:
    """Call it for the seconds. `clock` is wall time, `monotonic` never goes back."""

    def __init__(self, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._since = monotonic()
        self._offset = clock() - self._since

    def __call__(self) -> float:
        now = self._monotonic()
        offset = self._clock() - now
        if abs(offset - self._offset) > STEP:
            self._since = now
        self._offset = offset
        return now - self._since
