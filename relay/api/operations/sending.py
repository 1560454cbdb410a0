"""Taking mail over HTTP: what was asked becomes letters, letters are handed in, and the caller is told what came of it.

Called by the resources that send, which say what was asked. Everything that can refuse a mail does so before the spool
has it; once it has, the mail is kept whether or not anybody still waits. It never reads a field of a request.
"""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Sequence

from msgspec import Struct

from relay.api.operations.idempotency import Use, Uses, replay, under_way
from relay.api.problem import Refusal
from relay.compose.draft import Draft
from relay.compose.message import Unfit
from relay.model import Claim, Happening, Reply, State
from relay.ports import CLAIMED
from relay.posting import Asked, Failure, Given, Letter, Post

FURTHEST = 30 * 86400.0  # seconds that mail may be scheduled ahead


class Taken(Struct, frozen=True, kw_only=True):
    """`answer`: JSON. `replayed`: of the request that had the idempotency key first."""

    answer: str
    replayed: bool = False


class Sending:
    """What all resources that send share: who hands in, and the idempotency keys under way."""

    def __init__(self, post: Post) -> None:
        self.post = post
        self.uses = Uses(post)

    def admit(self, size: int) -> None:
        """Raises Refusal when a mail of so many bytes (0: unknown) is not taken now; nothing of it need be read."""
        refused = self.post.admit(size)
        if refused is not None:
            raise self._refusal(refused, size)

    async def send(self, draft: Draft, given: Given, asked: Asked, use: Use, digest: str = "") -> Taken:
        """Raises Refusal: 422 with the field, 413, 429, 503."""
        self.due(given.send_at, self.post.clock())
        try:
            letter = await self.post.prepare(draft, given, asked)
        except OSError as error:
            raise no_storage(error) from None
        if isinstance(letter, Unfit):
            raise unfit(letter)
        return await self.send_letter(letter, asked, use, digest)

    async def send_letter(self, letter: Letter, asked: Asked, use: Use, digest: str) -> Taken:
        """One mail, the answer to whose request is about it alone."""
        answer = _answer(letter, self.post.state(letter.submission))
        return await self.keep((letter,), answer, asked, use, digest)

    def due(self, send_at: float, now: float) -> float:
        """When it is due, 0: at once."""
        if send_at > now + FURTHEST:
            what = f"is more than {FURTHEST / 86400:g} days ahead; ask again nearer the time"
            raise Refusal(422, f"send_at {what}", [("send_at", what)])
        return send_at if send_at > now else 0.0

    async def keep(
        self,
        letters: Sequence[Letter],
        answer: str,
        asked: Asked,
        use: Use,
        digest: str,
        happening: Happening | None = None,
        failed: Sequence[Failure] = (),
    ) -> Taken:
        """Hand them to the spool, with what is answered if there is a key. What was handed over is kept, all of it or
        nothing, whatever becomes of the request. Raises Refusal 409, 422, 429, 503.
        """
        claim = None
        if use.key:
            claim = Claim(owner=use.owner, key=use.key, digest=digest, answer=answer, at=self.post.clock())
        use.storing = asyncio.ensure_future(
            self.post.hand_in(letters, asked, claim=claim, happening=happening, failed=failed)
        )
        refused = await asyncio.shield(use.storing)
        if refused is None:
            return Taken(answer=answer)
        size = sum([letter.submission.message.size for letter in letters])
        return await self._not_kept(refused, size, use, digest)

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
        return _full() if self.post.admit(size) is not None else busy("messages are on their way to the disk")


def unfit(why: Unfit) -> Refusal:
    if why.too_large:
        return Refusal(413, f"{why.problem}; see max_message_size")
    return Refusal(422, f"{why.field}: {why.problem}", [(why.field, why.problem)])


def _answer(letter: Letter, state: State) -> str:
    message = letter.submission.message
    recipients: Sequence[dict[str, str]] = [
        {"address": recipient.address, "status": state.value} for recipient in message.envelope.recipients
    ]
    return json.dumps(
        {"id": message.id, "message_id": letter.message_id, "status": state.value, "recipients": recipients},
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
