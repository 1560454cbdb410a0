"""POST /smtp/send-email of seed c: three fields, three answers."""

from __future__ import annotations

import json

import pytest

from relay.api.callers import Caller
from relay.model import Scope
from relay.spool.limits import BROKEN, BUSY
from tests.unit.api.sent import Relay, parsed

PATH = "/smtp/send-email"
EMAIL = {"to": "recipient@example.com", "subject": "Email Subject", "message": "Email body text"}


@pytest.fixture(scope="module")
def made() -> Relay:
    return Relay()


@pytest.fixture
def relay(made: Relay) -> Relay:
    return made.fresh()


def refused(answer, status: int) -> str:
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert list(answer.json) == ["detail"]
    detail: str = answer.json["detail"]
    return detail


async def test_200_once_it_is_spooled(relay):
    answer = await relay("POST", PATH, EMAIL)
    assert (answer.status, answer.json) == (200, {"status": "Email sent successfully"})
    message = parsed(relay.only)
    assert (message["To"], message["Subject"]) == ("recipient@example.com", "Email Subject")
    assert message["From"] == "relay@relay.test"
    assert message.get_content() == "Email body text\n"


@pytest.mark.parametrize("name", ["to", "subject", "message"])
@pytest.mark.parametrize("value", [None, 5, ["x"], {}, True, "a\0", "\ud800"])
async def test_H1_400_for_a_field_that_is_wrong_names_it(relay, name, value):
    assert f"{name}: " in refused(await relay("POST", PATH, EMAIL | {name: value}), 400)
    assert relay.intake.submissions == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"to": "nobody"}, "to: the address has no domain"),
        ({"to": ""}, "to: is not one mailbox; write user@example.com"),
        ({"to": "a@x.example\r\nBcc: b@x.example"}, "to: has a line end"),
        ({"to": "a@x.example, b@x.example"}, "to: "),
        ({"subject": "a\r\nBcc: b@x.example"}, "subject: has a line end"),
        ({"subject": "=?utf-8?q?=0d=0aBcc:_b=40x.example?="}, "subject: has an encoded word"),
        ({"subject": "x" * 999}, "subject: "),
        ({"message": "x" * 1_100_000}, "message: "),
        ({"cc": "c@x.example"}, "cc: is no field"),
    ],
)
async def test_H1_400_says_cause_and_fix(relay, changed, words):
    assert words in refused(await relay("POST", PATH, EMAIL | changed), 400)
    assert relay.intake.submissions == []


@pytest.mark.parametrize("name", ["to", "subject", "message"])
async def test_400_for_what_is_missing(relay, name):
    email = {key: value for key, value in EMAIL.items() if key != name}
    assert f"{name}: is missing" in refused(await relay("POST", PATH, email), 400)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b"5", b'{"to":"\xff"}', b"[" * 5000 + b"]" * 5000, b" " * 7_000_000]
)
async def test_H6_400_for_what_is_no_object_or_too_large(relay, raw):
    assert refused(await relay("POST", PATH, raw), 400)


async def test_400_for_another_media_type(relay):
    answer = await relay("POST", PATH, json.dumps(EMAIL).encode(), **{"content-type": "text/plain"})
    assert "application/json" in refused(answer, 400)


async def test_H5_403_without_the_scope(relay):
    relay.who = Caller(name="reader", key="token:1", scopes=frozenset({Scope.QUEUE}))
    assert "scope send" in refused(await relay("POST", PATH, EMAIL), 403)


@pytest.mark.parametrize(("reply", "status", "seconds"), [(BUSY, 429, "1"), (BROKEN, 503, "10")])
async def test_what_the_spool_does_not_take_may_come_again(relay, reply, status, seconds):
    relay.intake.refusal = reply
    answer = await relay("POST", PATH, EMAIL)
    assert refused(answer, status)
    assert answer.headers["retry-after"] == seconds
