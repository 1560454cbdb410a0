"""When to try again, when to warn, when to give up.

Called by settle and dispatcher. Never reads a clock: `now` and `uptime` are passed in.
"""

from __future__ import annotations

import math
from random import Random

from msgspec import Struct

from relay.model import Message, Owed, State

NEVER = 1e12
"""A deadline that does not come (the year 33658): finite, so that it sorts and stores like any other time."""

RECHECK = 60.0
"""Seconds until a passed deadline that could not be acted on is judged again, so that it is not handed out for ever."""

STEADY_UPTIME = 300.0
STEADY_TRIES = 3
"""Hazard G7: before either of these nothing expires, or one step of the clock would end a whole queue."""


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """Seconds. After try n it waits `first * factor ** (n - 1)`, at most `max`, less up to a fifth of jitter."""

    first: float = 30.0
    factor: float = 2.0
    max: float = 3600.0
    give_up_after: float = 5 * 86400.0
    warn_after: float = 4 * 3600.0


def backoff(tries: int, policy: RetryPolicy, rng: Random) -> float:
    """Seconds to wait after so many tries (0 counts as 1). Jitter only shortens: never longer than `policy.max`."""
    return min(policy.first * math.pow(policy.factor, _steps(tries, policy)), policy.max) * rng.uniform(0.8, 1.0)


def _steps(tries: int, policy: RetryPolicy) -> float:
    """How often the wait has grown: not beyond the maximum, where the power of a float would overflow."""
    if policy.factor <= 1 or policy.max <= policy.first:
        return 0.0
    return min(max(tries, 1) - 1, math.log(policy.max / policy.first, policy.factor))


def begun(message: Message, owed: Owed) -> float:
    """What is late is counted from here: when it came or, if it was scheduled, when it was first due."""
    return owed.begun or message.received_at


def warn_at(begun: float, policy: RetryPolicy) -> float:
    return begun + policy.warn_after


def deadline(message: Message, owed: Owed, policy: RetryPolicy, now: float) -> float:
    """When a warning or the expiry is next to be judged. Held and captured mail waits for people, for ever."""
    if owed.state in (State.HELD, State.CAPTURED):
        return NEVER
    due = message.expires_at if owed.warned else min(message.expires_at, warn_at(begun(message, owed), policy))
    return due if due > now else now + RECHECK


def steady(tries: int, uptime: float) -> bool:
    """Whether the clock may be believed about how long this has taken."""
    return tries >= STEADY_TRIES or uptime >= STEADY_UPTIME
