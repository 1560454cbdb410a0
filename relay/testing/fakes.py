"""A spool's way in that keeps everything in memory and does what a test tells it.

Tests of listener and api hand it in where a real spool goes. It is durable only as long as the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from relay.model import Body, Claim, Happening, MessageId, Reply, Submission
from relay.ports import CLAIMED


class FakeBodyWriter:
    """Keeps the body in memory; asks for a drain every `drain_every` bytes of its intake."""

    def __init__(self, intake: FakeIntake) -> None:
        self.size = 0
        self._intake = intake
        self._chunks: list[bytes] = []
        self._on_disk = False

    def feed(self, data: bytes) -> bool:
        if self._intake.feed_error is not None:
            raise self._intake.feed_error
        self._chunks.append(data)
        before, self.size = self.size, self.size + len(data)
        step = self._intake.drain_every
        asked = step > 0 and before // step != self.size // step
        self._on_disk = self._on_disk or asked
        return asked

    async def drain(self) -> None:
        self._intake.drained += 1
        await asyncio.sleep(0)
        if self._intake.drain_error is not None:
            raise self._intake.drain_error

    async def finish(self) -> Body:
        if self._intake.finish_error is not None and self._on_disk:
            raise self._intake.finish_error
        return Body(size=self.size, data=b"".join(self._chunks))

    async def discard(self) -> None:
        self._intake.discarded += 1
        self._chunks.clear()


class FakeIntake:
    """Implements ports.Intake. `submissions` is what was accepted, `happened` what came with it, in order.

    `refusal`: what `accept` answers; `error`: what it raises; `gate`: it waits for that event first.
    `admission`: what `admits` answers. `asked`: sizes it was asked about. `drain_every`: bytes between drains, 0: none.
    """

    def __init__(self) -> None:
        self.submissions: list[Submission] = []
        self.refusal: Reply | None = None
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()
        self.admission: Reply | None = None
        self.asked: list[int] = []
        self.drain_every = 0
        self.feed_error: Exception | None = None
        self.drain_error: OSError | None = None
        self.finish_error: OSError | None = None
        self.drained = 0
        self.discarded = 0
        self.claims: dict[tuple[str, str], Claim] = {}
        self.happened: list[Happening] = []
        self._last = 0

    def new_id(self, now: float) -> MessageId:
        self._last += 1
        return MessageId(f"{self._last:013d}")

    def admits(self, size: int) -> Reply | None:
        self.asked.append(size)
        return self.admission

    def writer(self, message: MessageId) -> FakeBodyWriter:
        return FakeBodyWriter(self)

    async def accept(
        self, batch: Sequence[Submission], *, claim: Claim | None = None, happening: Happening | None = None
    ) -> Reply | None:
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        if claim is not None and (claim.owner, claim.key) in self.claims:
            return CLAIMED
        if self.refusal is not None:
            return self.refusal
        self.submissions.extend(batch)
        if claim is not None:
            self.claims[claim.owner, claim.key] = claim
        if happening is not None:
            self.happened.append(happening)
        return None

    async def claimed(self, owner: str, key: str) -> Claim | None:
        return self.claims.get((owner, key))
