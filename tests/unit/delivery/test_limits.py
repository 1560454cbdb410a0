"""Quotas: never more than allowed, given back when not taken, calendar days where the provider is."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.delivery.limits import Meter, calendars
from relay.model import Limits, Usage

NOW = 1_800_000_000.0


def at(zone: str, *when: int) -> float:
    return datetime(*when, tzinfo=ZoneInfo(zone)).timestamp()


def meter(**limits: object) -> Meter:
    return Meter("p", Limits(**limits))  # type: ignore[arg-type]


def spend(meter: Meter, now: float, amount: int = 1) -> None:
    meter.settle(meter.reserve(amount, now, 1), amount, now)


def test_no_limit_is_no_limit() -> None:
    unlimited = meter()

    assert (unlimited.room(NOW), unlimited.blocked(NOW), unlimited.left(NOW)) == (None, None, {})


def test_what_is_in_flight_counts() -> None:
    two = meter(per_minute=2)
    first = two.reserve(1, NOW, 1)
    two.reserve(1, NOW, 2)

    assert two.room(NOW + 600) == 0  # however long it takes
    assert two.blocked(NOW + 600).window == "minute"
    two.settle(first, 0, NOW + 600)
    assert two.room(NOW + 600) == 1


def test_a_minute_is_over_sixty_seconds_after_the_end() -> None:
    one = meter(per_minute=1)
    reservation = one.reserve(1, NOW, 1)
    one.settle(reservation, 1, NOW + 10)

    assert one.blocked(NOW + 69.9).until == NOW + 70
    assert one.blocked(NOW + 70) is None


@given(
    limit=st.integers(1, 5),
    steps=st.lists(
        st.tuples(
            st.floats(0, 40), st.sampled_from(["reserve", "end", "give back"]), st.floats(0, 1), st.integers(1, 3)
        ),
        max_size=80,
    ),
)
@settings(max_examples=300, deadline=None)
def test_F9_never_more_than_the_limit_in_any_sixty_seconds(limit: int, steps: list) -> None:
    """Whatever is interleaved: the upstream sees a message somewhere between its reservation and its end."""
    clock, taken, open_, minute = NOW, [], [], meter(per_minute=limit)
    for wait, action, when, amount in steps:
        clock += wait
        if action == "reserve" and minute.blocked(clock) is None:
            open_.append((minute.reserve(min(amount, minute.room(clock)), clock, 1), clock))
        elif action != "reserve" and open_:
            reservation, began = open_.pop(0)
            used = reservation.amount if action == "end" else 0
            taken += [began + (clock - began) * when] * used
            minute.settle(reservation, used, clock)
    for start in taken:
        assert sum(start <= moment < start + 60 for moment in taken) <= limit


def test_day_and_month_are_calendar_ones_of_the_providers_timezone() -> None:
    """Ten past eleven at night in UTC is tomorrow in Berlin."""
    now = at("UTC", 2026, 11, 30, 23, 10)
    day, month = calendars(now, "Europe/Berlin")

    assert (day.key, month.key) == ("day:2026-12-01", "month:2026-12")
    assert calendars(now, "America/New_York")[0].key == "day:2026-11-30"
    assert day.until == at("Europe/Berlin", 2026, 12, 2)
    assert month.until == at("Europe/Berlin", 2027, 1, 1)


@pytest.mark.parametrize(("date", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 6, 1), 24)])
def test_days_on_which_the_clocks_change(date: tuple[int, int, int], hours: int) -> None:
    noon = at("Europe/Berlin", *date, 12)

    assert calendars(noon, "Europe/Berlin")[0].until - at("Europe/Berlin", *date) == hours * 3600


def test_the_day_blocks_until_midnight_and_then_starts_anew() -> None:
    daily = meter(per_day=2, per_month=100, timezone="Europe/Berlin")
    now, midnight = at("Europe/Berlin", 2026, 11, 20, 15), at("Europe/Berlin", 2026, 11, 21)
    spend(daily, now)
    spend(daily, now)

    assert (daily.blocked(now).window, daily.blocked(now).until) == ("day", midnight)
    assert daily.left(now) == {"day": 0, "month": 98}
    assert daily.blocked(midnight) is None
    assert daily.left(midnight) == {"day": 2, "month": 98}


def test_of_two_windows_the_one_that_lasts_longer_is_named() -> None:
    both = meter(per_minute=1, per_day=1, per_month=1)
    spend(both, NOW)

    assert both.blocked(NOW).window == "month"


def test_what_was_not_taken_is_given_back_to_the_day_it_came_from() -> None:
    daily = meter(per_day=5)
    before, after = at("UTC", 2026, 11, 20, 23, 59), at("UTC", 2026, 11, 21, 0, 1)
    reservation = daily.reserve(3, before, 9)
    spent = daily.settle(reservation, 1, after)

    assert reservation.periods == ("day:2026-11-20", "month:2026-11")
    assert (spent.reservation, spent.taken, spent.at) == (reservation, 1, after)
    assert daily.left(after) == {"day": 5}
    assert daily.left(before) == {"day": 4}


def test_F9_quotas_hold_over_a_restart() -> None:
    limits = {"per_minute": 3, "per_day": 10}
    after = meter(**limits)
    after.load(Usage(provider="p", minute=((NOW - 30, 2),), periods={calendars(NOW, "UTC")[0].key: 9}))

    assert after.left(NOW) == {"minute": 1, "day": 1}
    assert after.left(NOW + 31) == {"minute": 3, "day": 1}


def test_the_provider_says_that_the_day_is_used_up() -> None:
    unlimited = meter()
    unlimited.exhaust("day", NOW)
    day, month = calendars(NOW, "UTC")

    assert (unlimited.room(NOW), unlimited.blocked(NOW).until) == (0, day.until)
    assert unlimited.blocked(day.until) is None
    assert unlimited.room(day.until) is None
    unlimited.exhaust("month", NOW)
    assert unlimited.blocked(day.until).until == month.until


def test_G7_a_clock_set_back_blocks_for_a_minute_not_for_an_hour() -> None:
    one = meter(per_minute=1)
    spend(one, NOW + 3600)

    assert one.blocked(NOW).until <= NOW + 60
    assert one.blocked(NOW + 61) is None


def test_G7_a_clock_that_jumps_ahead_and_back_forgets_nothing() -> None:
    daily = meter(per_day=2)
    spend(daily, NOW)
    spend(daily, NOW + 400 * 86400)

    assert daily.left(NOW) == {"day": 1}
