"""D3, D5, D6, D7: what a listener's limits let through, and that it goes on afterwards. A real relay process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from matrix.client import connected, opened, until
from matrix.scribe import Scribe
from relay_process import Relay, provider
from waiting import free_port

MAKE = Callable[..., Relay]
CAP = 5


async def test_D3_one_connection_too_many_is_told_and_the_others_are_served(relay: MAKE) -> None:
    """Per client and in all; who was refused before is let in when another one has gone."""
    one = relay()
    doors = {name: free_port() for name in ("per client", "in all", "other")}
    one.config["listeners"] = [
        {"name": name.replace(" ", "-"), "listen": f"127.0.0.1:{port}"} for name, port in doors.items()
    ]
    one.config["listeners"][0]["max_connections_per_client"] = CAP
    one.config["listeners"][1]["max_connections"] = CAP
    one.start()
    for name, refusal in (("per client", b"421 4.7.0 "), ("in all", b"421 4.3.2 ")):
        async with AsyncExitStack() as stack:
            inside = [await stack.enter_async_context(connected(doors[name])) for _ in range(CAP)]
            for _ in range(20):
                async with opened(doors[name]) as client:
                    said = await client.rest()
                    assert said.startswith(refusal) and said.count(b"\r\n") == 1, (name, said)
            for client in inside:
                client.send(b"MAIL FROM:<a@d3.test>\r\nRCPT TO:<b@d3.test>\r\nDATA\r\n.\r\n")
                await client.expect(b"250", b"250", b"354", b"250")
            async with connected(doors["other"]) as client:
                await client.quit()
            await inside[0].quit()
            await until(lambda: one.metric("relay_smtp_connections") == CAP - 1, 10, "one has gone")
            async with connected(doors[name]) as client:
                await client.quit()
        await until(lambda: one.metric("relay_smtp_connections") == 0, 10, "all have gone")


async def test_D5_recipients_above_the_limit_wait_and_the_first_ones_get_theirs(relay: MAKE) -> None:
    async with Scribe() as upstream:
        one = relay(providers=[provider("p", upstream.port)])
        one.config["listeners"][0]["max_recipients"] = 10
        one.start()
        async with connected(one.smtp_port) as client:
            client.send(b"MAIL FROM:<a@d5.test>\r\n" + b"".join(b"RCPT TO:<r%d@d5.test>\r\n" % n for n in range(40)))
            client.send(b"RCPT TO:<r3@d5.test>\r\nDATA\r\nSubject: first\r\n\r\n.\r\n")
            await client.expect(b"250")
            answers = [await client.reply() for _ in range(40)]
            assert [answer[:9] for answer in answers] == [b"250 2.1.5"] * 10 + [b"452 4.5.3"] * 30
            await client.expect(b"250", b"354", b"250")  # said twice is said once
            client.send(b"MAIL FROM:<a@d5.test>\r\nRCPT TO:<r10@d5.test>\r\nDATA\r\n.\r\n")
            await client.expect(b"250", b"250", b"354", b"250")
            await client.quit()
        await until(lambda: len(upstream.taken) == 2, 10, "both messages")
        first, second = sorted(upstream.taken, key=lambda mail: -len(mail.rcpt))
        assert sorted(first.recipients) == sorted(b"r%d@d5.test" % n for n in range(10))
        assert second.recipients == (b"r10@d5.test",)


LIMIT = 100_000
HEAD = b"Subject: x\r\n\r\n"


def sized(size: int) -> bytes:
    """A content of so many octets, each line of which begins with a dot: stuffing does not count."""
    rest = size - len(HEAD)
    line = b"." + b"y" * 76 + b"\r\n"
    content = HEAD + (line * (rest // len(line) + 1))[: rest - 2] + b"\r\n"
    content = content[:-4] + b"zz\r\n"
    assert len(content) == size
    return content


async def test_D6_the_size_limit_counts_content_and_believes_no_declaration(relay: MAKE) -> None:
    rows = [
        (b"", LIMIT - 1, b"250"),
        (b"", LIMIT, b"250"),
        (b"", LIMIT + 1, b"552"),
        (b" SIZE=10", LIMIT, b"250"),
        (b" SIZE=10", LIMIT + 1, b"552"),
        (b" SIZE=%d" % LIMIT, 500, b"250"),
        (b" SIZE=0", 3 * LIMIT, b"552"),
    ]
    async with Scribe() as upstream:
        one = relay(providers=[provider("p", upstream.port)])
        one.config["listeners"][0]["max_message_size"] = LIMIT
        one.start()
        async with connected(one.smtp_port) as client:
            assert (await client.say(b"MAIL FROM:<a@d6.test> SIZE=%d" % (LIMIT + 1))).startswith(b"552 5.3.4 ")
            for number, (declared, size, code) in enumerate(rows):
                client.send(b"MAIL FROM:<a@d6.test>" + declared + b"\r\nRCPT TO:<r%d@d6.test>\r\nDATA\r\n" % number)
                await client.expect(b"250", b"250", b"354")
                client.send(sized(size).replace(b"\r\n.", b"\r\n..") + b".\r\n")
                assert (await client.reply())[:3] == code, (declared, size)
            await client.quit()
        expected = {b"r%d@d6.test" % n: size for n, (_, size, code) in enumerate(rows) if code == b"250"}
        await until(lambda: len(upstream.taken) == len(expected), 10, "those that fit")
        for mail in upstream.taken:
            content = (b"\r\n" + mail.wire).replace(b"\r\n.", b"\r\n")[2:]
            assert content.endswith(b"\r\n" + sized(expected[mail.recipients[0]])), mail.rcpt


async def test_D7_long_lines_pass_unchanged(relay: MAKE) -> None:
    lengths = (997, 998, 999, 1000, 2047, 2048, 12_288, 65_535, 65_536, 262_144, 1_000_000)
    async with Scribe(keep=1 << 22) as upstream:
        one = relay(providers=[provider("p", upstream.port)]).start()

        async def send(length: int) -> None:
            async with connected(one.smtp_port) as client:
                client.send(b"MAIL FROM:<a@d7.test>\r\nRCPT TO:<r%d@d7.test>\r\nDATA\r\n" % length)
                await client.expect(b"250", b"250", b"354")
                client.send(content(length) + b".\r\n")
                await client.expect(b"250")
                await client.quit()

        await asyncio.gather(*map(send, lengths))
        await until(lambda: len(upstream.taken) == len(lengths), 15, "all messages")
        for length in lengths:
            [mail] = upstream.to(b"r%d@d7.test" % length)
            assert mail.wire.endswith(content(length)), length


def content(length: int) -> bytes:
    """A long header field and two long lines, each of this length without its CRLF."""
    field = b"X-Long: ".ljust(length, b"h")
    return field + b"\r\n\r\n" + b"a" * length + b"\r\n" + b"b" * length + b"\r\n"
