"""Budgets: what was reserved counts until it is given back or a minute, a day, a month is over."""

from __future__ import annotations

from msgspec.structs import replace

from relay.model import Reservation, Spent, Usage
from tests.contract.spools import Hands, delivered


def reservation(number: int, at: float, amount: int = 3) -> Reservation:
    return Reservation(id=number, provider="p", amount=amount, at=at, periods=("day:2026-11-21", "month:2026-11"))


async def spend(hands: Hands, taken: Reservation, amount: int) -> None:
    """Deliver a message whose settlement ends the reservation."""
    await hands.accept()
    lease = await hands.one()
    spent = Spent(reservation=taken, taken=amount, at=hands.now)
    await hands.settle(replace(delivered(lease), usage=(spent,)))


async def test_a_reservation_counts_at_once(hands: Hands) -> None:
    assert list(await hands.spool.usage(hands.now)) == []
    assert await hands.spool.reserve([reservation(1, hands.now), reservation(2, hands.now, 2)])
    assert list(await hands.spool.usage(hands.now)) == [
        Usage(
            provider="p",
            minute=((hands.now, 2), (hands.now, 3)),
            periods={"day:2026-11-21": 5, "month:2026-11": 5},
        )
    ]


async def test_what_is_not_taken_is_given_back(hands: Hands) -> None:
    taken = reservation(1, hands.now)
    await hands.spool.reserve([taken])
    hands.now += 10
    await spend(hands, taken, 1)
    (usage,) = await hands.spool.usage(hands.now)
    assert usage.minute == ((hands.now, 1),), "the time of the end counts"
    assert usage.periods == {"day:2026-11-21": 1, "month:2026-11": 1}
    await spend(hands, taken, 0)
    assert list(await hands.spool.usage(hands.now)) == [usage], "a reservation ends once"


async def test_an_open_reservation_counts_however_old(hands: Hands) -> None:
    await hands.spool.reserve([reservation(1, hands.now)])
    hands.now += 3600
    await hands.spool.maintain(hands.now)
    (usage,) = await hands.spool.usage(hands.now)
    assert sum(amount for _, amount in usage.minute) == 3


async def test_a_minute_passes(hands: Hands) -> None:
    taken = reservation(1, hands.now)
    await hands.spool.reserve([taken])
    await spend(hands, taken, 3)
    for seconds, counted in ((59.9, 3), (0.2, 0)):
        hands.now += seconds
        await hands.spool.maintain(hands.now)
        (usage,) = await hands.spool.usage(hands.now)
        assert sum(amount for _, amount in usage.minute) == counted
    assert usage.periods["day:2026-11-21"] == 3


async def test_a_reservation_ends_without_a_settlement_too(hands: Hands) -> None:
    """A test mail is nobody's lease."""
    taken, given_back = reservation(1, hands.now), reservation(2, hands.now, 1)
    await hands.spool.reserve([taken, given_back])
    hands.now += 1
    ends = [Spent(reservation=one, taken=amount, at=hands.now) for one, amount in ((taken, 2), (given_back, 0))]
    assert await hands.spool.spend(ends)
    (usage,) = await hands.spool.usage(hands.now)
    assert usage.minute == ((hands.now, 2),)
    assert usage.periods == {"day:2026-11-21": 2, "month:2026-11": 2}
