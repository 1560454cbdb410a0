"""Whatever an upstream says: one outcome for each recipient, and taken is what it took, by a reply in its place.

Run by the fuzz driver and by the replay of the corpus. Hazards F1 to F3, F6, E5. `\\x1e` in the input ends a
connection, `\\x1f` lets the relay act before more is said.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from fuzz.alarms import Alarms
from fuzz.reading import Reading, pieces
from fuzz.targets.replies import reference as read_replies

from relay.model import DeliveryOutcome, Fault, Limits, Phase, Provider, Reply, Shipment, Verdict
from relay.smtp.data import unstuff
from relay.smtp.offer import Offer
from relay.testing.mail import shipment_to
from relay.upstream.causes import Failure
from relay.upstream.connect import Connected
from relay.upstream.content import Content
from relay.upstream.conversation import Job
from relay.upstream.pool import Pool

LONGEST = 600
WORDS = (
    b"250 2.0.0 Ok\r\n", b"354 go\r\n", b"421 4.3.2 bye\r\n", b"450 4.2.1 later\r\n", b"550 5.1.1 no\r\n",
    b"452 4.5.3 too many\r\n", b"250-a\r\n250 b\r\n", b"220 x\r\n", b"334 \r\n", b"250\n", b"\x1e", b"\x1f", b"25",
    b"250 2.1.0 a\r\n250 2.1.5 b\r\n354 c\r\n\x1f250 2.0.0 d\r\n", b"250 2.1.0 a\r\n", b"250 2.1.5 b\r\n",
    b"250 2.1.0 a\r\n250 2.1.5 b\r\n250 2.0.0 c\r\n250 2.0.0 d\r\n",
    b"250 a\r\n250 b\r\n354 c\r\n", b"\x1f250 d\r\n", b"503 5.5.1 sequence\r\n", b"554 5.5.1 no valid recipients\r\n",
)  # fmt: skip

CONNECTIONS = 4
REFUSED = Failure(phase=Phase.CONNECT, reply=Reply(code=0, text="no more connections"))
BODIES = (b"", b".dot\r\n", b"..\r\nx\r\n", b"x" * 70_000 + b"\r\n")
SMALL = (*BODIES[:3], b"x\r\n...\r\n")  # what goes by BDAT
FITS = {"MAIL": "245", "RCPT": "245", "DATA": "345", "DOT": "245", "VOID": "2345", "RSET": "2"}
FITS |= {"CHUNK": "245", "LAST": "245"}

loop = asyncio.new_event_loop()
alarms = Alarms(loop)


@dataclass
class Wire(asyncio.Transport):
    """One connection as the upstream sees it. `log`: (True, what the relay wrote) and (False, what it was told)."""

    log: list[tuple[bool, bytes]] = field(default_factory=list)
    closed: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.closed:
            self.log.append((True, bytes(data)))

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Everything is taken at once."""

    def say(self, data: bytes) -> None:
        if not self.closed:
            self.log.append((False, data))
            self.protocol.data_received(data)  # type: ignore[attr-defined]


def run(data: bytes) -> None:
    reading = Reading(data)
    options, cut, stream = reading.byte(), reading.byte(), reading.rest()
    chunking, cut = cut >= 128, cut & 127
    many = 1 + (options >> 2 & 3) % 3 + 4 * chunking
    shipments = [shipment(n, 1 + (options >> n & 1), bool(options & 64)) for n in range(many)]
    bodies = SMALL if chunking else BODIES
    contents = [content(n, bodies[(options >> 4) + n & 3], one) for n, one in enumerate(shipments)]
    offer = Offer(pipelining=bool(options & 128), chunking=chunking)
    wires, outcomes = loop.run_until_complete(talk(stream, cut, offer, shipments, contents))
    alarms.raise_first()
    judge = Judge([b"".join(each.parts) for each in contents])
    for wire in wires:
        judge.hear(wire)
    for n, (one, found) in enumerate(zip(shipments, outcomes, strict=True)):
        assert [outcome.recipient for outcome in found] == list(one.recipients), "not one outcome for each recipient"
        judged(judge, n, found)


def judged(judge: Judge, n: int, found: tuple[DeliveryOutcome, ...]) -> None:
    for outcome in found:
        key = (n, outcome.recipient.address)
        assert outcome.reply.text.isprintable()
        if n in judge.chunked:
            # What tells more than a code may be disbelieved, but no copy is forgotten, and none is made up.
            known = {Verdict.ACCEPTED: key in judge.taken, Verdict.REJECTED: key not in judge.taken | judge.unknown}
            assert outcome.fault is Fault.UNCERTAIN or known.get(outcome.verdict, key not in judge.taken), outcome
            assert outcome.fault is Fault.UNCERTAIN or key not in judge.unknown, outcome
            continue
        assert (outcome.verdict is Verdict.ACCEPTED) == (key in judge.taken), f"{key}: {outcome}"
        assert (outcome.fault is Fault.UNCERTAIN) == (key in judge.unknown), f"{key}: {outcome}"


def shipment(n: int, many: int, eight_bit: bool) -> Shipment:
    recipients = [f"{n}{letter}@b.example" for letter in "abc"[:many]]
    provider = Provider(name="p", host="p.example", port=25, limits=Limits(connections=1))
    return shipment_to(provider, *recipients, sender=f"{n}@a.example", prefix=b"X-Number: %d\r\n" % n)


def content(n: int, body: bytes, one: Shipment) -> Content:
    prefix = one.message.prefix
    return Content((prefix, body), len(prefix) + len(body))


async def talk(
    stream: bytes, cut: int, offer: Offer, shipments: list[Shipment], contents: list[Content]
) -> tuple[list[Wire], list[tuple[DeliveryOutcome, ...]]]:
    scripts = stream.split(b"\x1e")[:CONNECTIONS]
    wires: list[Wire] = []

    async def connector(provider: Provider) -> Connected | Failure:
        if len(wires) == len(scripts):
            return REFUSED
        wires.append(Wire())
        return Connected(transport=wires[-1], offer=offer)

    pool = Pool(shipments[0].provider, connector, idle_seconds=30.0)
    jobs = [Job(one, each, loop.create_future()) for one, each in zip(shipments, contents, strict=True)]
    for job in jobs:
        pool.submit(job)
    for n, script in enumerate(scripts):
        await turns()
        if len(wires) > n:
            await play(wires[n], script, cut)
    await turns()
    outcomes = [job.future.result() for job in jobs]  # nothing may wait any more: every connection has ended
    assert pool.connections == 0
    await pool.close()
    assert len(asyncio.all_tasks(loop)) == 1, "a task is left"
    return wires, outcomes


async def play(wire: Wire, script: bytes, cut: int) -> None:
    for act in script.split(b"\x1f"):
        await turns()
        for piece in pieces(act, cut):
            wire.say(piece)
    await turns()
    if not wire.closed:
        wire.protocol.eof_received()  # type: ignore[attr-defined]
    wire.protocol.connection_lost(None)


async def turns() -> None:
    """Let everything happen that can: the relay never waits for a clock here."""
    for _ in range(8):
        await asyncio.sleep(0)


class Judge:
    """Reads both sides of a connection in order and pairs replies with commands, knowing nothing of the relay's code.

    `taken`: (shipment, address) of which MAIL, RCPT, DATA and the dot were answered well, each in its place.
    `unknown`: those whose dot went out and was never answered. `chunked`: shipments that were sent by BDAT.
    """

    def __init__(self, contents: list[bytes]) -> None:
        self.taken: set[tuple[int, str]] = set()
        self.unknown: set[tuple[int, str]] = set()
        self.chunked: set[int] = set()
        self._contents = contents

    def hear(self, wire: Wire) -> None:
        self._asked: list[tuple[str, int, str]] = []
        self._said = b""
        self._replies = b""
        self._heard = 0
        self._dismissed = False
        self._refused: set[int] = set()
        self._shipment = -1
        self._good: dict[int, list[str]] = {}
        self._mail: set[int] = set()
        self._body = -1
        self._chunks: dict[int, bytes] = {}
        self._dead = False
        for ours, data in wire.log:
            if ours:
                assert not self._dead or data == b"QUIT\r\n", f"written after the end: {data[:60]!r}"
                self._commands(data)
            elif not self._dead:
                self._answers(data)
        assert self._body >= 0 or not self._said, f"half said: {self._said[:60]!r}"
        for verb, n, _ in self._asked:
            if verb == "DOT":
                self.unknown |= {(n, address) for address in self._good.get(n, [])}
            elif verb == "LAST" and not self._dismissed and n not in self._refused:
                unheard = {(n, address) for verb, m, address in self._asked if verb == "RCPT" and m == n}
                self.unknown |= unheard | {(n, address) for address in self._good.get(n, [])}

    def _commands(self, data: bytes) -> None:
        self._said += data
        while self._said:
            if self._body >= 0:
                whole = self._contents[self._body] + b".\r\n"
                if len(self._said) < len(whole):
                    assert whole.startswith(self._said), "something else than the message"
                    return
                assert self._said.startswith(whole), "something else than the message"
                self._asked.append(("DOT", self._body, ""))
                self._said, self._body = self._said[len(whole) :], -1
                continue
            line, end, self._said = self._said.partition(b"\r\n")
            assert end, f"half a line: {line!r}"
            if line.startswith(b"BDAT "):
                self._chunk(line.split())
            else:
                self._command(line.decode())

    def _chunk(self, words: list[bytes]) -> None:
        n, size = self._shipment, int(words[1])
        chunk, self._said = self._said[:size], self._said[size:]
        assert len(chunk) == size, "a chunk and its content are one write"
        self._chunks[n] = self._chunks.get(n, b"") + chunk
        self._asked.append(("LAST" if words[2:] else "CHUNK", n, ""))
        if words[2:]:
            self.chunked.add(n)
            assert self._chunks[n] == unstuff(self._contents[n]), "something else than the message"

    def _command(self, line: str) -> None:
        verb = line[:4]
        if verb == "MAIL":
            self._shipment = int(line.partition("<")[2][0])
            assert line == f"MAIL FROM:<{self._shipment}@a.example>"
        elif line == ".":
            verb = "VOID"
        else:
            assert verb == "RCPT" or line in ("DATA", "RSET", "QUIT"), line
        if verb != "QUIT":
            self._asked.append((verb, self._shipment, line.partition("<")[2].rstrip(">")))

    def _answers(self, data: bytes) -> None:
        self._replies += data
        found, broken = read_replies(self._replies)
        for code, _ in found[self._heard :]:
            self._heard += 1
            self._answer(code)
            if self._dead:
                return
        self._dead = broken

    def _answer(self, code: int) -> None:
        if not self._asked or self._body >= 0:
            self._dead = True  # nobody asked
            return
        verb, n, address = self._asked.pop(0)
        if code == 421 or str(code)[0] not in FITS[verb]:
            self._dead = True
            self._dismissed = code == 421
            if verb == "DOT" and code != 421:
                self._asked.insert(0, (verb, n, address))  # that was no answer to it
        elif verb == "MAIL" and code >= 400:
            self._refused.add(n)
        elif verb == "MAIL":
            self._mail.add(n)
            self._good[n] = []
        elif verb == "RCPT" and code < 300 and n in self._mail:
            self._good[n].append(address)
        elif verb == "DATA" and code < 400 and self._good.get(n):
            self._body = n
        elif verb in ("DOT", "LAST") and code < 300:
            self.taken |= {(n, address) for address in self._good.get(n, [])}
