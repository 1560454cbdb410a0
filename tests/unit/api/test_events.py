"""POST /v1/events and what is told of it afterwards."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace

from relay.api.callers import Caller
from relay.api.facts import DEEPEST
from relay.api.views import moment
from relay.events import EventTold, MessageAccepted
from relay.model import Happening, Scope
from relay.ports import CLAIMED
from relay.spool.limits import BROKEN, BUSY, FULL
from tests.automation import ANN, MAIL, made_of, rule
from tests.desk import NOW
from tests.unit.api.sent import Relay, parsed, places

PATH = "/v1/events"
EVENT = {"event": "user.created", "data": ANN}
KEY = {"idempotency-key": "k1"}


@pytest.fixture(scope="module")
def made() -> Relay:
    return Relay()


@pytest.fixture
def relay(made: Relay) -> Relay:
    known(made.fresh(), welcome=rule())
    return made


def known(relay: Relay, **rules: Any) -> None:
    relay.workflows.known.update({name: [made_of(document, name)] for name, document in rules.items()})


async def test_202_once_all_of_it_is_spooled(relay):
    known(relay, other=rule("user.created", MAIL, MAIL | {"subject": "{{ user.title }}"}))
    answer = await relay("POST", PATH, EVENT)
    ids = [submission.message.id for submission in relay.intake.submissions]
    assert (answer.status, answer.json["messages"]) == (202, ids)
    assert answer.json["event"] == "user.created"
    assert answer.json["fired"] == [
        {"workflow": "welcome", "version": 1, "messages": ids[:1]},
        {"workflow": "other", "version": 1, "messages": ids[1:]},
    ]
    assert [(one["workflow"], one["loc"]) for one in answer.json["failed"]] == [
        ("other", ["actions", 1, "data", "subject"])
    ]
    mail = parsed(relay.intake.submissions[0])
    assert (mail["To"], mail["Subject"], mail.get_content()) == ("ann@example.org", "Welcome", "Hello Ann.\n")


async def test_what_happened_is_kept_with_it_and_told(relay):
    answer = await relay("POST", PATH, EVENT)
    (happening,) = relay.intake.happened
    assert happening == Happening(
        id=answer.json["id"],
        kind="event",
        name="user.created",
        at=NOW,
        user="loopback",
        outcome=answer.body.decode(),
    )
    assert happening.id < relay.only.message.id
    accepted, told = relay.events
    assert isinstance(accepted, MessageAccepted)
    assert told == EventTold(
        id=happening.id, kind="event", name="user.created", user="loopback", messages=(relay.only.message.id,)
    )


async def test_an_event_that_nothing_waits_for_is_kept_too(relay):
    answer = await relay("POST", PATH, {"event": "other"})
    assert (answer.status, answer.json["messages"], answer.json["fired"]) == (202, [], [])
    assert [one.name for one in relay.intake.happened] == ["other"]


# Idempotency.


async def test_H7_the_same_key_is_one_event_and_the_same_answer(relay):
    first, again = await relay("POST", PATH, EVENT, **KEY), await relay("POST", PATH, EVENT, **KEY)
    assert (first.status, first.body) == (again.status, again.body)
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    assert (len(relay.intake.submissions), len(relay.intake.happened)) == (1, 1)
    assert [claim.answer.encode() for claim in relay.intake.claims.values()] == [first.body]
    assert len([event for event in relay.events if isinstance(event, EventTold)]) == 1


async def test_H7_a_key_is_kept_also_when_no_mail_came_of_it(relay):
    first = await relay("POST", PATH, {"event": "other"}, **KEY)
    assert (await relay("POST", PATH, {"event": "other"}, **KEY)).body == first.body
    assert len(relay.intake.happened) == 1


async def test_H7_another_request_with_the_key_is_refused(relay):
    await relay("POST", PATH, EVENT, **KEY)
    other = await relay("POST", PATH, EVENT | {"data": {}}, **KEY)
    assert (other.status, places(other)) == (422, [["Idempotency-Key"]])
    assert len(relay.intake.submissions) == 1


async def test_H7_two_at_once_and_the_answer_a_moment_later(relay):
    relay.intake.gate = asyncio.Event()
    first = asyncio.create_task(relay("POST", PATH, EVENT, **KEY))
    await relay.intake.entered.wait()
    second = await relay("POST", PATH, EVENT, **KEY)
    assert (second.status, second.headers["retry-after"]) == (409, "1")
    relay.intake.gate.set()
    answer = await first
    assert (await relay("POST", PATH, EVENT, **KEY)).body == answer.body
    assert len(relay.intake.submissions) == 1


async def test_H7_a_key_that_the_spool_finds_in_use_is_answered_from_there(relay):
    first = await relay("POST", PATH, EVENT, **KEY)
    held = dict(relay.intake.claims)
    looked: list[str] = []

    async def claimed(owner: str, key: str):
        looked.append(key)
        return held[owner, key] if len(looked) > 1 else None

    relay.intake.claimed = claimed
    again = await relay("POST", PATH, EVENT, **KEY)
    assert (again.body, again.headers["idempotent-replayed"]) == (first.body, "true")
    assert (len(relay.intake.submissions), relay.intake.discarded) == (1, 1)
    assert len([event for event in relay.events if isinstance(event, EventTold)]) == 1


# What is refused.


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"data": {}}, ["body", "event"]),
        ({"event": ""}, ["body", "event"]),
        ({"event": "x" * 201}, ["body", "event"]),
        ({"event": "a\r\nb"}, ["body", "event"]),
        ({"event": "a\ud800"}, ["body", "event"]),
        ({"event": 5}, ["body", "event"]),
        ({"event": "x", "data": None}, ["body", "data"]),
        ({"event": "x", "data": []}, ["body", "data"]),
        ({"event": "x", "more": 1}, ["body", "more"]),
        ({"event": "x", "data": {"a": ["\ud800"]}}, ["body", "data", "a", 0]),
        ({"event": "x", "data": {"a": {"\udfff": 1}}}, ["body", "data", "a"]),
        ({"event": "x", "data": {"a": 1 << 64}}, ["body", "data", "a"]),
        ({"event": "x", "data": {"a": -(1 << 63) - 1}}, ["body", "data", "a"]),
        ({"event": "x", "data": {"a": float("nan")}}, ["body", "data", "a"]),
        ({"event": "x", "data": {"a": float("-inf")}}, ["body", "data", "a"]),
    ],
)
async def test_H1_422_names_the_place(relay, body, place):
    answer = await relay("POST", PATH, body)
    assert (answer.status, places(answer)) == (422, [place])
    assert relay.intake.happened == []


@pytest.mark.parametrize("name", ["x\n", "a\x00"])
async def test_H1_control_characters_of_data_get_into_no_header(relay, name):
    known(relay, welcome=rule("user.created", MAIL | {"subject": "Hello {{ user.name }}, yes"}))
    answer = await relay(
        "POST", PATH, {"event": "user.created", "data": {"user": {"email": "a@x.example", "name": name}}}
    )
    assert (answer.status, answer.json["messages"]) == (202, [])
    assert [one["loc"] for one in answer.json["failed"]] == [["actions", 0, "data", "subject"]]


async def test_H6_as_many_places_as_somebody_would_read(relay):
    answer = await relay("POST", PATH, {"event": "x", "data": {"a": ["\ud800"] * 1000}})
    assert answer.status == 422
    assert len(answer.json["errors"]) == 20


@pytest.mark.parametrize("depth", [DEEPEST + 1, 150, 5_000, 100_000])
@pytest.mark.parametrize("shape", ["[]", "{}"])
async def test_H6_deep_data_are_refused(relay, depth, shape):
    opening, closing = ("[", "]") if shape == "[]" else ('{"a":', "}")
    inner = opening * depth + "1" + closing * depth
    answer = await relay("POST", PATH, f'{{"event":"x","data":{{"a":{inner}}}}}'.encode())
    assert answer.status in (400, 422)


async def test_H6_a_large_body_is_judged_while_others_are_served(relay):
    body = b'{"event":"x","data":{"a":[' + b",".join([b"[1]"] * 200_000) + b"]}}"
    telling = asyncio.create_task(relay("POST", PATH, body))
    turns = 0
    while not telling.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert (await telling).status == 202 and turns > 10


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ({"a": [{}, [], {"b": [1, "\ud800"]}]}, ["a", 2, "b", 1]),
        ({"a": {"b": {"c": 1}}, "z": "\ud800"}, ["z"]),
        ({"a": {"b": {"\ud800": {}}, "c": 1}}, ["a", "b"]),
        ({"a": [[[[1]], 1 << 64]]}, ["a", 0, 1]),
    ],
)
async def test_H6_the_place_in_the_data_is_named(relay, data, place):
    answer = await relay("POST", PATH, {"event": "x", "data": data})
    assert (answer.status, [one["loc"] for one in answer.json["errors"]]) == (422, [["body", "data", *place]])


async def test_data_may_be_as_deep_as_it_says(relay):
    inner = "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1)
    assert (await relay("POST", PATH, f'{{"event":"x","data":{{"a":{inner}}}}}'.encode())).status == 202


@pytest.mark.parametrize("raw", [b"", b"{", b"null", b"[]", b'{"event":"\xff"}', b'"' + b"x" * 1000])
async def test_H6_what_is_no_object(relay, raw):
    assert (await relay("POST", PATH, raw)).status in (400, 422)


async def test_H6_a_body_has_a_mebibyte(relay):
    answer = await relay("POST", PATH, json.dumps(EVENT | {"data": {"a": "x" * (1 << 20)}}).encode())
    assert answer.status == 413
    assert (await relay("POST", PATH, EVENT | {"data": {"a": "x" * 1_000_000}})).status == 202


async def test_another_media_type_is_415(relay):
    assert (await relay("POST", PATH, b"event: x", **{"content-type": "application/yaml"})).status == 415


async def test_503_when_the_sandbox_has_no_time(relay):
    relay.renderer.overloaded = True
    answer = await relay("POST", PATH, EVENT, **KEY)
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    relay.renderer.overloaded = False
    assert (await relay("POST", PATH, EVENT, **KEY)).status == 202


async def test_422_for_more_mail_than_an_event_may_cause(relay):
    known(relay, **{f"r{number}": rule("user.created", *[MAIL] * 50) for number in range(20)})
    answer = await relay("POST", PATH, EVENT)
    assert (answer.status, places(answer)) == (422, [["data"]])
    assert "1000 at most" in answer.json["detail"]
    assert (relay.intake.submissions, relay.intake.happened) == ([], [])
    assert relay.intake.discarded == 0


@pytest.mark.parametrize(("reply", "status"), [(BUSY, 429), (FULL, 429), (BROKEN, 503), (CLAIMED, 409)])
async def test_what_the_spool_does_not_take_leaves_nothing(relay, reply, status):
    relay.intake.refusal = reply
    answer = await relay("POST", PATH, EVENT)
    assert answer.status == status
    assert int(answer.headers["retry-after"]) > 0
    assert (relay.intake.submissions, relay.intake.happened, relay.intake.discarded) == ([], [], 1)
    assert not [event for event in relay.events if isinstance(event, EventTold)]


async def test_what_the_spool_cannot_begin_leaves_nothing_and_frees_its_key(relay):
    relay.intake.error = ValueError("not to be written")
    with pytest.raises(ValueError, match="not to be written"):
        await relay("POST", PATH, EVENT, **KEY)
    assert (relay.intake.submissions, relay.intake.discarded) == ([], 1)
    relay.intake.error = None
    assert (await relay("POST", PATH, EVENT, **KEY)).status == 202


async def test_a_full_spool_is_told_before_the_body_is_read(relay):
    relay.intake.admission = FULL
    answer = await relay("POST", PATH, b"{")
    assert (answer.status, answer.headers["retry-after"]) == (503, "10")


# What happened.


async def told(relay: Relay, *names: str) -> list[str]:
    return [(await relay("POST", PATH, {"event": name, "data": ANN})).json["id"] for name in names]


async def test_events_are_listed_newest_first(relay):
    ids = await told(relay, "a", "user.created", "a")
    relay.who = Caller(name="reader", key="token:1", scopes=frozenset({Scope.QUEUE}))
    page = (await relay("GET", f"{PATH}?limit=2")).json
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (ids[:0:-1], True)
    rest = (await relay("GET", f"{PATH}?limit=2&after={ids[1]}")).json
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (ids[:1], False)
    named = (await relay("GET", f"{PATH}?name=a")).json
    assert [one["id"] for one in named["data"]] == [ids[2], ids[0]]


async def test_one_says_what_it_caused_and_not_what_came_with_it(relay):
    (id,) = await told(relay, "user.created")
    answer = await relay("GET", f"{PATH}/{id}")
    assert answer.json == {
        "id": id,
        "kind": "event",
        "name": "user.created",
        "at": moment(NOW),
        "user": "loopback",
        "fired": [{"workflow": "welcome", "version": 1, "messages": [relay.only.message.id]}],
        "messages": [relay.only.message.id],
        "failed": [],
        "skipped": [],
    }
    assert b"ann@example.org" not in answer.body


@pytest.mark.parametrize("outcome", ["", "{", "[]", "5"])
async def test_G6_a_damaged_record_is_shown_as_far_as_it_goes(relay, outcome):
    (id,) = await told(relay, "user.created")
    relay.intake.happened[0] = replace(relay.intake.happened[0], outcome=outcome)
    assert (await relay("GET", f"{PATH}/{id}")).json["name"] == "user.created"
    assert (await relay("GET", PATH)).status == 200


async def test_404_for_one_that_there_is_not(relay):
    answer = await relay("GET", f"{PATH}/0000000000009")
    assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "after=" + "x" * 65, "more=1"])
async def test_422_for_what_no_list_has(relay, query):
    assert (await relay("GET", f"{PATH}?{query}")).status == 422
