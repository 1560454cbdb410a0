"""The order in which providers are considered for one message, and the choice among them.

Called by dispatcher and, for the same walk with reasons, by explain. Changes no state.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from itertools import groupby

from msgspec import Struct

from relay.delivery.attempt import Park
from relay.delivery.provider import Obstacle, ProviderState
from relay.model import Message

PATIENCE = 60.0
"""Seconds a provider that only paces us is waited for before another one gets the mail."""

LONGEST_PARK = 60.0
"""Nothing is parked further ahead than this: a repaired configuration should not have to wait for it."""


class Option(Struct, frozen=True, kw_only=True):
    """A provider and what keeps this message from it, None: nothing."""

    state: ProviderState
    obstacle: Obstacle | None


def undisputed(candidates: Sequence[ProviderState], message: Message, now: float) -> ProviderState | None:
    """What `walk` and `pick` come to for mail that no provider has failed or refused, where the first candidate can
    be used and shares its priority with none: that one. It is no failover, there being none before it. Else None.
    """
    if not candidates:
        return None
    first = candidates[0]
    if len(candidates) > 1 and candidates[1].provider.priority == first.provider.priority:
        return None
    return first if first.fits(message) and first.obstacle(now) is None else None


def unaccompanied(candidates: Sequence[ProviderState], chosen: ProviderState) -> bool:
    """`alone` for mail that nobody has refused."""
    return len(candidates) == 1 or not any(s.provider.active for s in candidates if s is not chosen)


def walk(
    candidates: Sequence[ProviderState],
    message: Message,
    avoid: Collection[str],
    refused: Collection[str],
    now: float,
) -> Sequence[Option]:
    """Every candidate, by priority, with its obstacle. A refusal or a size only counts while another one remains."""
    names = {state.provider.name for state in candidates}
    refused = () if names <= set(refused) else refused
    too_small = {s.provider.name for s in candidates if not s.fits(message)}
    too_small = set() if too_small | set(refused) >= names else too_small
    return [Option(state=s, obstacle=_mine(s, avoid, refused, too_small) or s.obstacle(now)) for s in candidates]


def pick(options: Sequence[Option], message: Message, impatient: bool) -> Option | None:
    """The provider to use now. A tier that only paces us is waited for, unless that has lasted long enough."""
    for _, group in groupby(options, key=lambda option: option.state.provider.priority):
        tier = list(group)
        free = [option for option in tier if option.obstacle is None]
        if free:
            return free[0] if len(free) == 1 else _weighted(_quick(free), message)
        if not impatient and any(option.obstacle is not None and option.obstacle.paces for option in tier):
            return None
    return None


def origin(options: Sequence[Option], chosen: Option) -> Option | None:
    """The provider this is a failover from: ordered before and failed, or out by circuit, suspension, day or month."""
    for option in options:
        obstacle = option.obstacle
        if obstacle is None or option is chosen:
            continue
        before = option.state.provider.priority < chosen.state.provider.priority
        if obstacle.kind in ("avoided", "refused") or (before and obstacle.out):
            return option
    return None


def alone(options: Sequence[Option], chosen: Option, refused: Collection[str]) -> bool:
    """No other provider remains that has not refused the message."""
    others = [option.state.provider for option in options if option is not chosen]
    return all(provider.name in refused or not provider.active for provider in others)


def park(options: Sequence[Option], lane: str, since: float, impatient: bool, now: float) -> Park:
    """What to do when none is picked: wait for one that paces us, or end the round."""
    pacing = [] if impatient else [o.obstacle.until for o in options if o.obstacle is not None and o.obstacle.paces]
    if pacing:
        until = min(*pacing, since + PATIENCE) if len(options) > 1 else pacing[0]
        until = min(max(until, now), now + LONGEST_PARK)
    else:
        until = _back_at(options, now)
    shut = all(option.state.barrier() is not None for option in options)
    return Park(until=until, reason=_reasons(options), lane=lane, waiting=bool(pacing), shut=shut and not pacing)


def gone(provider: str) -> str:
    """What keeps mail that names a provider there is none of, for people."""
    return f"{provider} no longer exists: reroute or cancel it"


def stranded(provider: str, lane: str, now: float) -> Park:
    """What to do with such mail: it waits, with its whole lane."""
    return Park(until=now + LONGEST_PARK, reason=gone(provider), lane=lane, shut=True)


def _reasons(options: Sequence[Option]) -> str:
    """Why none of them is used, for people."""
    if not options:
        return "no active provider for this route"
    return "; ".join(f"{o.state.provider.name}: {o.obstacle.reason}" for o in options if o.obstacle)


def _back_at(options: Sequence[Option], now: float) -> float:
    """When one may be usable, at most a minute ahead. `now`: one is, but has had its turn."""
    times = []
    for option in options:
        own = option.state.obstacle(now)
        if option.obstacle is not None and option.obstacle.kind == "refused":
            continue
        if own is None or own.until:
            times.append(own.until if own else now)
    return min(max(min(times, default=now + LONGEST_PARK), now), now + LONGEST_PARK)


def _mine(
    state: ProviderState, avoid: Collection[str], refused: Collection[str], too_small: Collection[str]
) -> Obstacle | None:
    """Obstacles between this provider and this mail."""
    name = state.provider.name
    if name in refused:
        return Obstacle(kind="refused", reason="refused this message")
    if name in too_small:
        return Obstacle(kind="unfit", reason="the message is too large for it")
    return Obstacle(kind="avoided", reason="failed this message a moment ago") if name in avoid else None


def _quick(free: Sequence[Option]) -> Sequence[Option]:
    """Not those that much waits for already: a tarpit would gather all that may be in flight (hazard F10)."""
    return [option for option in free if not option.state.crowded] or free


def _weighted(free: Sequence[Option], message: Message) -> Option:
    """Random among equals by weight, but always the same for one message, as long as the same ones can be chosen.

    So an UNCERTAIN message meets the same provider first without anything being remembered.
    """
    weights = [max(option.state.provider.weight, 0) or 1e-9 for option in free]
    point = zlib.crc32(message.id.encode()) / 2**32 * sum(weights)
    for option, weight in zip(free, weights, strict=True):
        point -= weight
        if point < 0:
            return option
    return free[-1]
