"""Composed mail into the spool: drafts to letters, letters to stable storage, all of a batch or none.

Used by the API for each mail that a program asks for, and by `automation`. It never reads a request and never says what
a client is told: what cannot be is a value for whoever asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from relay.compose.draft import Draft, effort
from relay.compose.message import Composed, Unfit, compose
from relay.compose.senders import House
from relay.events import EventTold, MessageAccepted, Observer
from relay.model import (
    Body,
    Claim,
    Happening,
    Labels,
    Message,
    MessageId,
    Reply,
    Source,
    State,
    Submission,
)
from relay.ports import BodyWriter, Clock, Intake

MOST_TOGETHER = 32 << 20
"""Bytes of mail that one request may have in memory until it is handed in; each takes four times as many meanwhile."""

_MOST_AT_ONCE = 64 << 20  # bytes of all requests together
_WORTH_A_THREAD = 64 * 1024  # characters of text; encoding more holds everybody up


Failure = tuple[str, str]
"""Which mail of something that happened could not be made, and why."""


class Asked(Struct, frozen=True, kw_only=True):
    """A request to send. `client`: an IP address or "unix". `user`: name of the caller. `began`: when it came."""

    client: str
    user: str
    began: float


class Given(Struct, frozen=True, kw_only=True):
    """What is said of a mail besides the mail. `send_at`: seconds since the epoch, 0: now."""

    labels: Labels | None = None
    send_at: float = 0.0


class Letter(Struct, frozen=True, kw_only=True):
    """A mail that is whole but not handed in; its body may lie in a file, which `Post.discard` removes.

    `message_id`: with its angle brackets.
    """

    submission: Submission
    message_id: str
    writer: BodyWriter

    @property
    def id(self) -> MessageId:
        return self.submission.message.id

    @property
    def held(self) -> int:
        """Bytes of it in memory."""
        return len(self.submission.body.data or b"")


class Post:
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
        self._capturing = capturing
        self._observe = observe
        self._held: dict[MessageId, int] = {}
        self._all_held = 0

    @property
    def crowded(self) -> bool:
        """Too much is in memory and not handed in yet: who makes more of it gives up (hazard D9)."""
        return self._all_held > _MOST_AT_ONCE

    def admit(self, size: int) -> Reply | None:
        """None, or why a mail of so many bytes (0: unknown) is not taken now; nothing of it need be read."""
        return self.intake.admits(size)

    async def prepare(
        self, draft: Draft, given: Given, asked: Asked, *, kind: str = "http", via: str = ""
    ) -> Letter | Unfit:
        """To be handed in or discarded. `kind`: of its Source. `via`: the only provider it may go to. Raises OSError:
        the disk failed, nothing of it is left.
        """
        house, now = self.house(), self.clock()
        id = self.intake.new_id(now)
        due_at = given.send_at if given.send_at > now else 0.0
        composed = await _composed(draft, house, id, asked, now, due_at)
        if isinstance(composed, Unfit):
            return composed
        writer = self.intake.writer(id)
        body = await _written(writer, composed)
        message = Message(
            id=id,
            envelope=composed.envelope,
            prefix=composed.prefix,
            size=len(composed.prefix) + body.size,
            source=Source(kind=kind, client=asked.client, user=asked.user),
            received_at=now,
            expires_at=max(now, due_at) + house.give_up_after,
            labels=given.labels,
            via=via,
        )
        submission = Submission(message=message, body=body, headers=composed.headers, due_at=due_at)
        letter = Letter(submission=submission, message_id=composed.message_id, writer=writer)
        self._held[id] = letter.held
        self._all_held += letter.held
        return letter

    def state(self, submission: Submission) -> State:
        """What it will be in."""
        if self._captured(submission):
            return State.CAPTURED
        return State.SCHEDULED if submission.due_at else State.QUEUED

    def _captured(self, submission: Submission) -> bool:
        return not submission.message.via and self._capturing()

    def hand_in(
        self,
        letters: Sequence[Letter],
        asked: Asked,
        *,
        claim: Claim | None = None,
        happening: Happening | None = None,
        failed: Sequence[Failure] = (),
    ) -> Awaitable[Reply | None]:
        """None: all are on stable storage, with the claim and what happened. A Reply as Intake.accept says it: nothing
        is, and nothing of them is left. Once called it goes to its end, whether or not anybody waits for it.

        `failed`: of what happened, for whoever observes.
        """
        return asyncio.ensure_future(self._hand_in(letters, asked, claim, happening, failed))

    async def _hand_in(
        self,
        letters: Sequence[Letter],
        asked: Asked,
        claim: Claim | None,
        happening: Happening | None,
        failed: Sequence[Failure],
    ) -> Reply | None:
        batch = [letter.submission for letter in letters]
        captured = [self._captured(submission) for submission in batch]
        try:
            refused = await self.intake.accept(batch, claim=claim, happening=happening)
        except Exception:  # it was not begun
            await self.discard(letters)
            raise
        if refused is not None:
            await self.discard(letters)
            return refused
        self._let_go(letters)
        for submission, kept in zip(batch, captured, strict=True):
            self._report(submission.message, kept, asked)
        if happening is not None:
            self._observe(_told(happening, letters, failed))
        return None

    async def discard(self, letters: Sequence[Letter]) -> None:
        """Forget them; their files go."""
        self._let_go(letters)
        for letter in letters:
            await letter.writer.discard()

    def _let_go(self, letters: Sequence[Letter]) -> None:
        for letter in letters:
            self._all_held -= self._held.pop(letter.id, 0)

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


def _told(happening: Happening, letters: Sequence[Letter], failed: Sequence[Failure]) -> EventTold:
    return EventTold(
        id=happening.id,
        kind=happening.kind,
        name=happening.name,
        user=happening.user,
        messages=tuple([letter.id for letter in letters]),
        failed=tuple(failed),
    )


async def _composed(
    draft: Draft, house: House, id: MessageId, asked: Asked, now: float, due_at: float
) -> Composed | Unfit:
    def work() -> Composed | Unfit:
        return compose(draft, house, id=id, client=asked.client, now=now, at=due_at)

    return await asyncio.to_thread(work) if effort(draft) > _WORTH_A_THREAD else work()


async def _written(writer: BodyWriter, composed: Composed) -> Body:
    try:
        for piece in composed.wire():
            if writer.feed(piece):
                await writer.drain()
        return await writer.finish()
    except BaseException:
        await writer.discard()
        raise
