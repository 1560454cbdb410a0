"""From the final dot to the spool: hazards L4, E1, E6, full and broken storage, and what is handed over."""

from __future__ import annotations

import errno

import pytest

from relay.events import MessageAccepted
from relay.model import Reply, Source

from_test = b"Received: from client.example ([127.0.0.1])\r\n\tby relay.test with ESMTP id 0000000000001\r\n"
WHEN = b"Fri, 15 Jan 2027 08:00:00 +0000"
FULL = Reply(code=452, enhanced="4.3.1", text="Spool is full")


async def test_a_message_as_handed_over(serve):
    rig = await serve(give_up_after=100.0, wanted=frozenset({"x-app", "x-none"}))
    client = await rig.client()
    content = b"X-App: crm\r\nMessage-ID: <1@x>\r\nDate: today\r\n\r\n..dot\r\n"
    assert await client.message(content) == "250 2.0.0 Ok: queued as 0000000000001"
    submission = rig.intake.submissions[0]
    message = submission.message
    assert message.prefix == from_test + b"\tfor <b@example.com>;\r\n\t" + WHEN + b"\r\n"
    assert submission.body.data == content
    assert submission.headers == {"x-app": "crm"}
    assert message.size == len(message.prefix) + len(content)
    assert message.source == Source(kind="smtp", listener="test", client="127.0.0.1")
    assert (message.received_at, message.expires_at) == (1_800_000_000.0, 1_800_000_100.0)


async def test_the_event_of_an_accepted_message(serve):
    rig = await serve(capturing=lambda: True)
    client = await rig.client()
    await client.message(b"Subject: x\r\n\r\n")
    (event,) = [event for event in rig.events if isinstance(event, MessageAccepted)]
    assert (event.message, event.sender, event.recipients) == ("0000000000001", "a@example.com", ("b@example.com",))
    assert event.captured
    assert 0 <= event.seconds < 10
    assert event.size == rig.intake.submissions[0].message.size


async def test_the_banner_says_capture_mode(serve):
    rig = await serve(capturing=lambda: True)
    client = await rig.connect()
    assert "capture mode" in await client.reply()


@pytest.mark.parametrize(
    ("content", "added"),
    [
        (b"", b"Message-ID: <0000000000001@relay.test>\r\nDate: " + WHEN + b"\r\n"),
        (b"\r\nno headers\r\n", b"Message-ID: <0000000000001@relay.test>\r\nDate: " + WHEN + b"\r\n"),
        (b"just text\r\n", b"Message-ID: <0000000000001@relay.test>\r\nDate: " + WHEN + b"\r\n\r\n"),
        (b"message-id: <x@y>\r\nDATE: now\r\n\r\n", b""),
    ],
)
async def test_E6_odd_headers_are_delivered(serve, content, added):
    rig = await serve()
    client = await rig.client()
    assert (await client.message(content)).startswith("250 ")
    submission = rig.intake.submissions[0]
    assert submission.message.prefix.endswith(WHEN + b"\r\n" + added)
    assert submission.body.data == content


async def test_E6_equal_message_ids_are_two_messages(serve):
    rig = await serve()
    client = await rig.client()
    for _ in range(2):
        await client.message(b"Message-ID: <same@x>\r\n\r\n")
    assert len({one.message.id for one in rig.intake.submissions}) == 2


@pytest.mark.parametrize(("hops", "code"), [(49, "250 2.0.0"), (50, "554 5.4.6")])
async def test_E1_loops_are_cut(serve, hops, code):
    rig = await serve()
    client = await rig.client()
    assert (await client.message(b"Received: from x by y; now\r\n" * hops + b"\r\ntext\r\n")).startswith(code)
    assert rig.intake.discarded == (hops == 50)


async def test_a_full_spool_refuses_at_mail(serve):
    rig = await serve()
    rig.intake.admission = FULL
    client = await rig.client()
    assert await client.say("MAIL FROM:<a@example.com> SIZE=1234") == "452 4.3.1 Spool is full"
    assert rig.intake.asked == [1234]
    rig.intake.admission = None
    assert (await client.message(b"")).startswith("250")


async def test_what_accept_refuses_is_told(serve):
    rig = await serve()
    rig.intake.refusal = FULL
    client = await rig.client()
    assert await client.message(b"Subject: x\r\n\r\n") == "452 4.3.1 Spool is full"
    assert (rig.reasons(), rig.intake.discarded) == (["storage"], 1)
    rig.intake.refusal = None
    assert (await client.message(b"")).startswith("250")


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "452 4.3.1"), (errno.EDQUOT, "452 4.3.1"), (errno.EIO, "451 4.3.0")],
)
@pytest.mark.parametrize("where", ["drain_error", "finish_error"])
async def test_storage_that_fails_while_data_arrives(serve, where, number, code):
    rig = await serve()
    rig.intake.drain_every = 1000
    setattr(rig.intake, where, OSError(number, "canary"))
    client = await rig.client()
    answer = await client.message(b"Subject: x\r\n\r\n" + b"0123456789\r\n" * 100_000)
    assert answer.startswith(code)
    assert "canary" not in answer
    assert rig.intake.submissions == []
    assert rig.intake.discarded == 1
    assert await client.say("NOOP") == "250 2.0.0 Ok"


async def test_L4_an_exception_says_nothing(serve, caplog):
    rig = await serve()
    rig.intake.error = RuntimeError("canary\r\n250 forged")
    client = await rig.client()
    assert await client.message(b"Subject: x\r\n\r\n") == "451 4.3.0 Internal error, try again later"
    assert await client.say("NOOP") == "250 2.0.0 Ok"
    assert rig.reasons() == ["error"]
    assert "RuntimeError" in caplog.text
    assert "canary" not in caplog.text


async def test_L4_an_exception_in_the_middle_of_data_ends_the_session(serve, caplog):
    rig = await serve()
    rig.intake.feed_error = ValueError("canary")
    client = await rig.client()
    await client.upto_data()
    client.send(b"Subject: x\r\n\r\nMAIL FROM:<x@y>\r\n")
    assert await client.rest() == b"451 4.3.0 Internal error, try again later\r\n"
    assert "canary" not in caplog.text
    await rig.until(lambda: rig.intake.discarded == 1)
