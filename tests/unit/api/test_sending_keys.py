"""Idempotency-Key: the same request twice is one message, whatever became of the first answer."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from relay.api.callers import Caller
from relay.model import Scope
from relay.ports import CLAIMED
from tests.desk import NOW
from tests.unit.api.sent import MAIL, ORDER, RAW, Relay, places

KEY = {"idempotency-key": "k1"}
BOTH = ["json", "raw"]


@pytest.fixture(scope="module")
def made() -> Relay:
    return Relay()


@pytest.fixture
def relay(made: Relay) -> Relay:
    return made.fresh()


async def ask(relay: Relay, way: str, changed: str = "", **headers: str):
    if way == "json":
        return await relay("POST", "/v1/messages", ORDER | ({"text": changed} if changed else {}), **headers)
    return await relay.raw(MAIL + changed.encode(), **headers)


@pytest.mark.parametrize("way", BOTH)
async def test_H7_the_same_key_is_one_message_and_the_same_answer(relay, way):
    first = await ask(relay, way, **KEY)
    again = await ask(relay, way, **KEY)
    assert (first.status, first.body) == (again.status, again.body)
    assert first.status == 202
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    assert relay.only.message.id == first.json["id"]
    (claim,) = relay.intake.claims.values()
    assert (claim.owner, claim.key, claim.at, claim.answer.encode()) == ("loopback", "k1", NOW, first.body)
    assert len(relay.events) == 1


@pytest.mark.parametrize("way", BOTH)
async def test_H7_another_request_with_the_key_is_refused(relay, way):
    await ask(relay, way, **KEY)
    other = await ask(relay, way, "Something else.", **KEY)
    assert (other.status, places(other)) == (422, [["Idempotency-Key"]])
    assert len(relay.intake.submissions) == 1


async def test_H7_another_envelope_or_another_address_is_another_request(relay):
    await relay.raw(**KEY)
    assert (await relay.raw(target=RAW + "&to=eve@x.example", **KEY)).status == 422
    assert (await ask(relay, "json", **KEY)).status == 422


@pytest.mark.parametrize("way", BOTH)
async def test_H7_keys_belong_to_their_owner(relay, way):
    await ask(relay, way, **KEY)
    relay.who = Caller(name="other", key="token:2", scopes=frozenset({Scope.SEND}))
    assert (await ask(relay, way, "Something else.", **KEY)).status == 202
    assert [owner for owner, _ in relay.intake.claims] == ["loopback", "token:2"]


@pytest.mark.parametrize("way", BOTH)
async def test_H7_two_at_once_and_the_answer_a_moment_later(relay, way):
    relay.intake.gate = asyncio.Event()
    first = asyncio.create_task(ask(relay, way, **KEY))
    await relay.intake.entered.wait()
    second = await ask(relay, way, **KEY)
    assert (second.status, second.headers["retry-after"]) == (409, "1")
    relay.intake.gate.set()
    answer = await first
    assert (await ask(relay, way, **KEY)).body == answer.body
    assert len(relay.intake.submissions) == 1


@pytest.mark.parametrize("way", BOTH)
async def test_H7_a_key_stays_taken_while_the_spool_writes_though_nobody_waits(relay, way):
    relay.intake.gate = asyncio.Event()
    first = asyncio.create_task(ask(relay, way, **KEY))
    await relay.intake.entered.wait()
    first.cancel()
    await asyncio.wait([first])
    assert (await ask(relay, way, **KEY)).status == 409
    relay.intake.gate.set()
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
    again = await ask(relay, way, **KEY)
    assert (again.status, again.json["id"]) == (202, relay.only.message.id)


@pytest.mark.parametrize("way", BOTH)
async def test_H7_what_was_refused_leaves_the_key_free(relay, way):
    relay.limit(max_message_size=10)
    assert (await ask(relay, way, **KEY)).status == 413
    relay.fresh()
    relay.intake.refusal = CLAIMED
    assert (await ask(relay, way, **KEY)).status == 409
    relay.intake.refusal = None
    assert (await ask(relay, way, **KEY)).status == 202


@pytest.mark.parametrize("way", BOTH)
async def test_H7_a_key_that_the_spool_finds_in_use_is_answered_from_there(relay, way):
    """As when it was looked up before the one that had it was durable."""
    first = await ask(relay, way, **KEY)
    known = dict(relay.intake.claims)
    relay.intake.refusal = CLAIMED
    looked: list[str] = []

    async def claimed(owner: str, key: str):
        looked.append(key)
        return known[owner, key] if len(looked) > 1 else None

    relay.intake.claimed = claimed
    again = await ask(relay, way, **KEY)
    assert (again.status, again.body, again.headers["idempotent-replayed"]) == (202, first.body, "true")
    known["loopback", "k1"] = replace(known["loopback", "k1"], digest="another")
    looked.clear()
    assert (await ask(relay, way, **KEY)).status == 422


@pytest.mark.parametrize("key", ["", "x" * 256, "k\xe9y", "a\tb", "\x00"])
@pytest.mark.parametrize("way", BOTH)
async def test_H1_what_is_no_key(relay, way, key):
    answer = await ask(relay, way, **{"idempotency-key": key})
    assert (answer.status, places(answer)) == (422, [["Idempotency-Key"]])
    assert relay.intake.submissions == []


async def test_without_a_key_twice_is_two(relay):
    first, second = await ask(relay, "json"), await ask(relay, "json")
    assert first.json["id"] != second.json["id"]
