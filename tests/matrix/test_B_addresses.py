"""B1 to B9 through the real process: what a client says in MAIL and RCPT, what it is told, and the bytes upstream.

An address that is taken leaves as the same bytes; one that is refused leaves nowhere. The parser's own tests are in
tests/unit/smtp.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from matrix.client import Client, connected, until
from matrix.scribe import Scribe
from relay_process import Relay, provider

MAKE = Callable[..., Relay]
LONGEST_DOMAIN = b".".join([b"d" * 63] * 4)
OK, NO, UTF8, SYNTAX = b"250 2.1.", b"553 5.1.", b"553 5.6.7 ", b"501 5.5.4 "

# hazard, path (between MAIL FROM: or RCPT TO: and the parameters), SMTPUTF8 in force, the reply
ROWS: list[tuple[str, bytes, bool, bytes]] = [
    ("B1", b"<=?utf-8?q?a=0d=0aRCPT_TO:=3Cx=40evil.example=3E?=@allowed.example>", False, NO),
    ("B1", b"<=?utf-8?q?x=40evil.example=3e=20?=@allowed.example>", False, NO),
    ("B1", b"<=?utf-8?b?eEBldmlsLmV4YW1wbGU+IA==?=@allowed.example>", False, NO),
    ("B1", b"<=?x?q?=41=42?=collab@allowed.example>", False, NO),
    ("B1", b'<"=?utf-8?q?x=40evil.example?="@allowed.example>', False, NO),
    ("B1", b"<a@=?utf-8?q?evil=2eexample?=>", False, NO),
    ("B1", b"<bounce-joe=facade.org@list.example>", False, OK),
    ("B1", b"<x=40evil.example=3e=20@allowed.example>", False, OK),
    ("B2", b"<@a,@b:c@d>", False, NO),
    ("B2", b"<@relay.test:user@example.com>", False, NO),
    ("B2", b"<@a@b>", False, NO),
    ("B3", b"<u%v@relay.test>", False, OK),
    ("B3", b"<evil.example!u@relay.test>", False, OK),
    ("B3", b'<"u@v"@relay.test>', False, OK),
    ("B3", b'<"a b\\"c\\\\"@x.example>', False, OK),
    ("B3", b"<v!u>", False, NO),
    ("B3", b"<a@b@c>", False, NO),
    ("B3", b'<"u"@v@w>', False, NO),
    ("B3", b'<"u@v">', False, NO),
    ("B3", b'<"a>b"@c.d>', False, SYNTAX),
    ("B4", b"<(comment)a@x>", False, NO),
    ("B4", b"<a@x(comment)>", False, NO),
    ("B4", b"<a\t@x>", False, NO),
    ("B4", b"<a b@x>", False, NO),
    ("B4", b"<a@x>,<b@y>", False, SYNTAX),
    ("B4", b"Name <a@x>", False, SYNTAX),
    ("B4", b"<a@x", False, SYNTAX),
    ("B4", b"<<a@x>>", False, SYNTAX),
    ("B4", b"a@x", False, SYNTAX),
    ("B4", b"<$(id)@x>", False, NO),
    ("B4", b"<`id`@x>", False, OK),
    ("B4", b"<$HOME@x>", False, OK),
    ("B4", b"<../../x@y>", False, OK),
    ("B4", b"</etc/passwd@x>", False, OK),
    ("B4", b"<|/bin/sh@x>", False, OK),
    ("B4", b"<-oQ@x>", False, OK),
    ("B4", b"<a@-oProxyCommand>", False, NO),
    ("B5", b"<" + b"l" * 256 + b"@example.com>", False, OK),
    ("B5", b"<" + b"l" * 257 + b"@example.com>", False, NO),
    ("B5", b"<u@" + LONGEST_DOMAIN + b">", False, OK),
    ("B5", b"<u@" + LONGEST_DOMAIN + b".d>", False, NO),
    ("B5", b"<" + b"l" * 256 + b"@" + LONGEST_DOMAIN + b">", False, OK),
    ("B5", b"<u@" + b"d" * 64 + b".example>", False, NO),
    ("B5", b"<" + "é".encode() * 128 + b"@x.example>", True, OK),
    ("B5", b"<" + "é".encode() * 129 + b"@x.example>", True, NO),
    ("B6", b"<u@[192.0.2.1]>", False, OK),
    ("B6", b"<u@[IPv6:2001:db8::1]>", False, OK),
    ("B6", b"<u@[192.0.2]>", False, NO),
    ("B6", b"<u@[2001:db8::1]>", False, NO),
    ("B6", b"<u@[IPv6:fe80::1%eth0]>", False, NO),
    ("B6", b"<u@xn--bcher-kva.example>", False, OK),
    ("B6", "<u@bücher.example>".encode(), True, OK),
    ("B6", "<u@bücher.example>".encode(), False, UTF8),
    ("B6", "<дом@пример.example>".encode(), True, OK),
    ("B6", "<a＠evil.example@allowed.example>".encode(), True, NO),
    ("B6", "<a＠evil.example>".encode(), True, NO),
    ("B6", "<a\u2024b@x>".encode(), True, NO),
    ("B6", "<u@evil\u2024example>".encode(), True, NO),
    ("B6", "<u@evil\u3002example>".encode(), True, NO),
    ("B6", "<u@e\u0301.example>".encode(), True, NO),
    ("B6", b"<\xff@x>", True, NO),
    ("B6", b"<a@\xc0\xae>", True, NO),
]


async def test_B1_B2_B3_B4_B5_B6_what_is_taken_leaves_byte_for_byte(relay: MAKE) -> None:
    """Each row as recipient and as sender, on a connection of its own."""
    async with Scribe() as upstream:
        one = relay(providers=[provider("p", upstream.port)])
        one.config["listeners"][0]["max_connections_per_client"] = 200
        one.start()

        async def ask(number: int, role: str, path: bytes, utf8: bool, reply: bytes) -> None:
            other = b"<r%d@rows.test>" % number
            sender, recipient = (path, other) if role == "sender" else (other, path)
            async with connected(one.smtp_port) as client:
                answer = await client.say(b"MAIL FROM:" + sender + b" SMTPUTF8" * utf8)
                if role == "recipient":
                    assert answer.startswith(b"250 ")
                    answer = await client.say(b"RCPT TO:" + path)
                elif answer.startswith(b"250 "):
                    assert (await client.say(b"RCPT TO:" + recipient)).startswith(b"250 ")
                expected = reply if reply != NO else NO + (b"7 " if role == "sender" else b"3 ")
                assert answer.startswith(expected), (role, path, answer)
                client.send(b"DATA\r\n")
                if answer.startswith(b"250"):
                    client.send(b"Subject: row\r\n\r\n.\r\n")
                    await client.expect(b"354", b"250")
                else:
                    await client.expect(b"503" if role == "sender" else b"554")
                await client.quit()

        await asyncio.gather(
            *(ask(number, role, *row) for number, (_, *row) in enumerate(ROWS) for role in ("sender", "recipient"))
        )
        taken = [(number, path) for number, (_, path, _, reply) in enumerate(ROWS) if reply == OK]
        await until(lambda: len(upstream.taken) == 2 * len(taken), 15, "two messages for each row that is taken")
        found = sorted((mail.mail.split(b" SIZE=")[0], *mail.rcpt) for mail in upstream.taken)
        expected = [(b"MAIL FROM:" + path, b"RCPT TO:<r%d@rows.test>" % number) for number, path in taken]
        expected += [(b"MAIL FROM:<r%d@rows.test>" % number, b"RCPT TO:" + path) for number, path in taken]
        assert found == sorted(expected)
        assert upstream.strays == []
        odd = [path for path in one.folder.rglob("*") if not path.name.isprintable() or "@" in path.name]
        assert odd == [], "an address is never a file name"


async def test_B7_the_null_sender_arrives_as_such(relay: MAKE) -> None:
    async with Scribe() as upstream:
        one = relay(providers=[provider("p", upstream.port)]).start()
        async with connected(one.smtp_port) as client:
            assert (await client.say(b"MAIL FROM:< >")).startswith(b"553 5.1.7 ")
            client.send(b"MAIL FROM:<>\r\nRCPT TO:<>\r\nRCPT TO:<b@b7.test>\r\nDATA\r\n.\r\n")
            await client.expect(b"250", b"553", b"250", b"354", b"250")
            await client.quit()
        await until(lambda: upstream.taken, 10, "it is delivered")
        assert upstream.taken[0].mail.startswith(b"MAIL FROM:<> ") or upstream.taken[0].mail == b"MAIL FROM:<>"
        [accepted] = one.events("message accepted")
        assert one.ask("queue", "show", accepted["message"])["from"] == ""


LIMIT = 50_000
B8 = {
    b"SIZE=-1": b"501",
    b"SIZE=": b"501",
    b"SIZE": b"501",
    b"SIZE=NaN": b"501",
    b"SIZE=1e3": b"501",
    b"SIZE=0x10": b"501",
    b"SIZE=1 SIZE=1": b"501",
    b"SIZE=10 size=10": b"501",
    b"SIZE=" + b"9" * 20: b"552",
    b"SIZE=" + b"9" * 21: b"501",
    b"SIZE=%d" % (LIMIT + 1): b"552",
    b"SIZE=%d" % LIMIT: b"250",
    b"SIZE=0": b"250",
    b"SIZE=00000000000000000010": b"250",
    b"BODY=": b"501",
    b"BODY=9BIT": b"501",
    b"BODY=7BIT BODY=8BITMIME": b"501",
    b"SMTPUTF8=yes": b"501",
    b"SMTPUTF8 SMTPUTF8": b"501",
    b"ENVID=a+0D+0ABcc:+20x@evil.test": b"501",
    b"ENVID=": b"501",
    b"RET=ALL": b"501",
    b"=1": b"501",
    b"XYZZY": b"555",
    b"XYZZY=1": b"555",
    b"NOTIFY=NEVER": b"555",
    b"": b"250",
}


async def test_B8_parameters_are_judged_one_by_one(relay: MAKE) -> None:
    one = relay()
    one.config["listeners"][0]["max_message_size"] = LIMIT
    one.start()

    async def ask(parameters: bytes) -> bytes:
        async with connected(one.smtp_port) as client:
            answer = await client.say(b"MAIL FROM:<a@b8.test> " + parameters)
            after = await client.say(b"RCPT TO:<b@b8.test>")
            assert after.startswith(b"250" if answer.startswith(b"250") else b"503")
            await client.quit()
            return answer[:3]

    answers = await asyncio.gather(*map(ask, B8))
    assert dict(zip(B8, answers, strict=True)) == B8


PROXY2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01\x7f\0\0\x01\xc0\0\0\x19"


async def test_B9_only_the_socket_says_who_a_client_is(relay: MAKE) -> None:
    """From 127.0.0.2 nothing but 554 is to be had, and an allowed client cannot make itself another."""
    async with Scribe() as upstream:
        one = relay(providers=[provider("p", upstream.port)])
        one.config["listeners"][0]["allow"] = ["127.0.0.1/32"]
        one.start()
        for opening in (
            b"EHLO client.test\r\n",
            b"XCLIENT ADDR=127.0.0.1\r\nEHLO client.test\r\n",
            b"PROXY TCP4 127.0.0.1 127.0.0.1 1 25\r\nEHLO client.test\r\n",
            PROXY2 + b"EHLO client.test\r\n",
        ):
            streams = await asyncio.open_connection("127.0.0.1", one.smtp_port, local_addr=("127.0.0.2", 0))
            stranger = Client(*streams)
            with contextlib.suppress(ConnectionError):
                stranger.send(opening + b"MAIL FROM:<a@b9.test>\r\nRCPT TO:<b@b9.test>\r\nDATA\r\n.\r\n")
            said = await stranger.rest()
            stranger.writer.close()
            assert said in (b"", b"554 5.7.1 Your address is not in this listener's allow list\r\n"), said
        async with connected(one.smtp_port) as client:
            for line in (b"XCLIENT ADDR=10.0.0.1", b"XFORWARD ADDR=10.0.0.1", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 25"):
                assert (await client.say(line)).startswith(b"554 5.7.1 "), line
            client.send(PROXY2 + b"\r\n")
            await client.expect(b"500", b"500", b"500", b"500")
            client.send(b"MAIL FROM:<a@b9.test>\r\nRCPT TO:<b@b9.test>\r\nDATA\r\n.\r\n")
            await client.expect(b"250", b"250", b"354", b"250")
            await client.quit()
        await until(lambda: upstream.taken, 10, "the allowed client's message")
        assert upstream.taken[0].wire.startswith(b"Received: from client.test ([127.0.0.1])")
        assert len(upstream.taken) == 1
