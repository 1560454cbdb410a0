"""Taking mail over HTTP: from a draft, or as it is, into the spool.

Called by the resources that send, which say what was asked. Everything that can refuse a mail does so before the spool
has it; once it has, the mail is kept whether or not anybody still waits. It never reads a field of a request.
"""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from relay.api.operations.idempotency import Use, Uses, replay, under_way
from relay.api.problem import Refusal
from relay.compose.draft import Draft, effort
from relay.compose.message import Composed, compose
from relay.compose.senders import House
from relay.events import MessageAccepted, Observer
from relay.model import Body, Claim, Labels, Message, MessageId, Reply, Source, State, Submission
from relay.ports import CLAIMED, BodyWriter, Clock, Intake

FURTHEST = 30 * 86400.0  # seconds that mail may be scheduled ahead
_WORTH_A_THREAD = 64 * 1024  # characters of text; encoding more holds everybody up


class Asked(Struct, frozen=True, kw_only=True):
    """A request to send. `client`: an IP address or "unix". `user`: name of the caller. `began`: when it came."""

    client: str
    user: str
    began: float


class Given(Struct, frozen=True, kw_only=True):
    """What is said of a mail besides the mail. `send_at`: seconds since the epoch, 0: now."""

    labels: Labels | None = None
    send_at: float = 0.0


class Taken(Struct, frozen=True, kw_only=True):
    """`answer`: JSON. `replayed`: of the request that had the idempotency key first."""

    answer: str
    replayed: bool = False


class Sending:
    """`capturing`: whether mail is kept instead of sent."""

    def __init__(
        self,
        *,
        intake: Intake,
        house: Callable[[], House],
        capturing: Callable[[], bool],
        observe: Observer,
        clock: Clock,
    ) -> None:
        self.intake = intake
        self.house = house
        self.clock = clock
        self.uses = Uses(intake)
        self._capturing = capturing
        self._observe = observe

    def admit(self, size: int) -> None:
        """Raises Refusal when a mail of so many bytes (0: unknown) is not taken now; nothing of it need be read."""
        refused = self.intake.admits(size)
        if refused is not None:
            raise self._refusal(refused, size)

    async def send(self, draft: Draft, given: Given, asked: Asked, use: Use, digest: str = "") -> Taken:
        """Raises Refusal: 422 with the field, 413, 429, 503."""
        house, now = self.house(), self.clock()
        due_at = self.due(given.send_at, now)
        id = self.intake.new_id(now)
        composed = await self._composed(draft, house, id, asked, now, due_at)
        self.admit(composed.size)
        writer = self.intake.writer(id)
        body = await self.written(writer, composed)
        message = Message(
            id=id,
            envelope=composed.envelope,
            prefix=composed.prefix,
            size=len(composed.prefix) + body.size,
            source=source(asked),
            received_at=now,
            expires_at=max(now, due_at) + house.give_up_after,
            labels=given.labels,
        )
        submission = Submission(message=message, body=body, headers=composed.headers, due_at=due_at)
        return await self.keep(submission, composed.message_id, writer, asked, use, digest)

    async def _composed(
        self, draft: Draft, house: House, id: MessageId, asked: Asked, now: float, due_at: float
    ) -> Composed:
        def work() -> Any:
            return compose(draft, house, id=id, client=asked.client, now=now, at=due_at)

        composed = await asyncio.to_thread(work) if effort(draft) > _WORTH_A_THREAD else work()
        if isinstance(composed, Composed):
            return composed
        if composed.too_large:
            raise Refusal(413, f"{composed.problem}; see max_message_size")
        raise Refusal(422, f"{composed.field}: {composed.problem}", [(composed.field, composed.problem)])

    async def written(self, writer: BodyWriter, composed: Composed) -> Body:
        try:
            for piece in composed.wire():
                if writer.feed(piece):
                    await writer.drain()
            return await writer.finish()
        except OSError as error:
            await writer.discard()
            raise no_storage(error) from None
        except BaseException:
            await writer.discard()
            raise

    def due(self, send_at: float, now: float) -> float:
        """When it is due, 0: at once."""
        if send_at > now + FURTHEST:
            what = f"is more than {FURTHEST / 86400:g} days ahead; ask again nearer the time"
            raise Refusal(422, f"send_at {what}", [("send_at", what)])
        return send_at if send_at > now else 0.0

    async def keep(
        self, submission: Submission, message_id: str, writer: BodyWriter, asked: Asked, use: Use, digest: str
    ) -> Taken:
        """Hand it to the spool. What was handed over is kept, or not, whatever becomes of the request."""
        message = submission.message
        captured = self._capturing()
        state = State.CAPTURED if captured else State.SCHEDULED if submission.due_at else State.QUEUED
        answer = _answer(message, message_id, state)
        if use.key:
            at = message.received_at
            claim = Claim(owner=use.owner, key=use.key, digest=digest, answer=answer, at=at)
            submission = replace(submission, claim=claim)
        use.storing = asyncio.ensure_future(self.intake.accept((submission,)))
        refused = await asyncio.shield(use.storing)
        if refused is not None:
            await writer.discard()
            return await self._not_kept(refused, message.size, use, digest)
        self._report(message, captured, asked)
        return Taken(answer=answer)

    async def _not_kept(self, refused: Reply, size: int, use: Use, digest: str) -> Taken:
        if refused != CLAIMED:
            raise self._refusal(refused, size)
        claim = await self.uses.find(use)
        if claim is None:
            raise under_way()
        return Taken(answer=replay(claim, digest), replayed=True)

    def _refusal(self, refused: Reply, size: int) -> Refusal:
        """4.3.1 is said of a full spool, and of too much on its way to the disk, which is over in a moment."""
        if refused.code != 452:
            return _broken()
        return _full() if self.intake.admits(size) is not None else busy("messages are on their way to the disk")

    def _report(self, message: Message, captured: bool, asked: Asked) -> None:
        self._observe(
            MessageAccepted(
                message=message.id,
                source=message.source,
                sender=message.envelope.sender,
                recipients=tuple([recipient.address for recipient in message.envelope.recipients]),
                size=message.size,
                seconds=max(0.0, self.clock() - asked.began),
                captured=captured,
            )
        )


def source(asked: Asked) -> Source:
    return Source(kind="http", client=asked.client, user=asked.user)


def _answer(message: Message, message_id: str, state: State) -> str:
    recipients: Sequence[dict[str, str]] = [
        {"address": recipient.address, "status": state.value} for recipient in message.envelope.recipients
    ]
    return json.dumps(
        {"id": message.id, "message_id": message_id, "status": state.value, "recipients": recipients},
        separators=(",", ":"),
    )


def busy(what: str) -> Refusal:
    return Refusal(429, f"too many {what}; nothing was accepted, send it again", retry_after=1)


def _full() -> Refusal:
    return Refusal(
        503,
        "the spool is full, or the disk nearly is; nothing was accepted. Free space, raise spool.max_size, or wait "
        "until mail was delivered; relay queue stats shows how it stands",
        retry_after=10,
    )


def _broken() -> Refusal:
    return Refusal(
        503,
        "the disk of the spool failed; nothing was accepted. See /readyz and the relay's log for the cause, repair it "
        "and restart",
        retry_after=10,
    )


def no_storage(error: OSError) -> Refusal:
    """A large body could not be written."""
    return _full() if error.errno in (errno.ENOSPC, errno.EDQUOT) else _broken()
