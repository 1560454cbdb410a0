"""Claims: what is due, oldest first, lanes in turn, within the room there is, and what is overdue in any case."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from relay.model import Appetite, Owed, State
from tests.contract.spools import PLENTY, Hands, delivered, each_to_its_own, owes, to_lane


def lanes_of(leases) -> list[str]:  # type: ignore[no-untyped-def]
    return [lease.entry.owed.lane for lease in leases]


async def deferred(hands: Hands, lane: str, due_at: float, **more: object) -> None:
    """One message that waits in a lane."""
    hands.lane = to_lane(lane)
    message = await hands.accept()
    (lease,) = [lease for lease in await hands.claim() if lease.entry.message.id == message.id]
    changed = replace(lease.entry.owed, state=State.DEFERRED, tries=1, due_at=due_at, **more)  # type: ignore[arg-type]
    await hands.settle(owes(lease, changed))


async def test_nothing_is_claimed_twice(hands: Hands) -> None:
    for _ in range(5):
        await hands.accept()
    first = await hands.claim(Appetite(total=3))
    second = await hands.claim()
    assert (len(first), len(second), await hands.claim()) == (3, 2, [])
    assert len({lease.token for lease in first + second}) == 5


async def test_a_lane_is_claimed_oldest_first(hands: Hands) -> None:
    messages = []
    for _ in range(6):
        messages.append(await hands.accept())
        hands.now += 1
    claimed = [lease for _ in range(3) for lease in await hands.claim(Appetite(total=2))]
    assert [lease.entry.message.id for lease in claimed] == [message.id for message in messages]


async def test_lanes_take_turns(hands: Hands) -> None:
    for lane, many in (("a:1", 6), ("a:2", 2), ("b:1", 2)):
        hands.lane = to_lane(lane)
        for _ in range(many):
            await hands.accept()
    claimed = await hands.claim(Appetite(total=6))
    assert sorted(lanes_of(claimed)) == ["a:1", "a:1", "a:2", "a:2", "b:1", "b:1"]


async def test_waiting_lanes_take_turns(hands: Hands) -> None:
    for lane, many in (("a:1", 6), ("a:2", 2), ("b:1", 2)):
        for _ in range(many):
            await deferred(hands, lane, hands.now + 10)
    hands.now += 10
    claimed = lanes_of(await hands.claim(Appetite(total=6)))
    claimed += lanes_of(await hands.claim(Appetite(total=3)))
    assert len(claimed) >= 8 and {"a:1", "a:2", "b:1"} == set(claimed[:6])


async def test_room_bounds_a_route_key(hands: Hands) -> None:
    for lane in ("dead:1", "dead:2", "slow:1", "live:1"):
        hands.lane = to_lane(lane)
        for _ in range(3):
            await hands.accept()
    claimed = lanes_of(await hands.claim(Appetite(total=100, room={"dead": 0, "slow": 2})))
    assert sorted(claimed) == ["live:1"] * 3 + ["slow:1"] * 2
    assert len(await hands.claim()) == 7


async def test_waiting_entries_respect_room(hands: Hands) -> None:
    for lane in ("dead:1", "slow:1", "slow:2", "live:1"):
        for _ in range(3):
            await deferred(hands, lane, hands.now + 10)
    hands.now += 10
    claimed = lanes_of(await hands.claim(Appetite(total=100, room={"dead": 0, "slow": 2})))
    assert sorted(lane.partition(":")[0] for lane in claimed) == ["live"] * 3 + ["slow"] * 2


async def test_what_is_not_due_waits(hands: Hands) -> None:
    await deferred(hands, "a:1", hands.now + 30)
    hands.now += 29
    assert await hands.claim() == []
    hands.now += 1
    lease = await hands.one()
    assert (lease.entry.owed.state, lease.entry.owed.tries) == (State.DEFERRED, 1)


async def test_a_deadline_is_handed_out_whatever_the_room(hands: Hands) -> None:
    await deferred(hands, "dead:1", hands.now + 1000, deadline=hands.now + 50)
    blocked = Appetite(total=0, room={"dead": 0})
    hands.now += 49
    assert await hands.claim(blocked) == []
    hands.now += 1
    (lease,) = await hands.claim(blocked)
    await hands.settle(owes(lease, replace(lease.entry.owed, deadline=hands.now + 500)))
    assert await hands.claim(blocked) == []


async def test_held_mail_has_no_deadline(hands: Hands) -> None:
    message = await hands.accept()
    lease = await hands.one()
    await hands.settle(owes(lease, replace(lease.entry.owed, state=State.HELD, deadline=hands.now + 1)))
    hands.now += 10 * 86400
    assert await hands.claim() == []
    assert await hands.state(message) is State.HELD


async def test_new_mail_does_not_overtake_its_lane(hands: Hands) -> None:
    await deferred(hands, "a:1", hands.now + 10)
    hands.now += 10
    hands.lane = to_lane("a:1")
    new = await hands.accept()
    first, second = await hands.claim(PLENTY)
    assert first.entry.owed.tries == 1
    assert second.entry.message.id == new.id


async def test_each_berth_is_an_entry_of_its_own(hands: Hands) -> None:
    hands.lane = each_to_its_own
    message = await hands.accept("b@x", "c@x", "d@x")
    leases = await hands.claim()
    assert {lease.entry.message.id for lease in leases} == {message.id}
    assert sorted(lease.entry.owed.recipients[0].address for lease in leases) == ["b@x", "c@x", "d@x"]


async def test_what_is_owed_comes_back_as_it_was_settled(hands: Hands) -> None:
    await hands.accept("b@x", "c@x")
    lease = await hands.one()
    owed = Owed(
        recipients=lease.entry.owed.recipients[1:],
        lane="other:7",
        state=State.DEFERRED,
        tries=3,
        since=hands.now - 5,
        due_at=hands.now + 5,
        deadline=hands.now + 50,
        avoid=("p", "q"),
        refused=("r",),
        pin="s",
        reason="451 later",
        warned=True,
        crashes=2,
    )
    rest = replace(owed, recipients=lease.entry.owed.recipients[:1], lane="third:1", due_at=hands.now + 500)
    await hands.settle(owes(lease, owed, rest))
    hands.now += 5
    assert (await hands.one()).entry.owed == owed


async def test_an_entry_that_was_being_sent_waits_again(hands: Hands) -> None:
    message = await hands.accept()
    lease = await hands.one()
    await hands.settle(owes(lease, replace(lease.entry.owed, state=State.SENDING)))
    assert await hands.state(message) is State.QUEUED
    assert (await hands.one()).entry.owed.tries == 0


async def test_wait_returns_when_mail_comes(hands: Hands) -> None:
    await hands.claim()
    waiting = asyncio.ensure_future(hands.spool.wait(30))
    await hands.accept()
    await asyncio.wait_for(waiting, 5)
    assert len(await hands.claim()) == 1


async def test_wait_returns_when_time_is_up(hands: Hands) -> None:
    await hands.claim()
    await asyncio.wait_for(hands.spool.wait(0.01), 5)


async def test_wait_returns_when_something_comes_due(hands: Hands) -> None:
    await deferred(hands, "a:1", hands.now + 0.02)
    await hands.claim()
    await asyncio.wait_for(hands.spool.wait(30), 5)


async def test_what_comes_due_between_a_claim_and_the_wait_is_not_waited_for(hands: Hands) -> None:
    await deferred(hands, "a:1", hands.now + 50)
    assert await hands.claim() == []
    hands.now += 51
    await asyncio.wait_for(hands.spool.wait(30), 5)
    assert len(await hands.claim()) == 1


async def test_a_body_is_gone_with_its_message(hands: Hands) -> None:
    message = await hands.accept()
    await hands.settle(delivered(await hands.one()))
    assert await hands.spool.body(message.id) is None


@pytest.mark.parametrize("many", [1, 7, 300])
async def test_a_backlog_is_claimed_to_its_end(hands: Hands, many: int) -> None:
    for _ in range(many):
        await deferred(hands, "a:1", hands.now + 10)
    hands.now += 10
    seen = set()
    while leases := await hands.claim(Appetite(total=50)):
        seen |= {lease.entry.message.id for lease in leases}
    assert len(seen) == many
