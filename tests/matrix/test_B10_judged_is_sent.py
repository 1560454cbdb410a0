"""B10: the address that was judged is the bytes on the wire. No random path gets past policy as another address.

First parser, router and the upstream conversation without I/O, then the real process, where routes decide which of
two upstreams an address goes to.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from matrix.client import connected, until
from matrix.scribe import Scribe
from relay_process import Relay, provider

from relay.delivery.router import Router
from relay.model import Match, Provider, Recipient, Reply, Route, Source
from relay.smtp.address import parse_path
from relay.smtp.dialogue import Dialogue
from relay.smtp.offer import Offer
from relay.testing.mail import shipment_to

# Made of what other readers of addresses trip over, around two domains: one that policy knows, one that it does not.
SHARDS = [b"a", b"b.c", b"@", b"@", b"allowed.test", b"ALLOWED.test", b"evil.test", b"allowed.test.evil.test"]
SHARDS += [b"=?utf-8?q?", b"=40", b"=3e=20", b"?=", b'"', b"\\", b"<", b">", b" ", b"\t", b"\r", b"\n", b"\0", b"\x7f"]
SHARDS += [b"%", b"!", b":", b",", b";", b"(", b")", b"[", b"]", b"[192.0.2.1]", b".", b"..", b"-", b"_", b"xn--"]
SHARDS += [
    "＠".encode(),
    "․".encode(),
    "。".encode(),
    "é".encode(),
    "\u200b".encode(),
    "ı".encode(),
    b"\xff",
    b"\xc0\xae",
]
FRAMES = [
    b"%s@allowed.test",
    b"%s@evil.test",
    b'"%s"@allowed.test',
    b"@allowed.test:%s",
    b"%s",
    b"u@%s",
    b"u@allowed.test%s",
]

ROUTES = (Route(match=Match(recipient="*@allowed.test"), providers=("inside",)), Route(providers=("outside",)))
EVERYTHING = Offer(pipelining=True, eight_bit=True, utf8=True, dsn=True)

paths = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda frame, inner: frame.replace(b"%s", b"".join(inner)),
        st.sampled_from(FRAMES),
        st.lists(st.sampled_from(SHARDS), max_size=6),
    ),
)


def domain(wire: bytes) -> bytes:
    """Of the command line an upstream gets: everything behind the last @ in the brackets."""
    return wire[wire.index(b"<") + 1 : wire.index(b">")].rpartition(b"@")[2].lower()


@settings(deadline=None, max_examples=1500)
@given(paths, st.booleans())
def test_B10_what_the_parser_gave_and_the_router_judged_is_what_is_said(inner: bytes, utf8: bool) -> None:
    raw = b"<" + inner + b">"
    judged = parse_path(raw, utf8=utf8, null=False)
    if isinstance(judged, Reply):
        assert judged.code in (501, 553)
        return
    source = Source(kind="smtp", listener="in", client="127.0.0.1")
    [(path, recipients)] = Router(ROUTES).groups("a@x.test", (Recipient(address=judged.address),), source, {})
    talk = Dialogue(EVERYTHING, pipelining=True)
    talk.begin(shipment_to(Provider(name="p", host="h", port=25), *recipients, utf8=utf8), 5)
    mail, rcpt, data, rest = b"".join(talk.out).split(b"\r\n")
    assert (mail[:10], data, rest) == (b"MAIL FROM:", b"DATA", b"")
    assert rcpt == b"RCPT TO:" + raw
    assert not re.search(rb"[\x00-\x1f\x7f]", rcpt)
    assert path.providers == (("inside",) if domain(rcpt) == b"allowed.test" else ("outside",))


COUNT = 1500


async def test_B10_random_paths_through_the_real_process(relay: Callable[..., Relay]) -> None:
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
    chance = random.Random(seed)
    tries = [
        chance.choice(FRAMES).replace(b"%s", b"".join(chance.choices(SHARDS, k=chance.randrange(5))))
        for _ in range(COUNT)
    ]
    tries = [path for path in tries if b"\r\n" not in path]
    said = dict[bytes, bytes]()

    async def some(mine: list[tuple[int, bytes]]) -> None:
        """A dozen to a connection: more refusals would slow it down (D10)."""
        async with connected(door) as client:
            for number, path in mine:
                client.send(b"MAIL FROM:<n%d@b10.test> SMTPUTF8\r\nRCPT TO:<%s>\r\n" % (number, path))
                _, answer = await client.expect(b"250"), await client.reply()
                if answer.startswith(b"250 "):
                    client.send(b"DATA\r\n.\r\n")
                    await client.expect(b"354", b"250")
                    said[b"n%d@b10.test" % number] = path
                else:
                    assert answer[:3] in (b"500", b"501", b"553"), (seed, path, answer)
                    assert await client.say(b"RSET") == b"250 2.0.0 Ok\r\n", (seed, path)
            await client.quit()

    async with Scribe() as inside, Scribe() as outside:
        one = relay(
            providers=[provider("inside", inside.port), provider("outside", outside.port)],
            routes=[
                {"match": {"recipient": "*@allowed.test"}, "providers": ["inside"]},
                {"match": {}, "providers": ["outside"]},
            ],
        )
        door = one.folder / "in.sock"
        one.config["listeners"] = [{"name": "in", "listen": f"unix:{door}"}]
        one.start()
        numbered = list(enumerate(tries))
        await asyncio.gather(*(some(numbered[at : at + 12]) for at in range(0, len(numbered), 12)))
        await until(
            lambda: len(inside.taken) + len(outside.taken) >= len(said), 20, f"{len(said)} messages, seed {seed}"
        )
        assert len(said) > 100, seed
        assert min(len(inside.taken), len(outside.taken)) > 20, seed
        for mail in [*inside.taken, *outside.taken]:
            [rcpt] = mail.rcpt
            assert rcpt == b"RCPT TO:<" + said.pop(mail.sender) + b">", (seed, rcpt)
        assert said == {}, seed
        assert {domain(mail.rcpt[0]) for mail in inside.taken} == {b"allowed.test"}, seed
        assert b"allowed.test" not in {domain(mail.rcpt[0]) for mail in outside.taken}, seed
        assert inside.strays + outside.strays == [], seed
