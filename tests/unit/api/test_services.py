"""POST /v1/services/smtp.send_email: the fields that rules have, the answer of POST /v1/messages."""

from __future__ import annotations

import pytest

from tests.unit.api.sent import Relay, parsed, places

PATH = "/v1/services/smtp.send_email"
EMAIL = {"to": "user@example.com", "subject": "Welcome to faneX-ID", "body": "Hello Ann, welcome to the platform!"}
KEY = {"idempotency-key": "k1"}


@pytest.fixture(scope="module")
def made() -> Relay:
    return Relay()


@pytest.fixture
def relay(made: Relay) -> Relay:
    return made.fresh()


async def test_202_once_it_is_spooled(relay):
    answer = await relay("POST", PATH, EMAIL)
    message = relay.only.message
    assert (answer.status, answer.json) == (
        202,
        {
            "id": message.id,
            "message_id": f"<{message.id}@relay.test>",
            "status": "queued",
            "recipients": [{"address": "user@example.com", "status": "queued"}],
        },
    )
    mail = parsed(relay.only)
    assert (mail["To"], mail["Subject"], mail["From"]) == ("user@example.com", EMAIL["subject"], "relay@relay.test")
    assert mail.get_content() == EMAIL["body"] + "\n"
    assert (message.source.kind, relay.intake.happened) == ("http", [])


async def test_everything_that_a_rule_may_say(relay):
    full = EMAIL | {
        "to": ["a@x.example", "Bob <b@x.example>"],
        "cc": "c@x.example",
        "bcc": ["d@x.example"],
        "from": "Shop <shop@example.com>",
        "reply_to": "help@example.com",
        "html": "<p>Hello</p>",
        "attachments": [{"filename": "a.txt", "content_type": "text/plain", "content": "AAEC"}],
    }
    assert (await relay("POST", PATH, full)).status == 202
    mail = parsed(relay.only)
    assert (mail["From"], mail["Cc"], mail["Reply-To"]) == (
        "Shop <shop@example.com>",
        "c@x.example",
        "help@example.com",
    )
    assert mail["Bcc"] is None
    assert [one.address[0] for one in relay.only.message.envelope.recipients] == ["a", "b", "c", "d"]
    assert [part.get_filename() for part in mail.iter_attachments()] == ["a.txt"]


async def test_identity(relay):
    assert (await relay("POST", PATH, EMAIL | {"identity": "invoices"})).status == 202
    assert parsed(relay.only)["From"] == "Billing <billing@example.com>"
    both = await relay("POST", PATH, EMAIL | {"identity": "invoices", "from": "a@x.example"})
    assert (both.status, places(both)) == (422, [["identity"]])


@pytest.mark.parametrize("name", ["to", "subject"])
async def test_422_for_what_is_missing(relay, name):
    answer = await relay("POST", PATH, {key: value for key, value in EMAIL.items() if key != name})
    assert (answer.status, places(answer)) == (422, [["body", name]])


async def test_422_without_a_text(relay):
    answer = await relay("POST", PATH, {"to": "a@x.example", "subject": "x"})
    assert (answer.status, answer.json["errors"]) == (422, [{"loc": ["body"], "msg": "needs body, or html, or both"}])
    assert (await relay("POST", PATH, {"to": "a@x.example", "subject": "x", "html": "<p>"})).status == 202


@pytest.mark.parametrize("name", ["to", "subject", "body", "cc", "bcc", "from", "reply_to", "identity", "html"])
@pytest.mark.parametrize("value", ["a\0@x.example", "\ud800"])
async def test_H1_control_characters_are_refused_where_they_stand(relay, name, value):
    answer = await relay("POST", PATH, EMAIL | {name: value})
    assert answer.status == 422
    assert [place[:2] for place in places(answer)] == [["body", name]]
    assert relay.intake.submissions == []


@pytest.mark.parametrize("name", ["to", "subject", "cc", "bcc", "from", "reply_to", "identity"])
async def test_H1_no_line_end_gets_into_a_header(relay, name):
    answer = await relay("POST", PATH, EMAIL | {name: "a@x.example\r\nBcc: eve@evil.example"})
    assert answer.status == 422


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"to": []}, ["body", "to"]),
        ({"to": "a@x.example, b@x.example"}, ["body", "to", 0]),
        ({"more": 1}, ["body", "more"]),
        ({"message": "text"}, ["body", "message"]),
        ({"attachments": [{"filename": "a", "content": "?"}]}, ["body", "attachments", 0, "content"]),
    ],
)
async def test_422_names_the_place(relay, changed, place):
    answer = await relay("POST", PATH, EMAIL | changed)
    assert (answer.status, places(answer)) == (422, [place])


async def test_H7_the_same_key_is_one_message(relay):
    first, again = await relay("POST", PATH, EMAIL, **KEY), await relay("POST", PATH, EMAIL, **KEY)
    assert (again.body, again.headers["idempotent-replayed"]) == (first.body, "true")
    assert len(relay.intake.submissions) == 1
    assert (await relay("POST", PATH, EMAIL | {"body": "other"}, **KEY)).status == 422


async def test_another_media_type_is_415(relay):
    assert (await relay("POST", PATH, b"to: x", **{"content-type": "application/yaml"})).status == 415


@pytest.mark.parametrize("name", ["smtp.send", "SMTP.send_email", "x" * 5000])
async def test_404_names_the_services_that_there_are(relay, name):
    answer = await relay("POST", f"/v1/services/{name}", EMAIL)
    assert answer.status == 404
    assert answer.json["detail"].endswith("there is: smtp.send_email")
