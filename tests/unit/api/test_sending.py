"""POST /v1/messages: fields in, a message in the spool, or a refusal that says where."""

from __future__ import annotations

import asyncio
import base64
import errno
import json

import pytest

from relay.api.callers import Caller
from relay.events import MessageAccepted
from relay.model import Labels, Reply, Scope, Source
from relay.spool.limits import BROKEN, BUSY, FULL
from tests.desk import NOW
from tests.unit.api.sent import ORDER, Relay, content, parsed, places

FIELDS = ("from", "to", "cc", "bcc", "reply_to", "subject", "identity", "tags", "metadata", "headers", "send_at")
DAY = 86400.0


@pytest.fixture(scope="module")
def made() -> Relay:
    return Relay()


@pytest.fixture
def relay(made: Relay) -> Relay:
    return made.fresh()


async def test_a_mail_is_in_the_spool_and_its_id_is_the_answer(relay):
    answer = await relay.send(to=["Bob <bob@example.org>", "carol@example.org"])
    assert answer.status == 202
    assert answer.json == {
        "id": "0000000000001",
        "message_id": "<0000000000001@relay.test>",
        "status": "queued",
        "recipients": [
            {"address": "bob@example.org", "status": "queued"},
            {"address": "carol@example.org", "status": "queued"},
        ],
    }
    message = relay.only.message
    assert message.id == "0000000000001"
    assert message.envelope.sender == "ann@example.com"
    assert message.source == Source(kind="http", client="127.0.0.1", user="loopback")
    assert message.size == len(message.prefix) + relay.only.body.size
    assert (message.received_at, message.expires_at) == (NOW, NOW + 5 * DAY)
    assert (message.labels, relay.only.due_at, relay.intake.claims) == (None, 0.0, {})
    assert parsed(relay.only)["To"] == "Bob <bob@example.org>, carol@example.org"


async def test_one_event_for_a_mail_and_nothing_of_its_content(relay):
    await relay.send(subject="canary-7351")
    (event,) = relay.events
    assert isinstance(event, MessageAccepted)
    assert (event.sender, event.recipients, event.captured) == ("ann@example.com", ("bob@example.org",), False)
    assert event.source.kind == "http"
    assert "canary" not in repr(event)


async def test_without_a_provider_it_is_captured():
    relay = Relay(capture=True)
    answer = await relay.send()
    assert answer.json["status"] == answer.json["recipients"][0]["status"] == "captured"
    assert [event.captured for event in relay.events] == [True]


async def test_everything_that_can_be_said(relay):
    answer = await relay.send(
        cc=["c@example.org"],
        bcc=["secret@example.org"],
        reply_to="help@example.com",
        subject="Grüße",
        html="<p>Hello <img src=cid:logo></p>",
        attachments=[
            {
                "filename": "räume.csv",
                "content_type": "text/csv",
                "content": base64.encodebytes(b"a,b\n" * 50).decode(),
            },
            {"filename": "logo.png", "content_type": "image/png", "content": "iVBORw==", "content_id": "logo"},
        ],
        headers={"X-App": "crm"},
        tags=["a", "b", "a"],
        metadata={"order": "1042"},
    )
    assert [one["address"] for one in answer.json["recipients"]] == [
        "bob@example.org",
        "c@example.org",
        "secret@example.org",
    ]
    message = parsed(relay.only)
    assert (message["Subject"], message["Reply-To"], message["X-App"]) == ("Grüße", "help@example.com", "crm")
    assert [file.get_filename() for file in message.iter_attachments()] == ["räume.csv"]
    assert b"Content-ID: <logo>" in content(relay.only)
    assert relay.only.message.labels == Labels(tags=("a", "b"), metadata={"order": "1042"})


async def test_E7_bcc_from_the_api_is_not_on_the_wire(relay):
    await relay.send(bcc=["Secret <secret@example.org>"])
    assert "secret@example.org" in [one.address for one in relay.only.message.envelope.recipients]
    assert b"secret" not in content(relay.only).lower()
    assert b"bcc" not in content(relay.only).lower()


async def test_nulls_are_fields_left_out(relay):
    nothing = dict.fromkeys(
        ["cc", "bcc", "reply_to", "html", "attachments", "headers", "identity", "tags", "metadata", "send_at"]
    )
    assert (await relay.send(**nothing)).status == 202


async def test_who_it_is_from_when_nobody_says(relay):
    order = {name: value for name, value in ORDER.items() if name != "from"}
    assert (await relay("POST", "/v1/messages", order)).status == 202
    assert (await relay("POST", "/v1/messages", order | {"identity": "invoices"})).status == 202
    first, second = map(parsed, relay.intake.submissions)
    assert first["From"] == "relay@relay.test"
    assert (second["From"], second["Reply-To"]) == ("Billing <billing@example.com>", "help@example.com")
    unknown = await relay("POST", "/v1/messages", order | {"identity": "nobody"})
    assert (unknown.status, places(unknown)) == (422, [["identity"]])
    assert "invoices" in unknown.json["detail"]


@pytest.mark.parametrize(
    ("send_at", "due", "status"),
    [
        ("2026-11-18T12:06:40Z", NOW + 3600, "scheduled"),
        ("2026-11-18T13:06:40.5+01:00", NOW + 3600.5, "scheduled"),
        ("2026-11-18T11:06:40Z", 0.0, "queued"),
        ("1970-01-01T00:00:00Z", 0.0, "queued"),
        ("2026-12-18T11:06:40Z", NOW + 30 * DAY, "scheduled"),
    ],
)
async def test_mail_for_later_waits_and_expires_as_much_later(relay, send_at, due, status):
    answer = await relay.send(send_at=send_at)
    assert (answer.status, answer.json["status"]) == (202, status)
    assert relay.only.due_at == due
    assert relay.only.message.expires_at == max(due, NOW) + 5 * DAY


@pytest.mark.parametrize(
    "send_at",
    ["2026-12-18T11:06:41Z", "2026-11-18T12:06:40", "tomorrow", "2026-11-18", 1795000000, "2026-13-18T11:06:40Z", ""],
)
async def test_times_that_are_none_or_too_far(relay, send_at):
    answer = await relay.send(send_at=send_at)
    assert answer.status == 422
    assert places(answer)[0][-1] == "send_at"


def holding(name: str, text: str):
    return {"tags": [text], "metadata": {"a": text}, "headers": {"X-A": text}}.get(name, text)


@pytest.mark.parametrize(
    "text", ["a\r\nBcc: e@x.example", "a\nb", "a\rb", "a\0b", "a\x1bb", "a\x85b", "a\u2028b", "\ud800"]
)
@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("escaped", [True, False])
async def test_H1_no_line_end_or_control_in_any_field(relay, name, text, escaped):
    body = json.dumps(ORDER | {name: holding(name, text)}, ensure_ascii=escaped)
    if not escaped:  # raw in the JSON, which allows none of them
        for char in "\r\n\0\x1b":
            body = body.replace(json.dumps(char)[1:-1], char)
    answer = await relay("POST", "/v1/messages", body.encode("utf-8", "surrogatepass"))
    assert answer.status == 422
    assert any(name in place for place in places(answer))
    assert relay.intake.submissions == []


@pytest.mark.parametrize("name", ["from", "to", "cc", "bcc", "reply_to"])
@pytest.mark.parametrize(
    "text",
    [
        "x@y.example\r\nBcc: e@x.example",
        "A\nBcc: e@x.example <a@b.example>",
        "=?utf-8?q?A=0d=0aBcc:=20e=40x.example?= <a@b.example>",
        "=?utf-8?q?a=40x.example?=@b.example",
        '"A\\\r\n" <a@b.example>',
        "A <a@b.example>\0",
    ],
)
async def test_H1_nothing_is_smuggled_in_names_and_addresses(relay, name, text):
    answer = await relay.send(**{name: text})
    assert answer.status == 422
    assert places(answer)[0][:2] == ["body", name]


@pytest.mark.parametrize("name", ["filename", "content_type", "content_id", "content", "disposition"])
@pytest.mark.parametrize("text", ["a\r\nX: y", "a\0", "\ud800", "=?utf-8?q?=0d=0a?="])
async def test_H1_nor_in_an_attachment(relay, name, text):
    file = {"filename": "a.txt", "content": "YQ==", "content_id": "a"}
    answer = await relay.send(attachments=[file, file | {name: text}])
    assert answer.status == 422
    assert places(answer)[0] == ["body", "attachments", 1, name]


@pytest.mark.parametrize("name", ["text", "html"])
async def test_H1_texts_may_have_tabs_and_line_ends_only(relay, name):
    assert (await relay.send(**{name: "a\tb\r\nc\nd\re"})).status == 202
    for text in ("a\0b", "a\x1bb", "a\x0cb", "\udfff"):
        answer = await relay.send(**{name: text})
        assert (answer.status, places(answer)) == (422, [["body", name]])


@pytest.mark.parametrize(
    "headers",
    [
        {"Bcc": "e@x.example"},
        {"RECEIVED": "x"},
        {"content-type": "text/html"},
        {"X-A\r\nBcc": "e@x.example"},
        {"X-A:": "x"},
        {"": "x"},
        {"\ud800": "x"},
        {"X-A": "1", "x-a": "2"},
        {"X-A": "=?utf-8?q?=0d=0aBcc:_e=40x.example?="},
        {"DKIM-Signature": "v=1"},
        ["X-A"],
    ],
)
async def test_H1_headers_of_ours_and_forged_ones_are_refused(relay, headers):
    answer = await relay.send(headers=headers)
    assert answer.status == 422
    assert all(place[:2] == ["body", "headers"] for place in places(answer))


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"to": []}, ["to"]),
        ({"to": ["bob@example.org", "nobody"]}, ["body", "to", 1]),
        ({"to": ["bob@example.org", 5]}, ["body", "to", 1]),
        ({"to": {"a": "b"}}, ["body", "to"]),
        ({"subjct": "typo"}, ["body", "subjct"]),
        ({"\ud800": "x"}, ["body"]),
        ({"text": None}, ["text"]),
        ({"subject": "x" * 999}, ["body", "subject"]),
        ({"subject": 5}, ["body", "subject"]),
        ({"tags": ["x"] * 11}, ["body", "tags"]),
        ({"tags": ["x" * 65]}, ["body", "tags", 0]),
        ({"metadata": {str(n): "" for n in range(21)}}, ["body", "metadata"]),
        ({"metadata": {"a": 5}}, ["body", "metadata", "a"]),
        ({"attachments": [{"filename": "a", "content": "YQ"}]}, ["body", "attachments", 0, "content"]),
        ({"attachments": [{"filename": "a", "content": "ä"}]}, ["body", "attachments", 0, "content"]),
        ({"attachments": [{"filename": "a"}]}, ["body", "attachments", 0, "content"]),
        ({"attachments": [{"filename": "../a", "content": ""}]}, ["body", "attachments", 0, "filename"]),
        ({"identity": "invoices"}, ["identity"]),
    ],
)
async def test_what_is_wrong_says_where(relay, changed, place):
    answer = await relay.send(**changed)
    assert answer.status == 422
    assert place in places(answer)
    assert relay.intake.submissions == []


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"nonsense", b"\xff\xfe", b"[" * 100_000, b'{"to":' * 100_000, b'{"to": 1' + b"0" * 5000 + b"}"],
)
async def test_H6_what_is_no_json_or_too_deep_is_refused(relay, raw):
    answer = await relay("POST", "/v1/messages", raw)
    assert answer.status in (400, 422)
    assert answer.json["detail"]


@pytest.mark.parametrize(
    "raw", [b"[]", b"null", b"5", b'"x"', b'{"to": NaN}', b'{"to": 1e999999}', b'{"to": [[[[]]]]}']
)
async def test_H6_json_of_another_shape(relay, raw):
    assert (await relay("POST", "/v1/messages", raw)).status == 422


async def test_H6_a_mail_that_is_too_large(relay):
    file = {"filename": "a", "content": base64.b64encode(b"x" * 30_000).decode()}
    assert (await relay.send(attachments=[file])).status == 202
    relay.limit(max_message_size=30_000)
    answer = await relay.send(attachments=[file])
    assert answer.status == 413
    assert "30000" in answer.json["detail"]
    over = await relay("POST", "/v1/messages", b" " * (30_000 * 4 // 3 + (1 << 20) + 1))
    assert over.status == 413


async def test_H6_a_body_of_millions_of_values_is_not_even_parsed(relay):
    assert (await relay("POST", "/v1/messages", b'{"tags":[' + b"[]," * 4_000_000 + b"1]}")).status == 413


async def test_too_many_recipients(relay):
    relay.limit(max_recipients=2)
    assert (await relay.send(to=["a@x.example", "b@x.example", "a@x.example"])).status == 202
    answer = await relay.send(to=["a@x.example", "b@x.example"], cc="c@x.example")
    assert (answer.status, places(answer)) == (422, [["to"]])


async def test_only_json_is_read(relay):
    answer = await relay("POST", "/v1/messages", b"x", **{"content-type": "text/plain"})
    assert (answer.status, answer.headers["content-type"]) == (415, "application/problem+json")


async def test_H5_without_the_scope_nobody_sends(relay):
    relay.who = Caller(name="reader", key="token:1", scopes=frozenset({Scope.QUEUE}))
    for answer in (await relay.send(), await relay.raw()):
        assert answer.status == 403
        assert "scope send" in answer.json["detail"]
    assert relay.intake.submissions == []


async def test_too_many_on_their_way_to_the_disk_is_429_and_a_second_later_fine(relay):
    relay.intake.refusal = BUSY
    answer = await relay.send()
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    assert relay.intake.discarded == 1
    assert relay.events == []


@pytest.mark.parametrize(("reply", "words"), [(FULL, "spool.max_size"), (BROKEN, "/readyz")])
@pytest.mark.parametrize("early", [True, False])
async def test_a_spool_that_takes_nothing_is_503_with_cause_and_fix(relay, reply, words, early):
    sizes: list[int] = []

    def admits(size: int) -> Reply | None:
        sizes.append(size)
        return reply if early or len(sizes) > 1 else None

    relay.intake.admits = admits
    relay.intake.refusal = reply
    answer = await relay.send()
    assert (answer.status, answer.headers["retry-after"]) == (503, "10")
    assert words in answer.json["detail"]
    assert relay.intake.discarded == (0 if early else 1)


@pytest.mark.parametrize(("error", "words"), [(errno.ENOSPC, "full"), (errno.EIO, "failed")])
async def test_G4_G5_a_disk_that_takes_no_large_body(relay, error, words):
    relay.intake.drain_every = 1000
    relay.intake.drain_error = OSError(error, "no")
    answer = await relay.send(text="line\n" * 1000)
    assert answer.status == 503
    assert words in answer.json["detail"]
    assert relay.intake.discarded == 1
    assert relay.intake.submissions == []


async def test_large_texts_are_encoded_beside_the_loop(relay):
    assert (await relay.send(text="Köln\n" * 20_000)).status == 202
    assert parsed(relay.only).get_content().split() == ["Köln"] * 20_000


async def test_a_caller_who_goes_away_meanwhile_breaks_nothing(relay):
    relay.intake.gate = asyncio.Event()
    request = asyncio.create_task(relay.send())
    await relay.intake.entered.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    relay.intake.gate.set()
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
    assert relay.only.message.id == "0000000000001"
    assert relay.intake.discarded == 0
