"""The record of what was told to the relay: there when its messages are, found by people, forgotten in time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace

from relay.model import Happening
from relay.ports import CLAIMED, Filter
from relay.spool.limits import BROKEN, BUSY, FULL, SpoolLimits
from tests.contract.spools import Hands
from tests.contract.test_spool_keys import claim, messages

DAY = 86400.0
NOBODY = "0cmfxxv008yf8"


def happening(hands: Hands, name: str = "user.created", **more: Any) -> Happening:
    fields = {"kind": "event", "at": hands.now, "user": "crm", "outcome": '{"messages":[]}'} | more
    return Happening(id=hands.spool.new_id(hands.now), name=name, **fields)


async def happened(hands: Hands, name: str = "user.created", **more: Any) -> Happening:
    """Something that caused no message."""
    what = happening(hands, name, **more)
    assert await hands.spool.accept((), happening=what) is None
    return what


async def seen(hands: Hands, **asked: Any) -> list[Happening]:
    found, _ = await hands.spool.happenings(**{"limit": 1000} | asked)
    return list(found)


async def test_messages_their_key_and_what_happened_are_there_together(hands: Hands) -> None:
    batch, used = [hands.submission(), hands.submission()], claim(hands)
    what = happening(hands, outcome=json.dumps({"messages": [s.message.id for s in batch]}))
    assert await hands.spool.accept(batch, claim=used, happening=what) is None
    assert await messages(hands) == [submission.message.id for submission in batch]
    assert await hands.spool.claimed("token 7", "k1") == used
    assert await seen(hands) == [what]
    assert await hands.spool.happening(what.id) == what
    assert await hands.spool.happening(f" {what.id.upper()} ") == what


async def test_H7_nothing_happened_and_nothing_is_sent_where_the_key_is_in_use(hands: Hands) -> None:
    first = happening(hands)
    assert await hands.spool.accept((), claim=claim(hands), happening=first) is None
    again = happening(hands)
    assert await hands.spool.accept([hands.submission()], claim=claim(hands, digest="d2"), happening=again) == CLAIMED
    assert await hands.spool.accept((), claim=claim(hands), happening=again) == CLAIMED
    assert (await seen(hands), await messages(hands)) == ([first], [])
    assert await hands.spool.happening(again.id) is None


async def test_H7_of_many_at_once_with_one_key_one_happens(hands: Hands) -> None:
    told = [happening(hands, f"n{n}") for n in range(10)]
    replies = await asyncio.gather(
        *[hands.spool.accept([hands.submission()], claim=claim(hands), happening=what) for what in told]
    )
    assert await seen(hands) == [what for what, reply in zip(told, replies, strict=True) if reply is None]
    assert (replies.count(None), len(await messages(hands))) == (1, 1)


async def test_what_caused_more_messages_than_fit_in_a_statement_is_one_operation(hands: Hands) -> None:
    many = [hands.submission() for _ in range(600)]
    assert await hands.spool.accept(many, claim=claim(hands), happening=happening(hands)) is None
    assert await hands.spool.accept([hands.submission() for _ in range(600)], claim=claim(hands)) == CLAIMED
    assert (len(await messages(hands)), len(await seen(hands))) == (600, 1)


async def test_what_is_on_disk_is_there_after_a_restart_and_ids_go_on_behind_it(hands: Hands) -> None:
    what = await happened(hands)
    await hands.reopen()
    assert await hands.spool.happening(what.id) == (what if hands.kind == "sqlite" else None)
    hands.now -= 3600
    if hands.kind == "sqlite":
        assert hands.spool.new_id(hands.now) > what.id


@pytest.mark.parametrize("text", ["", "ünï ☃ 😀", "a\x00b'\"\\\r\n", "%_*[", "null", "[1]"])
async def test_texts_are_kept_as_given(hands: Hands, text: str) -> None:
    what = await happened(hands, text, user=text, kind="run", outcome=json.dumps({"name": text}))
    await happened(hands, "another")
    assert (await seen(hands))[1] == what
    assert await seen(hands, name=text) == ([what] if text else await seen(hands))


async def test_a_page_is_the_newest_and_the_next_begins_behind_it(hands: Hands) -> None:
    told = [await happened(hands, f"n{n % 2}") for n in range(7)][::-1]
    page, more = await hands.spool.happenings(limit=3)
    assert (list(page), more) == (told[:3], True)
    page, more = await hands.spool.happenings(limit=4, after=page[-1].id)
    assert (list(page), more) == (told[3:], False)
    page, more = await hands.spool.happenings(limit=1, after=told[3].id, name="n1")
    assert (list(page), more) == ([told[5]], False)
    assert await seen(hands, after=told[-1].id) == []


async def test_a_name_is_meant_exactly(hands: Hands) -> None:
    what = await happened(hands, "user.created")
    await happened(hands, "User.created")
    await happened(hands, "user.created.twice")
    assert await seen(hands, name="user.created") == [what]
    assert await seen(hands, name="user.*") == []


@pytest.mark.parametrize("bad", ["?", "x" * 500, "zzzzzzzzzzzzz", "\ud800", "0" * 12])
async def test_an_id_that_is_none_is_nobodys_and_no_cursor(hands: Hands, bad: str) -> None:
    what = await happened(hands)
    assert await hands.spool.happening(bad) is None
    assert await hands.spool.happening(NOBODY) is None
    assert await seen(hands, after=bad) == [what]


async def test_an_id_of_mail_is_not_one_of_what_happened(hands: Hands) -> None:
    message, what = await hands.accept(), await happened(hands)
    assert await hands.spool.happening(message.id) is None
    assert await hands.spool.show(what.id) is None


async def test_what_caused_nothing_is_no_mail_and_counts_as_none(hands: Hands) -> None:
    await happened(hands)
    stats = await hands.spool.stats()
    assert (stats.live_bytes, dict(stats.states), await hands.claim()) == (0, {}, [])


async def test_G4_a_full_spool_takes_no_record_either(hands: Hands) -> None:
    message = await hands.accept()
    await hands.reopen(SpoolLimits(max_size=message.size))
    if hands.kind == "memory":
        await hands.accept()
    for batch in ((), [hands.submission()]):
        assert await hands.spool.accept(batch, claim=claim(hands), happening=happening(hands)) == FULL
    assert await hands.spool.accept((), claim=claim(hands)) == FULL
    assert (await seen(hands), await hands.spool.claimed("token 7", "k1")) == ([], None)


async def test_G4_what_is_said_of_it_must_fit_on_the_disk(hands: Hands) -> None:
    hands.free = (512 << 20) + 50_000
    await hands.reopen()
    assert await hands.spool.accept((), happening=happening(hands, outcome=json.dumps("x" * 60_000))) == FULL
    await happened(hands)


async def test_G5_a_spool_that_failed_takes_no_record(hands: Hands) -> None:
    spool: Any = hands.spool
    gauge = spool._gauge if hands.kind == "memory" else spool._books.gauge
    gauge.failure = "the disk failed"
    assert await hands.spool.accept((), happening=happening(hands)) == BROKEN


async def test_records_without_a_message_are_among_those_on_their_way_to_the_disk(hands: Hands) -> None:
    await hands.reopen(SpoolLimits(uncommitted=3))
    replies = await asyncio.gather(*[hands.spool.accept((), happening=happening(hands)) for _ in range(5)])
    assert replies == ([None] * 5 if hands.kind == "memory" else [None] * 3 + [BUSY] * 2)
    await happened(hands)


async def test_it_is_forgotten_with_age(hands: Hands) -> None:
    await hands.reopen(SpoolLimits(keep=DAY))
    await happened(hands)
    hands.now += DAY - 1
    new = await happened(hands)
    hands.now += 2
    await hands.spool.maintain(hands.now)
    assert await seen(hands) == [new]


async def test_the_newest_of_many_are_kept(hands: Hands) -> None:
    await hands.reopen(SpoolLimits(max_messages=3))
    told = [await happened(hands, f"n{n}") for n in range(5)]
    await hands.spool.maintain(hands.now)
    assert await seen(hands) == told[:1:-1]


async def test_mail_shows_the_provider_it_names_and_is_found_by_it(hands: Hands) -> None:
    named, other = hands.submission(), hands.submission()
    named = replace(named, message=replace(named.message, via="integration/3"))
    assert await hands.spool.accept([named, other]) is None
    await hands.reopen() if hands.kind == "sqlite" else None
    found = (await hands.spool.find(Filter(provider="integration/3"), limit=9)).data
    assert [shown.id for shown in found] == [named.message.id]
    assert [recipient.provider for recipient in found[0].recipients] == ["integration/3"]
    leases = await hands.claim()
    assert {lease.entry.message.id: lease.entry.message.via for lease in leases} == {
        named.message.id: "integration/3",
        other.message.id: "",
    }


async def test_mail_that_was_cancelled_before_it_went_is_found_by_the_provider_it_names(hands: Hands) -> None:
    named = hands.submission()
    named = replace(named, message=replace(named.message, via="integration/3"))
    await hands.spool.accept([named])
    await hands.reopen() if hands.kind == "sqlite" else None
    acted = await hands.spool.act("cancel", Filter(provider="integration/3"), hands.now)
    assert acted.changed == (named.message.id,)
    found = (await hands.spool.find(Filter(provider="integration/3", ended=True), limit=9)).data
    assert [shown.id for shown in found] == [named.message.id]
