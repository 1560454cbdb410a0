"""Where a message and a command end: hazards A1, A3 to A6, D4, D6, D7, L5, L7."""

from __future__ import annotations

import asyncio
import itertools
import tracemalloc

import pytest

BEFORE = (b"\n", b"\r", b"\r\n", b"\r\r\n", b"\n\r", b"\r\n\0", b"\r\n\t", b"\r\n ", b"\r\n\v", b"\r\n\f", b"\r\n\x85")
BEFORE += ("\r\n\u2028".encode(),)
AFTER = (b"\n", b"\r", b"\r\n", b"\r\r\n", b"\0\r\n", b" \r\n", b"\t\r\n", b"\n\r")
# CR CR LF dot CR LF contains the legal end.
ENDS = [(b, a) for b, a in itertools.product(BEFORE, AFTER) if not ((b + b"." + a).find(b"\r\n.\r\n") >= 0)]
SMUGGLED = b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n"
PADDING = {"normal": b"", "oversize": b"x" * 70 + b"\r\n", "long line": b"y" * 3000}
LIMITS = {"normal": 10_000, "oversize": 60, "long line": 10_000}


def chunked(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1 << 16, 3])
@pytest.mark.parametrize("state", list(PADDING))
async def test_A1_only_crlf_dot_crlf_ends_data(serve, state, size):
    rig = await serve(max_message_size=LIMITS[state])
    client = await rig.client()
    for before, after in ENDS:
        await client.upto_data()
        text = b"Subject: x\r\n\r\n" + PADDING[state] + b"text" + before + b"." + after + SMUGGLED + b".\r\n"
        for chunk in chunked(text, size):
            client.send(chunk)
        client.send(b"NOOP\r\n")
        answer = await client.reply()
        assert answer.startswith("552 5.3.4" if state == "oversize" else "250 2.0.0 Ok: queued"), (before, after)
        assert await client.reply() == "250 2.0.0 Ok"
    for submission in rig.intake.submissions:
        assert submission.message.envelope.sender == "a@example.com"
        assert b"smuggled" in submission.body.data
    assert len(rig.intake.submissions) == (0 if state == "oversize" else len(ENDS))


@pytest.mark.parametrize("bare", [b"\n", b"\r"])
async def test_A3_bare_line_ends_become_crlf(serve, bare):
    rig = await serve()
    client = await rig.client()
    assert (await client.message(b"Subject: x\r\n\r\none" + bare + b"two\r\n")).startswith("250 ")
    assert rig.bodies() == [b"Subject: x\r\n\r\none\r\ntwo\r\n"]


@pytest.mark.parametrize("bare", [b"\n", b"\r"])
async def test_A3_bare_line_ends_are_refused_after_the_end(serve, bare):
    rig = await serve(line_endings="reject")
    client = await rig.client()
    assert (await client.message(b"one" + bare + b"two\r\n")).startswith("550 5.5.2")
    assert (await client.message(b"Subject: x\r\n\r\n")).startswith("250 ")
    assert len(rig.intake.submissions) == 1
    assert rig.intake.discarded == 1


@pytest.mark.parametrize("line", [b"NOOP a\nb", b"NOOP a\rb", b"NOOP a\0b", b"\0", b"NOOP\r", b"NOOP\nNOOP"])
async def test_A4_bare_line_ends_and_nul_in_commands(serve, line):
    rig = await serve()
    client = await rig.client()
    assert (await client.say(line)).startswith("500 5.5.2 ")
    assert (await client.say("NOOP")) == "250 2.0.0 Ok"


async def test_A4_never_two_commands_in_one_line(serve):
    rig = await serve()
    client = await rig.client()
    assert (await client.say(b"MAIL FROM:<a@example.com>\nRCPT TO:<b@example.com>")).startswith("500 ")
    assert (await client.say("RSET")) == "250 2.0.0 Ok"
    assert (await client.say("RCPT TO:<b@example.com>")).startswith("503 ")


async def test_L7_a_client_that_ends_lines_in_lf_is_told_at_once(serve):
    rig = await serve()
    client = await rig.connect()
    await client.reply()
    client.send(b"HELO me\n")
    assert await client.reply() == "500 5.5.2 Lines must end in CRLF"
    assert await client.say("HELO me") == "250 relay.test"


async def test_A4_A7_a_bare_lf_where_a_segment_ends_is_still_within_its_line(serve):
    rig = await serve(patience={"settle": 5.0})
    client = await rig.client()
    client.send(b"NOOP x\n")
    await rig.until(lambda: any(session.rest for session in rig.listener._sessions))
    client.send(b"NOOP y\r\nRSET\r\n")
    assert (await client.reply()).startswith("500 5.5.2 ")
    assert await client.say("QUIT") == "250 2.0.0 Ok"
    assert await client.rest() == b"221 2.0.0 Bye\r\n"


async def test_L7_lf_only_and_gone_is_told_too(serve):
    rig = await serve(patience={"settle": 5.0})
    client = await rig.connect()
    await client.reply()
    client.send(b"HELO me\nQUIT\n")
    client.writer.write_eof()
    assert await client.rest() == b"500 5.5.2 Lines must end in CRLF\r\n"


async def test_L7_a_flood_of_lf_is_told_once_and_takes_no_memory(serve):
    rig = await serve(patience={"settle": 0.02})
    client = await rig.connect()
    await client.reply()
    client.send(b"HELO me\n" * 20_000)
    assert await client.reply() == "500 5.5.2 Lines must end in CRLF"
    assert await client.say("HELO me") == "250 relay.test"


@pytest.mark.parametrize(
    "opening",
    [
        b"GET / HTTP/1.1\r\nHost: canary.example\r\n\r\n",
        b"POST /canary HTTP/1.1\r\nContent-Length: 5\r\n\r\nRCPT TO:<x@y>",
        b"\x16\x03\x01\x02\x00\x01\x00canary",
        b"\x16\x03\x01\x02\x00\x01\x00canary\r\nmore",
        b"\x16\x03\x01\n\r\r\nRSET\r\n",
        b"POST /" + b"canary" * 3000 + b" HTTP/1.1\r\nRSET\r\n",
        b"GET /\0canary\r HTTP/1.1\r\nRSET\r\n",
        b"GET / HTTP/1.0\n\n",
    ],
)
async def test_A5_other_protocols_are_shown_out(serve, opening):
    rig = await serve()
    client = await rig.connect()
    await client.reply()
    client.send(opening)
    said = await client.rest()
    assert said == b"554 5.5.1 This port speaks SMTP\r\n"
    assert rig.reasons() == ["protocol"]


async def test_A6_ehlo_in_the_middle(serve):
    rig = await serve()
    client = await rig.client()
    client.send(b"MAIL FROM:<a@example.com>\r\nEHLO again\r\nBOGUS\r\nMAIL FROM:<b@example.com>\r\n")
    assert [(await client.reply())[:9] for _ in range(4)] == ["250 2.1.0", "250-relay", "500 5.5.2", "250 2.1.0"]


async def test_overlong_command_lines_get_one_reply(serve):
    rig = await serve()
    client = await rig.client()
    for size in (12_289, 400_000):
        assert await client.say(b"NOOP " + b"x" * size) == "500 5.5.2 Line too long"
    assert await client.say("NOOP") == "250 2.0.0 Ok"


async def test_D4_L5_endless_data_without_crlf_takes_no_memory(serve):
    rig = await serve(max_message_size=1 << 20)
    client = await rig.client()
    await client.upto_data()
    piece = b"z" * (1 << 20)
    tracemalloc.start()
    for _ in range(32):
        client.send(piece)
        await client.writer.drain()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    client.send(b"\r\n.\r\n")
    assert (await client.reply()).startswith("552 5.3.4")
    assert peak < 8 << 20
    assert await client.say("NOOP") == "250 2.0.0 Ok"


async def test_D4_endless_command_takes_no_memory(serve):
    rig = await serve()
    client = await rig.client()
    tracemalloc.start()
    for _ in range(32):
        client.send(b"z" * (1 << 20))
        await client.writer.drain()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    assert await client.say(b"") == "500 5.5.2 Line too long"


@pytest.mark.parametrize(("more", "code"), [(-1, "250 2.0.0"), (0, "250 2.0.0"), (1, "552 5.3.4")])
async def test_D6_size_limit_counts_content(serve, more, code):
    rig = await serve(max_message_size=1000)
    client = await rig.client()
    content = b"..stuffed dots do not count\r\n"
    content += b"x" * (1000 + more + 1 - len(content) - 2) + b"\r\n"
    assert (await client.message(content)).startswith(code)


async def test_D6_a_size_that_lies(serve):
    rig = await serve(max_message_size=1000)
    client = await rig.client()
    client.send(b"MAIL FROM:<a@example.com> SIZE=10\r\nRCPT TO:<b@example.com>\r\nDATA\r\n")
    for _ in range(3):
        await client.reply()
    client.send(b"x" * 2000 + b"\r\n.\r\n")
    assert (await client.reply()).startswith("552 5.3.4")
    assert rig.intake.submissions == []


@pytest.mark.parametrize("length", [999, 2048, 64 << 10])
async def test_D7_long_lines_pass_unchanged(serve, length):
    rig = await serve()
    client = await rig.client()
    content = b"Subject: x\r\n\r\n" + b"l" * length + b"\r\n"
    assert (await client.message(content)).startswith("250 ")
    assert rig.bodies() == [content]


async def test_a_large_message_drains_and_comes_out_whole(serve):
    rig = await serve()
    rig.intake.drain_every = 64 << 10
    client = await rig.client()
    content = b"Subject: x\r\n\r\n" + b"".join(b"%07d line\r\n" % n for n in range(200_000))
    await client.upto_data()
    client.send(content + b".\r\nNOOP\r\nQUIT\r\n")
    assert (await client.reply()).startswith("250 2.0.0 Ok: queued")
    assert (await client.rest()) == b"250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n"
    assert rig.bodies() == [content]
    assert rig.intake.drained > 10


async def test_many_small_messages_in_one_write(serve):
    rig = await serve()
    client = await rig.client()
    one = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nSubject: x\r\n\r\n.\r\n"
    client.send(one * 300 + b"QUIT\r\n")
    said = await asyncio.wait_for(client.reader.read(-1), 20)
    assert said.count(b"queued as") == 300
    assert said.endswith(b"221 2.0.0 Bye\r\n")
