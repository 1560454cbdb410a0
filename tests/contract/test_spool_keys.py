"""Idempotency keys: one that was used is known exactly as long as what it was used for was accepted and for a day."""

from __future__ import annotations

import asyncio
from typing import Any

from relay.model import Claim, Reply, Submission
from relay.ports import CLAIMED, Filter
from relay.spool.limits import FULL, SpoolLimits
from tests.contract.spools import Hands, delivered

DAY = 86400.0


def claim(hands: Hands, key: str = "k1", owner: str = "token 7", **more: Any) -> Claim:
    fields = {"digest": "d1", "answer": '{"id":"x"}', "at": hands.now} | more
    return Claim(owner=owner, key=key, **fields)


async def accept(hands: Hands, claim: Claim, *batch: Submission) -> Reply | None:
    """A message, or those of a batch, with a key."""
    return await hands.spool.accept(batch or [hands.submission()], claim=claim)


async def messages(hands: Hands) -> list[str]:
    return [shown.id for shown in (await hands.spool.find(Filter(ended=True), limit=1000)).data]


async def test_H7_a_key_is_known_as_it_was_used(hands: Hands) -> None:
    assert await hands.spool.claimed("token 7", "k1") is None
    used = claim(hands, answer='{"recipients":["ü@x"]}')
    assert await accept(hands, used) is None
    assert await hands.spool.claimed("token 7", "k1") == used
    assert await hands.spool.claimed("token 8", "k1") is None
    assert await hands.spool.claimed("token 7", "K1") is None


async def test_H7_a_key_outlives_its_message(hands: Hands) -> None:
    used = claim(hands)
    await accept(hands, used)
    await hands.settle(delivered(await hands.one()))
    assert await hands.spool.claimed("token 7", "k1") == used


async def test_H7_after_a_restart_a_key_is_known_if_and_only_if_its_message_is(hands: Hands) -> None:
    used, message = claim(hands), hands.submission()
    await accept(hands, used, message)
    await hands.reopen()
    there = await hands.spool.show(message.message.id)
    assert (await hands.spool.claimed("token 7", "k1")) == (used if there else None)
    assert (there is not None) == (hands.kind == "sqlite")
    assert await accept(hands, claim(hands)) == (CLAIMED if there else None)


async def test_H7_a_key_without_a_message_is_kept_all_the_same(hands: Hands) -> None:
    used = claim(hands)
    assert await hands.spool.accept((), claim=used) is None
    assert await hands.spool.accept((), claim=used) == CLAIMED
    await hands.reopen()
    kept = await hands.spool.claimed("token 7", "k1")
    assert kept == (used if hands.kind == "sqlite" else None)
    assert (await messages(hands), await hands.claim()) == ([], [])


async def test_H7_a_key_in_use_accepts_nothing_of_its_batch_and_changes_nothing(hands: Hands) -> None:
    first, used = hands.submission(), claim(hands)
    await accept(hands, used, first)
    before = await hands.spool.stats()
    assert await accept(hands, claim(hands, digest="d2"), hands.submission(), hands.submission()) == CLAIMED
    assert await messages(hands) == [first.message.id]
    assert await hands.spool.claimed("token 7", "k1") == used
    assert (await hands.spool.stats()).live_bytes == before.live_bytes


async def test_H7_of_several_at_once_with_the_same_key_one_is_accepted_and_no_other_mail_suffers(hands: Hands) -> None:
    same = [claim(hands, digest=f"d{n}") for n in range(5)]
    keys = [key for n in range(5) for key in (same[n], None, claim(hands, f"other {n}"))]
    replies = await asyncio.gather(*[hands.spool.accept([hands.submission()], claim=key) for key in keys])
    answers = dict(zip(range(15), replies, strict=True))
    won = [n for n in range(0, 15, 3) if answers.pop(n) is None]
    assert set(answers.values()) == {None}
    assert len(won) == 1
    assert {replies[n] for n in range(0, 15, 3) if n not in won} == {CLAIMED}
    assert await hands.spool.claimed("token 7", "k1") == keys[won[0]]
    assert len(await hands.claim()) == 11


async def test_H7_a_key_of_mail_that_was_refused_is_free(hands: Hands) -> None:
    await hands.reopen(SpoolLimits(max_size=10))
    assert await accept(hands, claim(hands)) == FULL
    assert await hands.spool.claimed("token 7", "k1") is None
    await hands.reopen()
    assert await accept(hands, claim(hands)) is None


async def test_keys_of_owners_are_their_own(hands: Hands) -> None:
    one, two = claim(hands, owner="a"), claim(hands, owner="b", digest="d2")
    assert [await accept(hands, used) for used in (one, two)] == [None, None]
    assert await hands.spool.claimed("a", "k1") == one
    assert await hands.spool.claimed("b", "k1") == two


async def test_many_ask_at_once_and_each_gets_its_own(hands: Hands) -> None:
    used = [claim(hands, f"k{n}") for n in range(50)]
    await asyncio.gather(*[accept(hands, each) for each in used])
    found = await asyncio.gather(*[hands.spool.claimed("token 7", f"k{n}") for n in range(60)])
    assert found == used + [None] * 10


async def test_a_key_is_forgotten_after_a_day_and_may_be_used_again(hands: Hands) -> None:
    await accept(hands, claim(hands))
    hands.now += DAY - 1
    await hands.spool.maintain(hands.now)
    assert await hands.spool.claimed("token 7", "k1") is not None
    assert await accept(hands, claim(hands)) == CLAIMED
    hands.now += 1
    assert await hands.spool.claimed("token 7", "k1") is None
    again = claim(hands, digest="d2")
    assert await accept(hands, again) is None, "also before anybody cleared it away"
    assert await hands.spool.claimed("token 7", "k1") == again
    hands.now += DAY
    await hands.spool.maintain(hands.now)
    hands.now -= DAY
    assert await hands.spool.claimed("token 7", "k1") is None, "it was cleared away"


async def test_H7_after_a_step_back_of_the_clock_a_key_is_still_in_use(hands: Hands) -> None:
    await accept(hands, claim(hands))
    hands.now -= 3600
    assert await hands.spool.claimed("token 7", "k1") is not None
    assert await accept(hands, claim(hands)) == CLAIMED
