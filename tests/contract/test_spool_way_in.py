"""The way into a spool: what is accepted is there, whole, and what is refused is not."""

from __future__ import annotations

import asyncio

import pytest

from relay.model import State
from relay.ports import Filter
from relay.spool.limits import BUSY, SpoolLimits
from tests.contract.spools import Hands, delivered, to_lane


async def test_ids_grow_and_are_thirteen_characters(hands: Hands) -> None:
    found = [hands.spool.new_id(hands.now - 10 * n) for n in range(50)]
    assert found == sorted(set(found))
    assert {len(message) for message in found} == {13}


async def test_an_accepted_message_is_claimed_whole(hands: Hands) -> None:
    message = await hands.accept("b@example.org", "c@example.org", data=b"hello\r\n")
    lease = await hands.one()
    assert lease.entry.message == message
    assert lease.entry.owed.recipients == message.envelope.recipients
    assert (lease.entry.owed.tries, lease.entry.owed.due_at) == (0, hands.now)
    assert lease.entry.owed.deadline == message.expires_at
    body = await hands.spool.body(message.id)
    assert body is not None and body.data == b"hello\r\n"


async def test_a_batch_is_accepted_as_one(hands: Hands) -> None:
    batch = [hands.submission() for _ in range(5)]
    assert await hands.spool.accept(batch) is None
    assert {lease.entry.message.id for lease in await hands.claim()} == {s.message.id for s in batch}


async def test_more_than_the_spool_may_hold_is_refused_452(hands: Hands) -> None:
    await hands.reopen(SpoolLimits(max_size=200))
    await hands.accept(data=b"x" * 98 + b"\r\n")
    batch = [hands.submission(), hands.submission(data=b"x" * 98 + b"\r\n")]
    refused = await hands.spool.accept(batch)
    assert refused is not None and (refused.code, refused.enhanced) == (452, "4.3.1")
    assert len(await hands.claim()) == 1, "nothing of a refused batch is there"


async def test_admits_follows_live_bytes(hands: Hands) -> None:
    await hands.reopen(SpoolLimits(max_size=150))
    assert hands.spool.admits(150) is None
    await hands.accept(data=b"x" * 98 + b"\r\n")
    refused = hands.spool.admits(100)
    assert refused is not None and refused.code == 452
    assert hands.spool.admits(0) is None
    await hands.settle(delivered(await hands.one()))
    assert hands.spool.admits(150) is None, "what was delivered takes no room"


async def test_low_disk_refuses_and_recovers_alone(hands: Hands) -> None:
    hands.free = 100
    await hands.spool.maintain(hands.now)
    refused = await hands.spool.accept([hands.submission()])
    assert refused is not None and (refused.code, refused.enhanced) == (452, "4.3.1")
    hands.free = 1 << 40
    await hands.spool.maintain(hands.now)
    assert await hands.spool.accept([hands.submission()]) is None


async def test_too_many_uncommitted_messages_are_refused(hands: Hands) -> None:
    await hands.reopen(SpoolLimits(uncommitted=3))
    refused = await hands.spool.accept([hands.submission() for _ in range(4)])
    assert refused is not None and (refused.code, refused.enhanced) == (452, "4.3.1")
    assert await hands.spool.accept([hands.submission() for _ in range(3)]) is None


async def test_a_batch_on_its_way_to_the_disk_and_mail_that_comes_alone_keep_no_room_from_each_other(
    hands: Hands,
) -> None:
    await hands.reopen(SpoolLimits(uncommitted=3))
    for order in ((3, 1, 1, 1), (1, 1, 1, 3)):
        batches = [[hands.submission() for _ in range(size)] for size in order]
        assert await asyncio.gather(*[hands.spool.accept(batch) for batch in batches]) == [None] * 4


@pytest.mark.parametrize("sizes", [(2, 2), (1, 1, 1, 1)])
async def test_each_kind_is_bounded_by_itself_until_it_is_written(hands: Hands, sizes: tuple[int, ...]) -> None:
    await hands.reopen(SpoolLimits(uncommitted=3))
    asked = [hands.spool.accept([hands.submission() for _ in range(size)]) for size in sizes]
    last = BUSY if hands.kind == "sqlite" else None  # in memory everything is written at once
    assert await asyncio.gather(*asked) == [*[None] * (len(sizes) - 1), last]
    assert await hands.spool.accept([hands.submission() for _ in range(sizes[0])]) is None


async def test_a_writer_collects_a_small_body(hands: Hands) -> None:
    writer = hands.spool.writer(hands.spool.new_id(hands.now))
    assert not writer.feed(b"one\r\n")
    assert not writer.feed(b"two\r\n")
    body = await writer.finish()
    assert (body.data, body.size, writer.size) == (b"one\r\ntwo\r\n", 10, 10)
    await writer.discard()
    await writer.discard()


async def test_a_body_that_asked_for_no_drain_is_finished_without_waiting(hands: Hands) -> None:
    writer = hands.spool.writer(hands.spool.new_id(hands.now))
    while not writer.feed(b"x" * 4094 + b"\r\n") and writer.size < 256 * 1024:
        with pytest.raises(StopIteration) as finished:
            writer.finish().send(None)
        assert finished.value.value.size == writer.size
    await writer.discard()


async def test_captured_mail_is_not_claimed(hands: Hands) -> None:
    hands.lane = to_lane("default:1", state=State.CAPTURED)
    message = await hands.accept()
    assert await hands.claim() == []
    assert await hands.state(message) is State.CAPTURED


@pytest.mark.parametrize("limits", [SpoolLimits(captured_messages=2), SpoolLimits(captured_bytes=50)])
async def test_only_the_newest_captured_mail_is_kept(hands: Hands, limits: SpoolLimits) -> None:
    await hands.reopen(limits)
    hands.lane = to_lane("default:1", state=State.CAPTURED)
    messages = [await hands.accept() for _ in range(4)]
    await hands.spool.maintain(hands.now)
    page = await hands.spool.find(Filter(states=(State.CAPTURED,)), limit=10)
    assert [shown.id for shown in page.data] == [message.id for message in messages[2:]]
    gone = await hands.spool.show(messages[0].id)
    assert gone is not None and gone.state is State.CANCELLED and "newest" in gone.recipients[0].reason
    assert (await hands.spool.stats()).live_bytes == sum(message.size for message in messages[2:])


async def test_scheduled_mail_waits_for_its_time(hands: Hands) -> None:
    hands.lane = to_lane("default:1", state=State.SCHEDULED, due_at=hands.now + 100)
    message = await hands.accept()
    assert await hands.claim() == []
    assert await hands.state(message) is State.SCHEDULED
    hands.now += 100
    assert (await hands.one()).entry.owed.state is State.QUEUED
