"""E1, E3, E4 through the real process: loops, and what an upstream cannot carry. E2, E5, E6: tests/integration.

Bounces are read as the upstream got them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from matrix.client import connected, until
from matrix.scribe import OFFERS, Scribe, Taken
from relay_process import Relay, provider

MAKE = Callable[..., Relay]
HOP = b"Received: from a.test by b.test with ESMTP; Sat, 21 Nov 2026 10:00:00 +0000\r\n"
FOLDED = b"RECEIVED\t: from a.test\r\n\tby b.test\r\n"
TEXT = "Grüße".encode()


@pytest.mark.parametrize("hop", [HOP, FOLDED], ids=["plain", "odd"])
async def test_E1_fifty_hops_are_a_loop(relay: MAKE, hop: bytes) -> None:
    async with Scribe() as upstream:
        one = relay(providers=[provider("p", upstream.port)]).start()
        async with connected(one.smtp_port) as client:
            for hops, code in ((49, b"250 2.0.0"), (50, b"554 5.4.6"), (51, b"554 5.4.6"), (2000, b"554 5.4.6")):
                client.send(b"MAIL FROM:<a@e1.test>\r\nRCPT TO:<r%d@e1.test>\r\nDATA\r\n" % hops)
                await client.expect(b"250", b"250", b"354")
                client.send(hop * hops + b"Subject: x\r\n\r\n" + hop * 60 + b".\r\n")
                assert (await client.reply()).startswith(code), hops
            await client.quit()
        await until(lambda: upstream.taken, 10, "the one of 49")
        await until(lambda: one.metric("relay_queue_messages") == 0, 10, "nothing else waits")
        assert [mail.recipients for mail in upstream.taken] == [(b"r49@e1.test",)], "refused is not bounced, too"


def offering(*missing: str) -> Scribe:
    return Scribe(offers=tuple(word for word in OFFERS if word not in missing))


async def submit(one: Relay, mail: bytes, rcpt: bytes, content: bytes) -> None:
    async with connected(one.smtp_port) as client:
        client.send(b"MAIL FROM:" + mail + b"\r\nRCPT TO:" + rcpt + b"\r\nDATA\r\n")
        await client.expect(b"250", b"250", b"354")
        client.send(content + b".\r\n")
        await client.expect(b"250")
        await client.quit()


async def bounce(upstream: Scribe, status: bytes) -> Taken:
    """The only thing the upstream got: a bounce to the sender, with this status."""
    await until(lambda: upstream.taken, 15, "the bounce")
    [mail] = upstream.taken
    assert mail.mail.startswith(b"MAIL FROM:<>") and mail.recipients == (b"a@client.test",)
    assert b"\r\nStatus: " + status + b"\r\n" in mail.wire
    assert mail.wire.isascii() or "8BITMIME" in upstream.offers, "what says so can itself be carried"
    return mail


async def test_E3_declared_8bitmime_that_nobody_offers_bounces(relay: MAKE) -> None:
    async with offering("8BITMIME", "SMTPUTF8") as upstream:
        one = relay(providers=[provider("p", upstream.port)]).start()
        await submit(one, b"<a@client.test> BODY=8BITMIME", b"<b@e3.test>", b"Subject: x\r\n\r\n" + TEXT + b"\r\n")
        await bounce(upstream, b"5.6.3")


async def test_E3_undeclared_or_not_needed_it_goes_as_it_is(relay: MAKE) -> None:
    async with offering("8BITMIME", "SMTPUTF8") as upstream:
        one = relay(providers=[provider("p", upstream.port)]).start()
        contents = {
            b"<b@e3.test>": b"Subject: x\r\n\r\n" + TEXT + b"\r\n",
            b"<c@e3.test>": b"Subject: y\r\n\r\nascii\r\n",
        }
        await submit(one, b"<a@client.test>", b"<b@e3.test>", contents[b"<b@e3.test>"])
        await submit(one, b"<a@client.test> BODY=8BITMIME", b"<c@e3.test>", contents[b"<c@e3.test>"])
        await until(lambda: len(upstream.taken) == 2, 10, "both")
        for path, content in contents.items():
            [mail] = upstream.to(path[1:-1])
            assert mail.wire.endswith(content)
            assert b"BODY=" not in mail.mail


async def test_E3_another_provider_that_offers_it_gets_it(relay: MAKE) -> None:
    async with offering("8BITMIME", "SMTPUTF8") as plain, Scribe() as able:
        providers = [provider("plain", plain.port, priority=1), provider("able", able.port, priority=2)]
        one = relay(providers=providers).start()
        content = b"Subject: x\r\n\r\n" + TEXT + b"\r\n"
        await submit(one, b"<a@client.test> BODY=8BITMIME", b"<b@e3.test>", content)
        await submit(one, "<ä@client.test> SMTPUTF8".encode(), b"<c@e4.test>", content)
        await until(lambda: len(able.taken) == 2, 15, "both go to the one that can")
        assert plain.taken == []
        [eight_bit] = able.to(b"b@e3.test")
        assert b" BODY=8BITMIME" in eight_bit.mail and eight_bit.wire.endswith(content)
        [utf8] = able.to(b"c@e4.test")
        assert utf8.mail.startswith("MAIL FROM:<ä@client.test> ".encode()) and b" SMTPUTF8" in utf8.mail


@pytest.mark.parametrize(
    ("rcpt", "content"),
    [("<bö@e4.test>".encode(), b"Subject: x\r\n\r\n"), (b"<b@e4.test>", b"Subject: " + TEXT + b"\r\n\r\n")],
    ids=["recipient", "header"],
)
async def test_E4_smtputf8_that_is_needed_and_nobody_offers_bounces(relay: MAKE, rcpt: bytes, content: bytes) -> None:
    async with offering("SMTPUTF8") as upstream:
        one = relay(providers=[provider("p", upstream.port)]).start()
        await submit(one, b"<a@client.test> SMTPUTF8", rcpt, content)
        await bounce(upstream, b"5.6.7")


async def test_E4_declared_but_not_needed_it_goes(relay: MAKE) -> None:
    async with offering("SMTPUTF8") as upstream:
        one = relay(providers=[provider("p", upstream.port)]).start()
        await submit(
            one, b"<a@client.test> SMTPUTF8 BODY=8BITMIME", b"<b@e4.test>", b"Subject: x\r\n\r\n" + TEXT + b"\r\n"
        )
        await until(lambda: upstream.taken, 10, "it is delivered")
        [mail] = upstream.taken
        assert mail.recipients == (b"b@e4.test",) and b"SMTPUTF8" not in mail.mail and b" BODY=8BITMIME" in mail.mail
