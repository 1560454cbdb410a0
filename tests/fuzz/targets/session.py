"""Any bytes, in any pieces: documented replies, nothing left behind, and only what CRLF.CRLF ended is stored.

Run by the fuzz driver and by the replay of the corpus. Hazards A1, A3 to A7, L3 to L7, B10.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field

from fuzz.alarms import Alarms
from fuzz.reading import Reading, pieces
from fuzz.sessions import OneClient

from relay.events import CommandRejected
from relay.listener.exchange import LONGEST_LINE
from relay.listener.replies import INTERNAL, REASONS
from relay.model import Reply
from relay.testing.fakes import FakeIntake

LONGEST = 1500
WORDS = (
    b"EHLO c\r\n", b"HELO c\r\n", b"MAIL FROM:<a@b>\r\n", b"MAIL FROM:<>", b"RCPT TO:<c@d>\r\n", b"DATA\r\n",
    b"RSET\r\n", b"NOOP\r\n", b"QUIT\r\n", b"VRFY x\r\n", b"STARTTLS\r\n", b"AUTH PLAIN ", b"AUTH LOGIN\r\n",
    b"Y3Jt\r\n",
    b"c2VjcmV0\r\n", b"AGNybQBzZWNyZXQ=\r\n", b"*\r\n", b" SIZE=100", b" BODY=8BITMIME", b" SMTPUTF8", b"\r\n.\r\n",
    b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\r\n.\r\n", b"\r\n..", b"\r\n", b".", b"\0", b"\x16\x03\x01",
    b"GET / HTTP/1.1\r\n", b"Received: x\r\n", b"\xc3\xa9", b"XCLIENT ADDR=x\r\n", b"\r\n\x85.\r\n",
)  # fmt: skip

CODES = frozenset(
    {214, 220, 221, 235, 250, 252, 334, 354}
    | {421, 451, 452, 454, 500, 501, 502, 503, 504, 530, 535, 550, 552, 553, 554, 555}
)
FULL = Reply(code=452, enhanced="4.3.1", text="full")
REPLY = re.compile(rb"(?:([2-5]\d\d)-[\x20-\x7e]*\r\n)*([2-5]\d\d) [\x20-\x7e]*\r\n")
LIMIT = 600
STEP = re.compile(rb"[^\r\n.]+|[\r\n.]")

loop = asyncio.new_event_loop()
alarms = Alarms(loop)


@dataclass
class Said:
    """What a session answered and stored. `bodies`: each with the addresses of its envelope."""

    replies: list[bytes] = field(default_factory=list)
    bodies: list[tuple[tuple[str, ...], bytes]] = field(default_factory=list)


def run(data: bytes) -> None:
    reading = Reading(data)
    options, cut, stream = reading.byte(), reading.byte(), reading.rest()
    slowly = loop.run_until_complete(step_by_step(options, stream))
    quickly = loop.run_until_complete(in_pieces(options, pieces(stream, cut), settled=bool(options & 128)))
    alarms.raise_first()
    if plain(stream):  # a bare LF, a NUL or an endless line is refused as soon as it is seen, which depends on the cut
        assert slowly == quickly, "it depends on how the bytes are cut"
    for addresses, body in quickly.bodies:
        assert body in decoded_anywhere(stream, options), "stored, but never ended by CRLF.CRLF"
        assert all(b"<" + address.encode() + b">" in stream for address in addresses)


def plain(stream: bytes) -> bool:
    bare = re.search(rb"(?<!\r)\n|\r(?!\n)|[\0\x16]", stream)
    return bare is None and len(stream) < LONGEST_LINE


def client(options: int) -> OneClient:
    intake = FakeIntake()
    intake.drain_every = 40 if options & 8 else 0
    intake.refusal = FULL if options & 48 == 16 else None
    intake.drain_error = OSError(28, "No space left on device") if options & 48 == 32 else None
    intake.finish_error = OSError(5, "Input/output error") if options & 48 == 48 else None
    return OneClient(
        loop, intake, line_endings="reject" if options & 1 else "normalize", max_message_size=LIMIT, max_recipients=3,
        auth=("none", "optional", "required", "any")[options >> 1 & 3],
    )  # fmt: skip


async def in_pieces(options: int, chunks: list[bytes], *, settled: bool) -> Said:
    one = client(options)
    for chunk in chunks:
        await one.send(chunk)
        if settled:
            await one.settle()
    return await ended(one)


async def step_by_step(options: int, stream: bytes) -> Said:
    """Every byte that can end a line by itself, so that a 354 tells where a message begins.

    From there on a simple reader knows what must happen.
    """
    one = client(options)
    content: bytearray | None = None
    stored = 0
    for step in STEP.findall(stream):
        if not one.open:
            break
        before = stored
        answer, stored = await one.step(step)
        if content is None:
            assert stored == before, "stored without an end"
            content = bytearray() if answer.startswith(b"354") else None
            continue
        content += step
        if step == b"\n" and (content.endswith(b"\r\n.\r\n") or content == b".\r\n"):
            judged(one, options, bytes(content[:-3]), answer, before)
            content = None
        else:
            assert not answer and stored == before, f"answered within a message: {answer!r}"
    return await ended(one)


def judged(one: OneClient, options: int, raw: bytes, answer: bytes, stored: int) -> None:
    """One message was ended: exactly one reply; 250 when and only when it is stored, as the reference reads it."""
    assert REPLY.fullmatch(answer) and answer.count(b"\r\n") == 1, answer
    new = one.intake.submissions[stored:]
    assert bool(new) == answer.startswith(b"250 2.0.0 Ok: queued as "), answer
    bare = re.search(rb"(?<!\r)\n|\r(?!\n)", raw) is not None
    wire = reference(raw)
    if new:
        (one_,) = new
        assert one_.body.data == wire and not (bare and options & 1)
        assert one_.message.size == len(one_.message.prefix) + len(wire)
    elif not options & 48:
        assert answer[:3] == (b"550" if bare and options & 1 else b"552") or answer.startswith(b"554 5.4.6"), answer


def reference(raw: bytes) -> bytes:
    """Wire form of what stood between 354 and the final dot, byte by byte (RFC 5321 4.5.2): slow and plain."""
    lines, line, begun, at = [], bytearray(), b"\r\n", 0
    while at < len(raw):
        two = raw[at : at + 2]
        end = two if two == b"\r\n" else two[:1] if two[:1] in (b"\r", b"\n") else b""
        if end:
            lines.append((begun, bytes(line)))
            line, begun, at = bytearray(), end, at + len(end)
        else:
            line.append(raw[at])
            at += 1
    if line or begun != b"\r\n":
        lines.append((begun, bytes(line)))
    wire = b""
    for before, text in lines:
        text = text[1:] if before == b"\r\n" and text.startswith(b".") else text
        wire += (b"." if text.startswith(b".") else b"") + text + b"\r\n"
    return wire


def decoded_anywhere(stream: bytes, options: int) -> set[bytes]:
    """The bodies of all messages that could begin behind a line of this stream."""
    found = set()
    for start in re.finditer(rb"\r\n", stream):
        at = start.end()
        end = (b"\r\n" + stream[at:]).find(b"\r\n.\r\n")
        if end >= 0:
            found.add(reference(stream[at : at + end]))
    return found


async def ended(one: OneClient) -> Said:
    """The client goes. Nothing stays, everything that was said is documented."""
    await one.hang_up()
    assert not one.tasks and not one.present and one.room.taken == 0, "something is left behind"
    written = bytes(one.transport.written)
    replies = [found[0] for found in REPLY.finditer(written)]
    assert b"".join(replies) == written, written
    assert all(int(found[:3]) in CODES for found in replies)
    assert INTERNAL.wire not in replies
    assert {event.reason for event in one.events if isinstance(event, CommandRejected)} <= REASONS
    return Said(replies, [(addresses(s.message.envelope), s.body.data or b"") for s in one.intake.submissions])


def addresses(envelope: object) -> tuple[str, ...]:
    return (envelope.sender, *(recipient.address for recipient in envelope.recipients))  # type: ignore[attr-defined]
