"""Taking a whole mail over HTTP as it is: bytes in, the same bytes out, but for line ends.

Called by the resource with the body as it arrives; beyond a few KiB it goes to a file, so memory does not grow with it.
It never alters a header: what may not be in one is refused, what is missing goes in front, as at SMTP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from msgspec import Struct

from relay.api.operations.idempotency import Digest, Use, replay
from relay.api.operations.sending import Sending, Taken, no_storage
from relay.api.problem import Refusal
from relay.compose.message import host_of
from relay.compose.senders import House, UnknownIdentity, applied, named, needs_utf8
from relay.model import Body, Envelope, Identity, Message, MessageId, Recipient, Source, Submission
from relay.ports import BodyWriter
from relay.posting import Asked, Given, Letter
from relay.smtp.data import Stuffer
from relay.smtp.headers import HEAD, HeadFacts, date_header, endless, message_id_header, received_line, scan

_MAX_HOPS = 50  # Received headers of a mail in a loop, as at the listeners (RFC 5321 6.3)
_SECRET = ("bcc", "resent-bcc")
_ASKED = frozenset({*_SECRET, "message-id"})


class To(Struct, frozen=True, kw_only=True):
    """The envelope. Either `sender` or `identity`; one that the mail itself names goes over `sender`, as at SMTP."""

    recipients: tuple[str, ...]
    sender: str = ""
    identity: str = ""


class _Arriving:
    """A mail on its way into a writer. `size`: octets so far, in CRLF form."""

    def __init__(self, writer: BodyWriter, most: int) -> None:
        self.stuffer = Stuffer()
        self.head = bytearray()
        self.writer = writer
        self._most = most
        self._whole = False

    async def feed(self, data: bytes) -> None:
        await self._put(self.stuffer.feed(data))

    async def _put(self, wire: bytes) -> None:
        if self.stuffer.size > self._most:
            raise Refusal(413, f"the message has more than the {self._most} bytes allowed; see max_message_size")
        if not self._whole:
            self._look(wire)
        if self.writer.feed(wire):
            await self.writer.drain()

    def _look(self, wire: bytes) -> None:
        """Add to the header section until its end."""
        head, seen = self.head, len(self.head)
        head += wire[: HEAD - seen]
        end = 0 if head.startswith(b"\r\n") else head.find(b"\r\n\r\n", max(seen - 3, 0))
        if end >= 0:
            del head[end + 4 :]
        self._whole = end >= 0 or len(head) >= HEAD

    async def finish(self) -> Body:
        await self._put(self.stuffer.finish())
        return await self.writer.finish()


async def send_raw(
    sending: Sending, mail: AsyncIterator[bytes], to: To, given: Given, asked: Asked, use: Use, digest: Digest
) -> Taken:
    """Raises Refusal: 413, 422, 429, 503."""
    claim = await sending.uses.find(use)
    post = sending.post
    house, now = post.house(), post.clock()
    if claim is not None:
        await _read(mail, digest, house.max_message_size)
        return Taken(answer=replay(claim, digest.text()), replayed=True)
    due_at = sending.due(given.send_at, now)
    _check(to, house)
    sending.admit(0)
    id = post.intake.new_id(now)
    writer = post.intake.writer(id)
    arriving = _Arriving(writer, house.max_message_size)
    body, facts, identity = await _taken(arriving, mail, digest, to, house)
    prefix = _prefix(facts, to, house, id, asked, now)
    message = Message(
        id=id,
        envelope=_envelope(to, identity, arriving.stuffer.eight_bit),
        prefix=prefix,
        size=len(prefix) + body.size,
        source=Source(kind="http", client=asked.client, user=asked.user),
        received_at=now,
        expires_at=max(now, due_at) + house.give_up_after,
        labels=given.labels,
        identity=applied(identity) if identity else None,
    )
    values = {name: value for name, value in facts.values.items() if name in house.wanted}
    submission = Submission(message=message, body=body, headers=values, due_at=due_at)
    message_id = facts.values.get("message-id") or f"<{id}@{house.hostname}>"
    letter = Letter(submission=submission, message_id=message_id, writer=writer)
    return await sending.send_letter(letter, asked, use, digest.text())


def _wrong(where: str, problem: str) -> Refusal:
    return Refusal(422, f"{where}: {problem}", [(where, problem)])


async def _read(mail: AsyncIterator[bytes], digest: Digest, most: int) -> None:
    """To the end, keeping nothing: it is the digest that tells whether the request is the same."""
    size = 0
    async for data in mail:
        digest.feed(data)
        size += len(data)
        if size > 2 * most:  # line ends may be longer than they will be
            raise Refusal(413, f"the message has more than the {most} bytes allowed; see max_message_size")


def _check(to: To, house: House) -> None:
    """What can be known before the mail arrives."""
    if bool(to.sender) is bool(to.identity):
        raise _wrong("from", "give either from, the sender in the envelope, or identity")
    if to.identity:
        _named(house, to.identity)
    if len(to.recipients) > house.max_recipients:
        raise _wrong("to", f"{len(to.recipients)} recipients; {house.max_recipients} are allowed, send several mails")


def _named(house: House, name: str) -> Identity:
    try:
        return named(house.identities, name)
    except UnknownIdentity as unknown:
        raise _wrong("identity", str(unknown)) from None


async def _taken(
    arriving: _Arriving, mail: AsyncIterator[bytes], digest: Digest, to: To, house: House
) -> tuple[Body, HeadFacts, Identity | None]:
    """The whole body, what its headers say, and whom it is sent as. Whatever goes wrong, nothing of it stays."""
    try:
        async for data in mail:
            digest.feed(data)
            await arriving.feed(data)
        body = await arriving.finish()
        if not body.size:
            raise _wrong("body", "is empty; send a whole mail, headers and text")
        facts = _judged(bytes(arriving.head), house)
        name = to.identity or facts.identity
        return body, facts, None if name is None else _named(house, name)
    except OSError as error:
        await arriving.writer.discard()
        raise no_storage(error) from None
    except BaseException:
        await arriving.writer.discard()
        raise


def _judged(head: bytes, house: House) -> HeadFacts:
    facts = scan(head, _ASKED | house.wanted)
    if endless(head):
        raise _wrong("body", f"the headers are longer than {HEAD} bytes; nobody could look for Bcc in them")
    if facts.received >= _MAX_HOPS:
        raise _wrong("body", f"{facts.received} Received headers: the mail goes round in a loop; break that")
    if not facts.values.keys().isdisjoint(_SECRET):
        fix = "remove the line and name secret recipients in the query, &to="
        raise _wrong("body", f"there is a header Bcc, which everybody would read; {fix}")
    return facts


def _envelope(to: To, identity: Identity | None, eight_bit: bool) -> Envelope:
    """Nothing was declared, so nothing is (hazard E3), but for addresses that cannot go without SMTPUTF8."""
    sender = identity.address if identity else to.sender
    utf8 = not "".join((sender, *to.recipients)).isascii() or (identity is not None and needs_utf8(identity))
    recipients = tuple([Recipient(address=address) for address in to.recipients])
    return Envelope(sender=sender, recipients=recipients, eight_bit=utf8 and eight_bit, utf8=utf8)


def _prefix(facts: HeadFacts, to: To, house: House, id: MessageId, asked: Asked, now: float) -> bytes:
    """As a submission service may (RFC 6409 8), and a blank line if there is no header at all."""
    prefix = received_line(
        helo=host_of(asked.client),
        client=asked.client,
        hostname=house.hostname,
        protocol="HTTP",
        id=id,
        recipient=to.recipients[0] if len(to.recipients) == 1 else "",
        now=now,
    )
    if not facts.has_message_id:
        prefix += message_id_header(id, house.hostname)
    if not facts.has_date:
        prefix += date_header(now)
    return prefix + b"\r\n" if facts.headerless else prefix
