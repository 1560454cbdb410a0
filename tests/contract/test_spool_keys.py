"""Idempotency keys: one that was used is known exactly as long as its message was accepted and for a day."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec.structs import replace

from relay.model import Claim, Submission
from relay.ports import CLAIMED, Filter
from relay.spool.limits import FULL, SpoolLimits
from tests.contract.spools import Hands, delivered

DAY = 86400.0


def claim(hands: Hands, key: str = "k1", owner: str = "token 7", **more: Any) -> Claim:
    fields = {"digest": "d1", "answer": '{"id":"x"}', "at": hands.now} | more
    return Claim(owner=owner, key=key, **fields)


def with_key(hands: Hands, key: str = "k1", **more: Any) -> Submission:
    return replace(hands.submission(), claim=claim(hands, key, **more))


async def messages(hands: Hands) -> list[str]:
    return [shown.id for shown in (await hands.spool.find(Filter(ended=True), limit=1000)).data]


async def test_H7_a_key_is_known_as_it_was_used(hands: Hands) -> None:
    assert await hands.spool.claimed("token 7", "k1") is None
    used = with_key(hands, answer='{"recipients":["ü@x"]}')
    assert await hands.spool.accept([used]) is None
    assert await hands.spool.claimed("token 7", "k1") == used.claim
    assert await hands.spool.claimed("token 8", "k1") is None
    assert await hands.spool.claimed("token 7", "K1") is None


async def test_H7_a_key_outlives_its_message(hands: Hands) -> None:
    used = with_key(hands)
    await hands.spool.accept([used])
    await hands.settle(delivered(await hands.one()))
    assert await hands.spool.claimed("token 7", "k1") == used.claim


async def test_H7_after_a_restart_a_key_is_known_if_and_only_if_its_message_is(hands: Hands) -> None:
    used = with_key(hands)
    await hands.spool.accept([used])
    await hands.reopen()
    there = await hands.spool.show(used.message.id)
    assert (await hands.spool.claimed("token 7", "k1")) == (used.claim if there else None)
    assert (there is not None) == (hands.kind == "sqlite")
    again = with_key(hands)
    assert await hands.spool.accept([again]) == (CLAIMED if there else None)


async def test_H7_a_key_in_use_accepts_nothing_of_its_batch_and_changes_nothing(hands: Hands) -> None:
    first = with_key(hands)
    await hands.spool.accept([first])
    before = await hands.spool.stats()
    second = with_key(hands, digest="d2")
    assert await hands.spool.accept([hands.submission(), second]) == CLAIMED
    assert await messages(hands) == [first.message.id]
    assert await hands.spool.claimed("token 7", "k1") == first.claim
    assert (await hands.spool.stats()).live_bytes == before.live_bytes


async def test_H7_of_several_at_once_with_the_same_key_one_is_accepted_and_no_other_mail_suffers(hands: Hands) -> None:
    same = [with_key(hands, digest=f"d{n}") for n in range(5)]
    others = [hands.submission() for _ in range(5)] + [with_key(hands, f"other {n}") for n in range(5)]
    batches = [submission for pair in zip(same, others[:5], others[5:], strict=True) for submission in pair]
    replies = await asyncio.gather(*[hands.spool.accept([submission]) for submission in batches])
    answers = {submission.message.id: reply for submission, reply in zip(batches, replies, strict=True)}
    assert [answers[s.message.id] for s in others] == [None] * 10
    won = [s for s in same if answers[s.message.id] is None]
    assert len(won) == 1
    assert {answers[s.message.id] for s in same if s is not won[0]} == {CLAIMED}
    assert await hands.spool.claimed("token 7", "k1") == won[0].claim
    assert len(await hands.claim()) == 11


async def test_H7_the_same_key_twice_in_one_batch_is_a_key_in_use(hands: Hands) -> None:
    assert await hands.spool.accept([with_key(hands), with_key(hands)]) == CLAIMED
    assert await messages(hands) == []
    assert await hands.spool.claimed("token 7", "k1") is None


async def test_H7_a_key_of_mail_that_was_refused_is_free(hands: Hands) -> None:
    await hands.reopen(SpoolLimits(max_size=10))
    assert await hands.spool.accept([with_key(hands)]) == FULL
    assert await hands.spool.claimed("token 7", "k1") is None
    await hands.reopen()
    assert await hands.spool.accept([with_key(hands)]) is None


async def test_keys_of_owners_are_their_own(hands: Hands) -> None:
    one, two = with_key(hands, owner="a"), with_key(hands, owner="b", digest="d2")
    assert await hands.spool.accept([one, two]) is None
    assert await hands.spool.claimed("a", "k1") == one.claim
    assert await hands.spool.claimed("b", "k1") == two.claim


async def test_many_ask_at_once_and_each_gets_its_own(hands: Hands) -> None:
    used = [with_key(hands, f"k{n}") for n in range(50)]
    await hands.spool.accept(used)
    found = await asyncio.gather(*[hands.spool.claimed("token 7", f"k{n}") for n in range(60)])
    assert found == [submission.claim for submission in used] + [None] * 10


async def test_a_key_is_forgotten_after_a_day_and_may_be_used_again(hands: Hands) -> None:
    await hands.spool.accept([with_key(hands)])
    hands.now += DAY - 1
    await hands.spool.maintain(hands.now)
    assert await hands.spool.claimed("token 7", "k1") is not None
    assert await hands.spool.accept([with_key(hands)]) == CLAIMED
    hands.now += 1
    assert await hands.spool.claimed("token 7", "k1") is None
    again = with_key(hands, digest="d2")
    assert await hands.spool.accept([again]) is None, "also before anybody cleared it away"
    assert await hands.spool.claimed("token 7", "k1") == again.claim
    hands.now += DAY
    await hands.spool.maintain(hands.now)
    hands.now -= DAY
    assert await hands.spool.claimed("token 7", "k1") is None, "it was cleared away"


async def test_H7_after_a_step_back_of_the_clock_a_key_is_still_in_use(hands: Hands) -> None:
    await hands.spool.accept([with_key(hands)])
    hands.now -= 3600
    assert await hands.spool.claimed("token 7", "k1") is not None
    assert await hands.spool.accept([with_key(hands)]) == CLAIMED
