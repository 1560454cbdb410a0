"""A1, A2, A3: what looks like the end of a message and is not, the full product, through a real relay process.

Each case is a message with a forged transaction inside. Clients on many connections, each with many cases; what the
relay answers and what the upstream gets, byte for byte, is what the strict reader of `reading` makes of it.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from matrix.client import Client, connected, until
from matrix.reading import END, read, stuffed
from matrix.scribe import Scribe, Taken
from relay_process import Relay, provider

BEFORE = [b"\n", b"\r", b"\r\n", b"\r\r\n", b"\n\r", b"\r\n\0", b"\r\n\t", b"\r\n ", b"\r\n\v", b"\r\n\f"]
BEFORE += [b"\r\n\x85", "\r\n\u2028".encode()]
AFTER = [b"\n", b"\r", b"\r\n", b"\r\r\n", b"\0\r\n", b" \r\n", b"\t\r\n", b"\n\r"]
TRICKS = [before + b"." + after for before, after in itertools.product(BEFORE, AFTER) if before + b"." + after != END]
PLACES = range(4)
CUTS = range(6)
STATES = ("normal", "oversize", "long")
ALL = 6840

PAYLOAD = b"MAIL FROM:<x@evil.test>\r\nRCPT TO:<y@evil.test>\r\nDATA\r\nSubject: forged\r\n\r\nforged\r\n"
FILLER = {"normal": b"", "oversize": (b"y" * 98 + b"\r\n") * 210, "long": b"z" * 15_000}
LIMIT = 20_000
CROWD = 40

# What the relay puts in front: its trace, what is missing in the header, and a blank line if there is no header.
PREFIX = re.compile(
    rb"Received: from client\.test [^\r\n]*\r\n(?:[\t ][^\r\n]*\r\n)+"
    rb"(?:Message-ID: <[^\r\n]*>\r\n)?(?:Date: [^\r\n]*\r\n)?(?:\r\n)?"
)


def test_A1_the_product_is_whole() -> None:
    assert len(TRICKS) * len(PLACES) * len(CUTS) * len(STATES) == ALL


class Case(NamedTuple):
    number: int
    trick: bytes
    place: int
    cut: int
    state: str

    @property
    def envelope(self) -> bytes:
        return b"MAIL FROM:<app@client.test>\r\nRCPT TO:<n%d@a1.test>\r\nDATA\r\n" % self.number

    @property
    def body(self) -> bytes:
        """The trick at the very start, in the header, in the text, or right before the true end (and once earlier)."""
        trick, filler = self.trick, FILLER[self.state]
        head = b"Subject: t\r\n\r\nhello " + filler
        return (
            trick + PAYLOAD + filler,
            b"Subject: t" + trick + PAYLOAD + b"\r\n\r\n" + filler,
            head + trick + PAYLOAD + b"tail",
            head + b"\r\nlast" + trick + PAYLOAD + b"\r\nlast" + trick,
        )[self.place] + END

    def pieces(self) -> list[bytes]:
        """`body` whole, or cut in and around the trick."""
        body, length = self.body, len(self.trick)
        at = body.rindex(self.trick, 0, len(body) - 1 if self.place == 3 else len(body))
        cuts = [
            [],
            [at + 1],
            [at + length - 1],
            [at, at + length],
            list(range(at, min(at + length + 2, len(body)))),
            [at + length // 2, at + length + 1],
        ][self.cut]
        return [body[a:b] for a, b in itertools.pairwise([0, *cuts, len(body)]) if a != b]


def cases(state: str) -> list[Case]:
    product = itertools.product(TRICKS, PLACES, CUTS)
    return [Case(number, trick, place, cut, state) for number, (trick, place, cut) in enumerate(product)]


async def tell(door: Path, mine: list[Case], bare: str) -> int:
    """One connection: case after case, every reply as expected; then QUIT, so no reply is left over."""
    async with connected(door) as client:
        for case in mine:
            try:
                await tell_one(client, case, bare)
            except (TimeoutError, ConnectionError) as error:
                raise AssertionError(f"{error!r} in {case}") from error
        await client.quit()
    return len(mine)


async def tell_one(client: Client, case: Case, bare: str) -> None:
    client.send(case.envelope)
    assert await client.codes(3) == [b"250", b"250", b"354"], ("out of step before", case)
    await client.send_apart(case.pieces())
    codes = read(case.envelope + case.body, LIMIT, bare).codes[3:]
    assert await client.codes(len(codes)) == codes, case


async def run(relay: Callable[..., Relay], state: str, bare: str) -> tuple[list[Case], list[Taken]]:
    """All cases of a state; every message the upstream took, and it heard nothing else."""
    everything = cases(state)
    expected = sum(len(read(case.envelope + case.body, LIMIT, bare).mails) for case in everything)
    async with Scribe() as upstream:
        one = relay(providers=[provider("p", upstream.port)])
        door = one.folder / "in.sock"
        one.config["listeners"] = [
            {"name": "in", "listen": f"unix:{door}", "max_message_size": LIMIT, "line_endings": bare}
        ]
        one.config["log"] = {"level": "warning"}
        one.start()
        told = await asyncio.gather(*(tell(door, everything[n::CROWD], bare) for n in range(CROWD)))
        assert sum(told) == len(everything) == ALL // len(STATES)
        await until(lambda: len(upstream.taken) >= expected, 30, f"{expected} messages upstream")
        await until(lambda: one.metric("relay_queue_messages") == 0, 10, "nothing else waits")
        assert upstream.strays == []
        assert len(upstream.taken) == expected
        return everything, upstream.taken


def check(everything: list[Case], taken: list[Taken], bare: str) -> None:
    """Each message whole, byte for byte behind our own header, and none but those."""
    found = {mail.recipients: mail for mail in taken if mail.sender == b"app@client.test"}
    others = [mail for mail in taken if mail.sender != b"app@client.test"]
    legal = list[tuple[bytes, tuple[bytes, ...], bytes]]()
    for case in everything:
        for sender, recipients, text in read(case.envelope + case.body, LIMIT, bare).mails:
            if sender != b"app@client.test":
                legal.append((sender, recipients, text))  # behind a true CRLF.CRLF: the client's own second message
                continue
            mail, wire = found.pop(recipients), stuffed(text)
            assert mail.wire.endswith(wire), case
            assert PREFIX.fullmatch(mail.wire.removesuffix(wire)), (case, mail.wire)
    assert found == {}
    assert all(b"\r\r\n." in case.trick for case in everything if len(read(case.envelope + case.body).mails) > 1)
    for sender, recipients, text in legal:
        wire = stuffed(text)
        fits = [m for m in others if PREFIX.fullmatch(m.wire.removesuffix(wire)) and m.wire.endswith(wire)]
        assert fits and (fits[0].sender, fits[0].recipients) == (sender, recipients), text
        others.remove(fits[0])
    assert others == []


def check_wire(taken: list[Taken]) -> None:
    """A2: as the upstream's socket gave it, no CR or LF alone, and a line begins with two dots or with none."""
    for mail in taken:
        wire = mail.wire
        assert wire.count(b"\r") == wire.count(b"\n") == wire.count(b"\r\n"), mail
        begins = Counter(line[:2] for line in wire.split(b"\r\n") if line.startswith(b"."))
        assert set(begins) <= {b".."}, mail


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("state", STATES)
async def test_A1_A2_nothing_but_the_end_ends_a_message(relay: Callable[..., Relay], state: str) -> None:
    """Slow: 2,280 messages, in the state `long` of 15 kB each."""
    everything, taken = await run(relay, state, "normalize")
    check(everything, taken, "normalize")
    check_wire(taken)


@pytest.mark.timeout(150)
async def test_A3_bare_line_ends_are_refused_after_the_true_end(relay: Callable[..., Relay]) -> None:
    """Those without a CR or LF alone pass."""
    everything, taken = await run(relay, "normal", "reject")
    assert len(taken) > 100
    check(everything, taken, "reject")
    check_wire(taken)
