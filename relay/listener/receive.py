"""One message after DATA: bytes to wire form, wire form to the spool, then the question whether it was kept.

`session` feeds it what arrives, at the end asks it to `judge` and to `keep`, and calls `kept` when that is so. It never
talks to the client and holds no more of the message than its header section.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Coroutine
from typing import Any, cast

from relay.compose.senders import UnknownIdentity, applied, named, needs_utf8
from relay.events import MessageAccepted
from relay.listener import replies
from relay.listener.replies import Refusal
from relay.listener.talk import Talk, Transaction
from relay.model import Body, Envelope, Identity, Message, Reply, Submission
from relay.smtp.data import DataDecoder, Policy
from relay.smtp.headers import (
    HEAD,
    HeadFacts,
    date_header,
    endless,
    message_id_header,
    protocol,
    received_line,
    scan,
)

MAX_HOPS = 50
"""Received headers a message may have: at so many it is in a loop (RFC 5321 6.3). Ours comes on top."""


class Receiver:
    """`done`: the end was seen, `rest` is what follows it. `taken`: bytes that arrived. `refusal`: what went wrong.

    After a refusal the end is still looked for, and nothing more is stored.
    """

    __slots__ = (
        "_decoder", "_facts", "_head", "_identity", "_large", "_message", "_talk", "_transaction", "_whole", "_writer",
        "id", "now", "refusal", "taken",
    )  # fmt: skip

    def __init__(self, talk: Talk, transaction: Transaction) -> None:
        ports, settings = talk.service.ports, talk.service.settings
        self._talk = talk
        self._transaction = transaction
        self._decoder = DataDecoder(cast(Policy, settings.line_endings), settings.max_message_size)
        self._head = bytearray()
        self._whole = False
        self._large = False
        self._identity: Identity | None = None
        self.now = ports.clock()
        self.id = ports.intake.new_id(self.now)
        self._writer = ports.intake.writer(self.id)
        self.taken = 0
        self.refusal: Refusal | None = None

    @property
    def done(self) -> bool:
        return self._decoder.done

    @property
    def rest(self) -> bytes:
        return self._decoder.rest

    def feed(self, data: bytes) -> bool:
        """True: await `drain` before more."""
        self.taken += len(data)
        wire = self._decoder.feed(data)
        if not wire or self.refusal is not None:
            return False
        if not self._whole:
            self._look(wire)
        drain = self._writer.feed(wire)
        if drain:
            self._large = True
        return drain

    def _look(self, wire: bytes) -> None:
        """Add to the header section until its end. More of a large message must not stay in memory (hazard D9)."""
        head, seen = self._head, len(self._head)
        head += wire[: HEAD - seen]
        end = 0 if head.startswith(b"\r\n") else head.find(b"\r\n\r\n", max(seen - 3, 0))
        if end >= 0:
            del head[end + 4 :]
        self._whole = end >= 0 or len(head) >= HEAD

    async def drain(self) -> None:
        try:
            await self._writer.drain()
        except OSError as error:
            self.refusal = storage_refusal(error)

    async def discard(self) -> None:
        await self._writer.discard()

    def judge(self) -> Refusal | None:
        """Everything arrived: why it is not taken, or None."""
        problem = self._decoder.problem
        if self.refusal is None and problem is not None:
            self.refusal = replies.TOO_BIG if problem == "too_big" else replies.BAD_LINE_ENDS
        if self.refusal is None:
            self._facts = scan(bytes(self._head), self._talk.service.settings.wanted)
            if self._facts.received >= MAX_HOPS:
                self.refusal = replies.LOOP
            elif self._facts.identity is not None or self._talk.service.settings.identity:
                self.refusal = self._identify()
        return self.refusal

    def _identify(self) -> Refusal | None:
        """Whom it is sent as: whom it names itself, else the listener's choice."""
        settings, name = self._talk.service.settings, self._facts.identity
        if endless(bytes(self._head)):
            return replies.HEADER_TOO_LONG
        try:
            self._identity = named(settings.identities, settings.identity if name is None else name)
        except UnknownIdentity as error:
            return Refusal("content", 554, "5.6.0", str(error), junk=False)
        return None

    def keep(self) -> Awaitable[Reply | None]:
        """Hand it to the spool. None: it is on stable storage, call `kept`. A Reply: it is not, call `discard`.

        If it raises, which is a bug, nobody knows whether the message was kept: its body stays.
        """
        return self._keep_file() if self._large else self._hand_over(_at_once(self._writer.finish()))

    async def _keep_file(self) -> Reply | None:
        try:
            body = await self._writer.finish()
        except OSError as error:
            return storage_refusal(error).reply
        return await self._hand_over(body)

    def _hand_over(self, body: Body) -> Awaitable[Reply | None]:
        return self._talk.service.ports.intake.accept((self._submission(body),))

    def kept(self) -> bytes:
        """The reply to the final dot of a message that is on stable storage."""
        self._talk.delivered()
        self._report(self._message)
        return b"250 2.0.0 Ok: queued as %s\r\n" % self.id.encode()

    def _submission(self, body: Body) -> Submission:
        talk, settings, facts = self._talk, self._talk.service.settings, self._facts
        prefix = self._prefix(facts)
        message = self._message = Message(
            id=self.id,
            envelope=self._envelope(facts),
            prefix=prefix,
            size=len(prefix) + body.size,
            source=talk.source,
            received_at=self.now,
            expires_at=self.now + settings.give_up_after,
            identity=None if self._identity is None else applied(self._identity),
        )
        return Submission(message=message, body=body, headers=facts.values)

    def _envelope(self, facts: HeadFacts) -> Envelope:
        transaction, parameters, identity = self._transaction, self._transaction.parameters, self._identity
        sender, utf8 = transaction.sender, parameters.utf8 and (facts.non_ascii or not self._ascii_addresses())
        if identity is not None:
            sender = sender and identity.address  # the null sender stays: nobody answers a bounce (hazard E2)
            utf8 = utf8 or needs_utf8(identity)
        return Envelope(
            sender=sender,
            recipients=tuple(transaction.recipients.values()),
            eight_bit=parameters.eight_bit and self._decoder.eight_bit,
            utf8=utf8,
            ret=parameters.ret,
            envid=parameters.envid,
        )

    def _ascii_addresses(self) -> bool:
        return self._transaction.sender.isascii() and all(map(str.isascii, self._transaction.recipients))

    def _prefix(self, facts: HeadFacts) -> bytes:
        """Our trace line, what RFC 6409 8 lets a submission service add, and a blank line if there is no header."""
        talk, hostname = self._talk, self._talk.service.settings.hostname
        recipients = self._transaction.recipients
        spoken = protocol(
            extended=talk.extended_smtp,
            tls=talk.secure,
            auth=bool(talk.authenticated),
            utf8=self._transaction.parameters.utf8,
        )
        prefix = received_line(
            helo=talk.helo,
            client=talk.client,
            hostname=hostname,
            protocol=spoken,
            id=self.id,
            recipient=next(iter(recipients)) if len(recipients) == 1 else "",
            now=self.now,
        )
        if not facts.has_message_id:
            prefix += message_id_header(self.id, hostname)
        if not facts.has_date:
            prefix += date_header(self.now)
        return prefix + b"\r\n" if facts.headerless else prefix

    def _report(self, message: Message) -> None:
        ports = self._talk.service.ports
        ports.observe(
            MessageAccepted(
                message=message.id,
                source=message.source,
                sender=message.envelope.sender,
                recipients=tuple(self._transaction.recipients),
                size=message.size,
                seconds=ports.monotonic() - self._transaction.began,
                captured=ports.capturing(),
            )
        )


def _at_once(finish: Coroutine[Any, Any, Body]) -> Body:
    """The result of a `finish` that does not wait, as the port promises for a body that never asked to be drained."""
    try:
        finish.send(None)
    except StopIteration as done:
        return cast(Body, done.value)
    raise RuntimeError("the writer waits for what it has in memory")


def storage_refusal(error: OSError) -> Refusal:
    """Full is the client's to wait out; anything else is ours to repair."""
    return replies.FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else replies.BROKEN_STORAGE
