"""One connection to a provider at work: an asyncio.Protocol that drives the SANS-IO Dialogue.

The pool makes it on a transport that is ready for MAIL and feeds it jobs. Never decides about retries, never parses.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from relay.model import DeliveryOutcome, Provider, Shipment
from relay.smtp.chunking import RSET
from relay.smtp.data import unstuff
from relay.smtp.dialogue import Dialogue
from relay.smtp.offer import Offer
from relay.smtp.transaction import Step, Transaction
from relay.upstream.content import Content

QUIT_SECONDS = 5.0
READING = 0.1
"""Seconds past a deadline in which what has come is read."""
CHUNK = 262_144
AT_ONCE = 65_536
"""A body up to this size is written with its dot. The dot of a larger one waits until the socket has taken the body."""
QUIET = 1.0
"""Seconds after which an unused connection may have been given up: DATA, then, sends no body before it is answered."""


class Job(Struct, eq=False):
    """A shipment on its way. `first`: it opened its connection. `again`: since when it was already tried on another."""

    shipment: Shipment
    content: Content
    future: asyncio.Future[tuple[DeliveryOutcome, ...]]
    first: bool = False
    again: float | None = None


class Owner(Protocol):
    """What a conversation needs of the pool."""

    provider: Provider
    idle_seconds: float

    @property
    def chunking(self) -> bool:
        """Whether BDAT may be used."""

    def misled(self) -> None:
        """BDAT did not work out: no more of it, for a while."""

    def take(self, conversation: Conversation) -> Job | None:
        """The next job for this connection. None: the pool remembers that there is room."""

    def ended(self, conversation: Conversation, job: Job, transaction: Transaction, reason: str) -> None:
        """A transaction is over, for good or bad. `reason`: why replies are missing, if any are."""

    def unsayable(self, job: Job, problem: str) -> None:
        """Its envelope does not go into SMTP commands."""

    def unreadable(self, job: Job, error: OSError) -> None:
        """Its body cannot be read."""

    def leaving(self, conversation: Conversation) -> None:
        """It says QUIT and takes nothing more."""

    def gone(self, conversation: Conversation) -> None:
        """The connection is closed; all its jobs were reported before."""


class Conversation(asyncio.Protocol):
    """`busy`: something is on the wire. `used`: something was, at some time. `opened`: since when. `offer`: by EHLO."""

    def __init__(self, owner: Owner, transport: asyncio.Transport, offer: Offer) -> None:
        provider = owner.provider
        self.offer = offer
        self._owner = owner
        self._transport = transport
        command, data = provider.timeouts.command, provider.timeouts.data
        self._patience_at = [data if step in (Step.BODY, Step.DOT, Step.LAST) else command for step in Step]
        self._dialogue = Dialogue(offer, pipelining=provider.pipelining != "off")
        self._jobs: deque[Job] = deque()
        self._begun = False
        self._gone = False
        self._leaving = False
        self._loop = asyncio.get_running_loop()
        self.opened = self._loop.time()
        self._patience = 0.0
        self._deadline = 0.0
        self._overdue = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._stream: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._paused = False
        self._written = 0
        self._heard_at = 0.0
        self._lost: asyncio.Future[None] = self._loop.create_future()

    @property
    def busy(self) -> bool:
        return bool(self._jobs)

    @property
    def used(self) -> bool:
        return self._begun

    @property
    def most(self) -> int:
        """How many messages it carries at once."""
        return self._dialogue.most if self._dialogue.chunks and self._owner.chunking else 2

    def start(self) -> None:
        """Take over the transport. In the step in which it was handed over (hazard L16)."""
        self._transport.set_protocol(self)
        self.advance()

    def advance(self) -> None:
        """Do all that can be done without hearing more, in one write: bodies, dots, and envelopes behind them."""
        dialogue = self._dialogue
        if dialogue.asked is not None:
            self._end_of(dialogue.asked)
            dialogue.asked = None
        if dialogue.due is not None and self._stream is None:
            self._write_body()
        # Not when BDAT bodies that nobody reads would pile up.
        held_up = self._leaving or (self._paused and dialogue.chunks)
        while not held_up and dialogue.room and (job := self._owner.take(self)) is not None:
            self._begin(job)
        out = dialogue.out
        if out:
            self._write(b"".join(out))
            out.clear()
        self._expect()

    def _write(self, data: bytes) -> None:
        self._written += len(data)
        self._transport.write(data)

    def leave(self) -> None:
        """QUIT and close; only when not busy."""
        if not self._gone and not self._leaving:
            self._leaving = True
            self._owner.leaving(self)
            self._transport.write(b"QUIT\r\n")
            self._expect()

    def abort(self, reason: str) -> None:
        """Close now; what is on the wire ends as lost."""
        self._fall(reason)

    async def wait_closed(self) -> None:
        await asyncio.shield(self._lost)

    # What the loop calls.

    def data_received(self, data: bytes) -> None:
        if self._gone or self._leaving:
            self._fall("")
            return
        dialogue = self._dialogue
        heard = dialogue.heard
        self._heard_at = self._loop.time()
        ended = dialogue.receive(data)
        for transaction in ended:
            self._owner.ended(self, self._jobs.popleft(), transaction, dialogue.trouble)
        if dialogue.trouble:
            if dialogue.misled:
                self._owner.misled()
            self._fall(dialogue.trouble)
        elif dialogue.heard != heard:  # part of a reply is no progress: a drip must not push the deadline
            self.advance()

    def eof_received(self) -> None:
        self._fall(f"closed the connection {self._where()}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fall(f"closed the connection {self._where()}" if exc is None else f"lost {self._where()}: {exc}")
        if not self._lost.done():
            self._lost.set_result(None)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        elif self._stream is None and self._dialogue.chunks:
            self._loop.call_soon(self._resumed)  # TLS says so while it is written to

    def _resumed(self) -> None:
        if not self._gone:
            self.advance()

    # Beginning and writing.

    def _begin(self, job: Job) -> None:
        dialogue = self._dialogue
        try:
            content = self._by_bdat(job) if dialogue.chunks else None
            transaction = dialogue.begin(job.shipment, job.content.size, content)
        except ValueError as error:  # UnicodeEncodeError is one
            self._owner.unsayable(job, str(error))
            return
        if transaction.said:
            self._end_of(transaction)
        job.first, self._begun = not self._begun, True
        self._jobs.append(job)

    def _end_of(self, transaction: Transaction) -> None:
        """Its content, and RSET, are the last that is to be written."""
        transaction.end = self._written + sum(map(len, self._dialogue.out)) - len(RSET)

    def _by_bdat(self, job: Job) -> bytes | None:
        """All of it without stuffing, None: DATA, where nobody uploads a large body for recipients that are refused."""
        content = job.content
        if not self._dialogue.may_chunk(job.shipment) or content.path is not None or content.size > AT_ONCE:
            return None
        quiet = not self._jobs and self._loop.time() - self._heard_at > QUIET
        return None if quiet or not self._owner.chunking else unstuff(b"".join(content.parts))

    def _write_body(self) -> None:
        content = self._jobs[0].content
        if content.path is None and content.size <= AT_ONCE:
            self._dialogue.out += content.parts
            self._dialogue.body_written()
        else:
            self._stream = self._loop.create_task(self._write_long(self._jobs[0], content))

    async def _write_long(self, job: Job, content: Content) -> None:
        """Chunk by chunk, as fast as the upstream takes them; uvloop has no sendfile (L18).

        Until the socket has all of it no dot is written: what is lost while it waits here is certainly lost (F2).
        """
        try:
            await self._copy(content)
            self._transport.set_write_buffer_limits(high=1)  # not 0: TLS transports never come back from that
            await self._drained()
            self._transport.set_write_buffer_limits()
        except OSError as error:
            self._stream = None
            self._jobs.popleft()
            self._owner.unreadable(job, error)
            self._dialogue.abandon()
            self._fall("")
            return
        self._stream = None
        self._dialogue.body_written()
        self.advance()

    async def _copy(self, content: Content) -> None:
        for part in content.parts:
            for start in range(0, len(part), AT_ONCE):
                self._write(part[start : start + AT_ONCE])
                await self._drained()
        if content.path is not None:
            await self._copy_file(content, content.path)

    async def _copy_file(self, content: Content, path: Path) -> None:
        file = await asyncio.to_thread(path.open, "rb")
        try:
            left, last = content.rest, b""
            await asyncio.to_thread(file.seek, content.offset)
            while left and (chunk := await asyncio.to_thread(file.read, min(CHUNK, left))):
                left, last = left - len(chunk), chunk
                self._write(chunk)
                self._expect()
                await self._drained()
            if left or (content.rest and not last.endswith(b"\n")):
                raise OSError(f"{left} bytes are missing at its end")
        finally:
            file.close()

    async def _drained(self) -> None:
        if self._paused:
            self._writable = self._loop.create_future()
            await self._writable
            self._writable = None

    # Time: one timer, looked at when it fires; it is set anew only when a deadline comes closer.

    def _expect(self) -> None:
        if self._gone:
            return
        self._overdue = False
        step = self._dialogue.step
        if step is not None:
            self._patience = self._patience_at[step]
        else:
            self._patience = QUIT_SECONDS if self._leaving else self._owner.idle_seconds
        self._deadline = self._loop.time() + self._patience
        if self._deadline < self._timer_at:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, math.inf
        if self._loop.time() < self._deadline:
            self._arm()
        elif not self._overdue:
            # A process that was stopped runs its timers before it reads what came meanwhile (hazard G9).
            self._overdue = True
            self._timer_at = self._loop.time() + READING
            self._timer = self._loop.call_at(self._timer_at, self._tick)
        elif self._jobs or self._leaving:
            if self._dialogue.chunks:
                self._owner.misled()
            self._fall(f"did not answer within {self._patience:g} s {self._where()}")
        else:
            self.leave()

    def _where(self) -> str:
        step = self._dialogue.step
        return "while idle" if step is None else f"at {step.name}"

    # The end.

    def _fall(self, reason: str) -> None:
        """Whatever ends the connection ends here, once."""
        if self._gone:
            return
        self._gone = True
        if self._timer is not None:
            self._timer.cancel()
        if self._stream is not None:
            self._stream.cancel()
        taken = self._written - self._unsent()
        self._transport.abort()
        for transaction in self._dialogue.abandon(taken):
            self._owner.ended(self, self._jobs.popleft(), transaction, reason)
        self._owner.gone(self)

    def _unsent(self) -> int:
        """Bytes that the socket did not take, as far as that is sure: what TLS keeps cannot be counted in ours."""
        if not self._dialogue.chunks or self._transport.get_extra_info("sslcontext") is not None:
            return 0
        return self._transport.get_write_buffer_size()
