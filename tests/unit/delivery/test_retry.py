"""Back-off, warning and expiry times."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.delivery.retry import NEVER, RECHECK, RetryPolicy, backoff, deadline, steady
from relay.model import Owed, State

POLICY = RetryPolicy()


@pytest.mark.parametrize(
    ("tries", "nominal"), [(0, 30), (1, 30), (2, 60), (3, 120), (7, 1920), (8, 3600), (10**6, 3600)]
)
def test_waits_grow_to_the_maximum(tries: int, nominal: float) -> None:
    waits = [backoff(tries, POLICY, Random(seed)) for seed in range(50)]

    assert all(0.8 * nominal <= wait <= nominal for wait in waits)
    assert len(set(waits)) > 40  # a storm of equal waits would come back as one


@given(st.integers(0, 10**9), st.floats(0.1, 1e5), st.floats(1.01, 1e6), st.floats(0.1, 1e6), st.integers())
def test_a_wait_is_never_nothing_and_never_beyond_the_maximum(tries, first, factor, most, seed) -> None:
    policy = RetryPolicy(first=first, factor=factor, max=most)

    assert 0 < backoff(tries, policy, Random(seed)) <= most


def test_the_next_thing_to_judge_is_the_warning_then_the_expiry(make) -> None:
    message, owed = make.message(), Owed(recipients=(), lane="l")

    assert deadline(message, owed, POLICY, make.now) == message.received_at + POLICY.warn_after
    warned = Owed(recipients=(), lane="l", warned=True)
    assert deadline(message, warned, POLICY, make.now) == message.expires_at


def test_a_deadline_that_has_passed_is_looked_at_again_in_a_minute(make) -> None:
    message = make.message()

    assert deadline(message, Owed(recipients=(), lane="l"), POLICY, message.expires_at + 9) == (
        message.expires_at + 9 + RECHECK
    )


@pytest.mark.parametrize("state", [State.HELD, State.CAPTURED])
def test_what_waits_for_people_has_no_deadline(make, state: State) -> None:
    assert deadline(make.message(), Owed(recipients=(), lane="l", state=state), POLICY, make.now) == NEVER


@pytest.mark.parametrize(
    ("tries", "uptime", "believed"), [(0, 0, False), (2, 299, False), (3, 0, True), (0, 300, True)]
)
def test_G7_the_clock_is_believed_after_three_tries_or_five_minutes(tries: int, uptime: float, believed: bool) -> None:
    assert steady(tries, uptime) is believed
