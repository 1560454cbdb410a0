"""POST /v1/messages/raw: a whole mail in, the same bytes into the spool."""

from __future__ import annotations

import errno

import pytest

from relay.model import Identity, Labels, Rewrite
from relay.smtp.headers import HEAD
from tests.asgi import Client
from tests.desk import NOW
from tests.unit.api.sent import MAIL, RAW, Relay, content, places


@pytest.fixture(scope="module")
def made() -> Relay:
    return Relay()


@pytest.fixture
def relay(made: Relay) -> Relay:
    return made.fresh()


async def test_the_same_bytes_behind_our_trace_line(relay):
    answer = await relay.raw(target=RAW + "&to=carol@example.org&to=bob@example.org&tag=a")
    assert answer.status == 202
    assert answer.json == {
        "id": "0000000000001",
        "message_id": "<1@x>",
        "status": "queued",
        "recipients": [
            {"address": "bob@example.org", "status": "queued"},
            {"address": "carol@example.org", "status": "queued"},
        ],
    }
    message = relay.only.message
    assert relay.only.body.data == MAIL
    assert message.prefix.startswith(b"Received: from [127.0.0.1] ([127.0.0.1])\r\n\tby relay.test with HTTP id ")
    assert message.prefix.count(b"\r\n") == 3
    assert message.size == len(message.prefix) + len(MAIL)
    assert (message.envelope.sender, message.labels) == ("ann@example.com", Labels(tags=("a",)))
    assert (message.envelope.utf8, message.envelope.eight_bit, message.identity) == (False, False, None)
    assert len(relay.events) == 1


@pytest.mark.parametrize(
    ("mail", "wire"),
    [
        (b"A: b\n\nx\ny", b"A: b\r\n\r\nx\r\ny\r\n"),
        (b"A: b\r\n\r\n.\r\n..\r\n.x", b"A: b\r\n\r\n..\r\n...\r\n..x\r\n"),
        (b"A: b\r\n\r\nx\n.\ny\r.\rz", b"A: b\r\n\r\nx\r\n..\r\ny\r\n..\r\nz\r\n"),
        ("A: b\r\n\r\nKöln\r\n".encode(), "A: b\r\n\r\nKöln\r\n".encode()),
        (b"no header at all", b"no header at all\r\n"),
    ],
)
async def test_E5_line_ends_become_crlf_and_dots_are_stuffed(relay, mail, wire):
    assert (await relay.raw(mail)).status == 202
    assert relay.only.body.data == wire


async def test_E6_what_is_missing_goes_in_front(relay):
    await relay.raw(b"Subject: x\r\n\r\nHello.\r\n")
    await relay.raw(b"Just text.\r\n")
    first, second = relay.intake.submissions
    assert b"\r\nMessage-ID: <0000000000001@relay.test>\r\nDate: " in first.message.prefix
    assert second.message.prefix.endswith(b"+0000\r\n\r\n")
    answer = await relay.raw(b"Subject: x\r\n\r\n")
    assert answer.json["message_id"] == "<0000000000003@relay.test>"


@pytest.mark.parametrize("name", ["Bcc", "bcc ", "BCC", "Resent-Bcc"])
async def test_E7_a_header_bcc_is_refused_not_sent(relay, name):
    answer = await relay.raw(f"To: b@x.example\r\n{name}: secret@x.example\r\n\r\nHello.\r\n".encode())
    assert (answer.status, places(answer)) == (422, [["body"]])
    assert "&to=" in answer.json["detail"]
    assert (relay.intake.submissions, relay.intake.discarded) == ([], 1)


async def test_bcc_in_the_text_is_text(relay):
    assert (await relay.raw(b"To: b@x.example\r\n\r\nBcc: nobody\r\n")).status == 202


@pytest.mark.parametrize(
    "mail",
    [
        b"",
        b"Received: x\r\n" * 50 + b"\r\nloop\r\n",
        b"X-A: " + b"x" * HEAD + b"\r\nBcc: e@x.example\r\n\r\n",
    ],
)
async def test_mail_that_is_none_or_loops_or_hides_its_headers(relay, mail):
    answer = await relay.raw(mail)
    assert (answer.status, places(answer)) == (422, [["body"]])
    assert relay.intake.submissions == []


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("from=a@b.example", ["query", "to"]),
        ("from=a@b.example&to=", ["query", "to", 0]),
        ("from=a@b.example&to=b@x.example&to=nobody", ["query", "to", 1]),
        ("from=a@b.example&to=Bob%20<b@x.example>", ["query", "to", 0]),
        ("from=a@b.example&to=b@x.example%0d%0aDATA", ["query", "to", 0]),
        ("from=a@b.example&to=b@x.example%00", ["query", "to", 0]),
        ("from=a%0a@b.example&to=b@x.example", ["query", "from"]),
        ("to=b@x.example", ["from"]),
        ("from=a@b.example&identity=invoices&to=b@x.example", ["from"]),
        ("identity=nobody&to=b@x.example", ["identity"]),
        ("from=a@b.example&to=b@x.example&bcc=c@x.example", ["query", "bcc"]),
        ("from=a@b.example&to=b@x.example&send_at=tomorrow", ["query", "send_at"]),
        ("from=a@b.example&to=b@x.example&tag=a%0ab", ["query", "tag", 0]),
    ],
)
async def test_H1_the_envelope_is_judged(relay, query, place):
    answer = await relay.raw(target=f"/v1/messages/raw?{query}")
    assert (answer.status, places(answer)) == (422, [place])
    assert relay.intake.submissions == []


async def test_sent_as_an_identity_by_query_or_by_header(relay):
    wanted = Rewrite(header_from="Billing <billing@example.com>", reply_to="help@example.com")
    assert (await relay.raw(target="/v1/messages/raw?identity=invoices&to=b@x.example")).status == 202
    assert (await relay.raw(b"X-Relay-Identity: invoices\r\n" + MAIL)).status == 202
    for submission in relay.intake.submissions:
        assert submission.message.identity == wanted
        assert submission.message.envelope.sender == "billing@example.com"
    answer = await relay.raw(b"X-Relay-Identity: nobody\r\n" + MAIL)
    assert (answer.status, places(answer)) == (422, [["identity"]])


async def test_later(relay):
    answer = await relay.raw(target=RAW + "&send_at=2026-11-18T12:06:40Z")
    assert answer.json["status"] == "scheduled"
    assert (relay.only.due_at, relay.only.message.expires_at) == (NOW + 3600, NOW + 3600 + 5 * 86400)


async def test_addresses_beyond_ascii_need_smtputf8(relay):
    await relay.raw("A: b\r\n\r\nKöln\r\n".encode(), target="/v1/messages/raw?from=a@b.example&to=j%C3%B6rg@x.example")
    envelope = relay.only.message.envelope
    assert (envelope.recipients[0].address, envelope.utf8, envelope.eight_bit) == ("jörg@x.example", True, True)


async def test_E4_names_beyond_ascii_do_not(relay):
    relay.limit(identities={"named": Identity(address="a@b.example", name="Jörg", reply_to="Für Jörg <h@b.example>")})
    await relay.raw(target="/v1/messages/raw?identity=named&to=b@x.example")
    assert not relay.only.message.envelope.utf8


async def test_headers_that_routes_match_on(relay):
    relay.limit(wanted=frozenset({"x-app"}))
    await relay.raw(b"X-App: crm\r\n" + MAIL)
    assert relay.only.headers == {"x-app": "crm"}


async def test_H6_bounds(relay):
    relay.limit(max_message_size=len(MAIL), max_recipients=1)
    assert (await relay.raw()).status == 202
    for mail in (b"x" + MAIL, MAIL.replace(b"\r", b"") + b"\n"):
        answer = await relay.raw(mail)
        assert (answer.status, answer.headers["content-type"]) == (413, "application/problem+json")
    assert relay.intake.discarded == 2
    assert places(await relay.raw(target=RAW + "&to=c@x.example")) == [["to"]]


async def test_only_rfc822_is_read(relay):
    answer = await relay.raw(**{"content-type": "application/json"})
    assert answer.status == 415
    assert "/v1/messages" in answer.json["detail"]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_a_mail_in_pieces_is_never_held_whole(relay, size):
    relay.intake.drain_every = 10
    mail = b"A: b\r\n\r\n.x\r\n..\r\n" * 20
    pieces = [mail[at : at + size] for at in range(0, len(mail), size)]
    answer = await relay_in_pieces(relay, [*pieces, None])
    assert answer == 202
    assert content(relay.only).endswith(mail)
    assert relay.intake.drained > 10


async def test_a_client_that_goes_away_in_mid_mail_leaves_nothing(relay):
    assert await relay_in_pieces(relay, [b"A: b\r\n\r\nhalf"]) == 400
    assert (relay.intake.submissions, relay.intake.discarded) == ([], 1)


async def relay_in_pieces(relay: Relay, pieces: list[bytes | None]) -> int:
    """The status. None ends the body; without it the client is gone when the pieces are."""
    waiting = iter(pieces)
    statuses: list[int] = []

    async def app(scope, receive, send):
        async def piecewise():
            piece = next(waiting, b"gone")
            if piece == b"gone":
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

        await relay.app(scope, piecewise, send)

    answer = await Client(app, relay.who)("POST", RAW, b"", **{"content-type": "message/rfc822"})
    statuses.append(answer.status)
    return statuses[0]


@pytest.mark.parametrize(("error", "words"), [(errno.ENOSPC, "full"), (errno.EDQUOT, "full"), (errno.EIO, "failed")])
async def test_G4_G5_a_disk_that_takes_no_large_body(relay, error, words):
    relay.intake.drain_every = 10
    relay.intake.drain_error = OSError(error, "no")
    answer = await relay.raw()
    assert (answer.status, answer.headers["retry-after"]) == (503, "10")
    assert words in answer.json["detail"]
    assert (relay.intake.submissions, relay.intake.discarded) == ([], 1)
