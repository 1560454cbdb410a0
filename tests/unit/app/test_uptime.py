"""Uptime: grows with monotonic time, starts anew when the clock is set."""

from __future__ import annotations

import pytest

from relay.app.uptime import Uptime


class Clocks:
    def __init__(self) -> None:
        self.wall, self.steady = 1_800_000_000.0, 50.0

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


def test_grows_while_nobody_sets_the_clock():
    clocks = Clocks()
    uptime = Uptime(lambda: clocks.wall, lambda: clocks.steady)
    clocks.pass_(400)
    assert uptime() == 400


@pytest.mark.parametrize("step", [3600.0, -3600.0, 365 * 86400.0])
def test_G7_starts_anew_when_the_clock_is_set(step: float):
    clocks = Clocks()
    uptime = Uptime(lambda: clocks.wall, lambda: clocks.steady)
    clocks.pass_(400)
    uptime()
    clocks.wall += step
    assert uptime() == 0
    clocks.pass_(10)
    assert uptime() == 10


def test_a_slewed_clock_is_no_step():
    clocks = Clocks()
    uptime = Uptime(lambda: clocks.wall, lambda: clocks.steady)
    for _ in range(100):
        clocks.pass_(60)
        clocks.wall += 0.03
        uptime()
    assert uptime() == 6000
