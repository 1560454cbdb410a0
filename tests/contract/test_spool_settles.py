"""Settlements: a lease is replaced by what is owed still, and nobody is lost, doubled or invented."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from relay.events import MessageEnded
from relay.model import Ended, Recipient, Settlement, State, TimelineEvent
from relay.ports import Filter
from relay.spool.limits import SpoolLimits
from relay.spool.settling import ConservationError
from tests.contract.spools import Hands, attempt, delivered, each_to_its_own, finished, owes


async def test_the_last_recipient_ends_the_message(hands: Hands) -> None:
    message = await hands.accept("b@x", "c@x")
    lease = await hands.one()
    assert await hands.settle(delivered(lease)) == {lease.token}
    shown = await hands.spool.show(message.id)
    assert shown is not None and shown.state is State.ACCEPTED and shown.ended_at == hands.now
    assert [(r.address, r.state, r.provider, r.reason, r.tries) for r in shown.recipients] == [
        ("b@x", State.ACCEPTED, "p", "250 ok", 1),
        ("c@x", State.ACCEPTED, "p", "250 ok", 1),
    ]
    assert shown.timeline == (attempt(lease),)
    assert [e for e in hands.events if isinstance(e, MessageEnded)] == [
        MessageEnded(message=message.id, state="accepted")
    ]
    assert (await hands.spool.stats()).live_bytes == 0


async def test_a_settlement_counts_once(hands: Hands) -> None:
    await hands.accept()
    lease = await hands.one()
    assert await hands.settle(delivered(lease), delivered(lease)) == {lease.token}
    assert await hands.settle(delivered(lease)) == set()
    assert await hands.settle(Settlement(token=999)) == set()


async def test_some_recipients_are_delivered_and_others_tried_again(hands: Hands) -> None:
    message = await hands.accept("b@x", "c@x", "d@x")
    lease = await hands.one()
    first, second, third = lease.entry.owed.recipients
    rest = replace(lease.entry.owed, recipients=(third,), tries=1, state=State.DEFERRED, due_at=hands.now + 60)
    ended = (
        Ended(recipient=first, state=State.ACCEPTED, provider="p", reply="250 ok"),
        Ended(recipient=second, state=State.FAILED, provider="p", reply="550 no"),
    )
    await hands.settle(Settlement(token=lease.token, ended=ended, remainders=(rest,), events=(attempt(lease),)))
    shown = await hands.spool.show(message.id)
    assert shown is not None and shown.state is State.DEFERRED and shown.recipients[2].lane == "default:1"
    assert [r.state for r in shown.recipients] == [State.ACCEPTED, State.FAILED, State.DEFERRED]
    hands.now += 60
    await hands.settle(finished(await hands.one(), State.FAILED, hands.now))
    shown = await hands.spool.show(message.id)
    assert shown is not None and shown.state is State.ACCEPTED, "the first of its recipients' states in order"
    assert [(r.state, r.tries) for r in shown.recipients] == [
        (State.ACCEPTED, 1), (State.FAILED, 1), (State.FAILED, 2)
    ]  # fmt: skip
    assert [event.at for event in shown.timeline] == [hands.now - 60, hands.now]


async def test_a_message_ends_with_its_last_entry(hands: Hands) -> None:
    hands.lane = each_to_its_own
    message = await hands.accept("b@x", "c@x", "d@x")
    leases = await hands.claim()
    await hands.settle(delivered(leases[0]))
    assert await hands.state(message) is State.SENDING
    await hands.settle(finished(leases[1], State.FAILED), finished(leases[2], State.EXPIRED))
    shown = await hands.spool.show(message.id)
    assert shown is not None and shown.state is State.ACCEPTED and len(shown.timeline) == 3
    assert [e.state for e in hands.events if isinstance(e, MessageEnded)] == ["accepted"]


async def test_an_entry_may_fall_apart(hands: Hands) -> None:
    message = await hands.accept("b@x", "c@x", "d@x")
    lease = await hands.one()
    parts = [replace(lease.entry.owed, recipients=(r,), lane=f"{r.address}:1") for r in message.envelope.recipients]
    await hands.settle(owes(lease, *parts))
    leases = await hands.claim()
    assert len(leases) == 3
    await hands.settle(*[delivered(lease) for lease in leases])
    assert await hands.state(message) is State.ACCEPTED


@pytest.mark.parametrize("change", ["lost", "doubled", "invented", "nobody"])
async def test_conservation_is_checked(hands: Hands, change: str) -> None:
    await hands.accept("b@x", "c@x")
    await hands.accept("e@x")
    broken, sound = await hands.claim()
    owed = broken.entry.owed
    first, second = owed.recipients
    remainders = {
        "lost": [replace(owed, recipients=(first,))],
        "doubled": [owed, replace(owed, recipients=(second,))],
        "invented": [replace(owed, recipients=(first, second, Recipient(address="z@x")))],
        "nobody": [owed, replace(owed, recipients=())],
    }[change]
    with pytest.raises(ConservationError):
        await hands.settle(owes(broken, *remainders), delivered(sound))
    assert await hands.state(sound.entry.message) is State.ACCEPTED, "only the broken one is not done"
    assert await hands.settle(delivered(broken)) == {broken.token}, "its lease is as it was"


async def test_notices_are_queued_with_the_settlement(hands: Hands) -> None:
    message = await hands.accept(sender="a@example.com")
    notice = hands.submission("a@example.com", sender="")
    failed = finished(await hands.one(), State.FAILED)
    await hands.settle(replace(failed, notices=(notice,)))
    assert await hands.state(message) is State.FAILED
    lease = await hands.one()
    assert lease.entry.message == notice.message
    body = await hands.spool.body(notice.message.id)
    assert body is not None and body.data == notice.body.data
    assert (await hands.spool.stats()).live_bytes == notice.message.size


async def test_notices_pass_beyond_a_full_spool(hands: Hands) -> None:
    await hands.accept()
    hands.free = 0
    await hands.spool.maintain(hands.now)
    notice = hands.submission("a@example.com", sender="")
    await hands.settle(replace(finished(await hands.one(), State.FAILED), notices=(notice,)))
    assert (await hands.one()).entry.message == notice.message


async def test_history_is_kept_for_its_time(hands: Hands) -> None:
    await hands.reopen(SpoolLimits(keep=100.0))
    old = await hands.accept()
    await hands.settle(delivered(await hands.one()))
    hands.now += 60
    young = await hands.accept()
    await hands.settle(delivered(await hands.one()))
    hands.now += 60
    await hands.spool.maintain(hands.now)
    assert await hands.spool.show(old.id) is None
    assert await hands.state(young) is State.ACCEPTED


async def test_history_is_bounded_in_number(hands: Hands) -> None:
    await hands.reopen(SpoolLimits(max_messages=3))
    messages = []
    for _ in range(5):
        messages.append(await hands.accept())
        await hands.settle(delivered(await hands.one()))
        hands.now += 1
    await hands.spool.maintain(hands.now)
    page = await hands.spool.find(Filter(ended=True), limit=10)
    assert [shown.id for shown in page.data] == [message.id for message in messages[2:]]


async def test_events_are_told_in_order(hands: Hands) -> None:
    message = await hands.accept()
    for n in range(3):
        lease = await hands.one()
        event = TimelineEvent(at=hands.now, kind="parked", detail=f"number {n}")
        await hands.settle(owes(lease, lease.entry.owed, events=(event,)))
    shown = await hands.spool.show(message.id)
    assert shown is not None and [event.detail for event in shown.timeline] == ["number 0", "number 1", "number 2"]
