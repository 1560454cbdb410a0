"""Claims entries, asks the dispatcher where they go, has them sent, and settles what became of them.

Run by `app`, one task for each lease. It decides nothing about mail: `relay.delivery` does. It never lets an exception
take an entry with it, and never drops a lease: what cannot be settled stays leased, until the next start voids it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from msgspec.structs import replace

from relay.delivery.attempt import Attempt, Park, Send, Tried
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.ledger import Setting, Settled
from relay.delivery.notices import Notice, compose
from relay.delivery.retry import begun
from relay.delivery.settle import crashed, delivered, held, settle
from relay.events import AttemptEnded, EntryCrashed, MessageParked, NoticeFailed, NoticeQueued, Observer
from relay.model import (
    Body,
    DeliveryOutcome,
    Lease,
    Message,
    MessageId,
    Provider,
    QueueEntry,
    Settlement,
    Shipment,
    State,
    Submission,
)
from relay.ports import Budget, Clock, Transport, Work
from relay.smtp.headers import HEAD, scan

IDLE = 1.0
"""Seconds after which what may have become due by itself is looked for."""

UNRECORDED = "the spool cannot record what is sent, or is spent of a limit; see /readyz"
LOST = "its body is gone or damaged on disk; see the log of the file system, then cancel it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What the worker works with. `providers`: those that exist now, by name. `uptime`: see `ledger.Setting`."""

    work: Work
    budget: Budget
    transport: Transport
    dispatcher: Dispatcher
    providers: Callable[[], Mapping[str, Provider]]
    new_id: Callable[[float], MessageId]
    clock: Clock
    uptime: Callable[[], float]
    rng: Random
    observe: Observer


class Worker:
    """`run` until it is cancelled or drained; `drain` ends it without cutting what is being sent."""

    def __init__(self, parts: Delivery) -> None:
        self._parts = parts
        self._tasks: set[asyncio.Task[None]] = set()
        self._undecided: set[int] = set()
        self._decided = asyncio.Event()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        work, dispatcher, clock = self._parts.work, self._parts.dispatcher, self._parts.clock
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            now = clock()
            leases = await work.claim(dispatcher.appetite(now), now)
            if self._stopping.is_set():
                return  # what was claimed meanwhile stays leased: nobody would wait for it to be sent
            for lease in leases:
                self._undecided.add(lease.token)
                task = loop.create_task(self._attend(lease))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            if leases:
                await self._decisions()
            else:
                wakes_at = dispatcher.wakes_at(now)
                await work.wait(IDLE if wakes_at is None else min(IDLE, wakes_at - now))

    async def drain(self, seconds: float) -> None:
        """Claim no more and begin no more; return when all attempts are settled, or after so many seconds. What is left
        stays leased.
        """
        self._stopping.set()
        self._parts.transport.hold()
        self._parts.work.wake()
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=seconds)
            for task in late:
                task.cancel()

    async def _decisions(self) -> None:
        """Let them choose: appetite counts what was chosen, and reading the headers that routes match on takes time."""
        await asyncio.sleep(0)
        if self._undecided:
            self._decided.clear()
            await self._decided.wait()

    def _has_decided(self, lease: Lease) -> None:
        self._undecided.discard(lease.token)
        if not self._undecided:
            self._decided.set()

    async def _attend(self, lease: Lease) -> None:
        """Whatever goes wrong on the way, also in composing a notice, what was tried is settled."""
        tried: list[Tried] = []
        try:
            settled = await self._deliver(lease, tried)
            settlement = await self._with_notices(settled) if settled.notices else settled.settlement
            await self._parts.work.settle((settlement,))
        except Exception as error:
            settled = self._crashed(lease, tried, error)
            settlement = settled.settlement
            await self._parts.work.settle((settlement,))
        finally:
            self._has_decided(lease)
        if settled.notices or lease.entry.message.source.kind == "notice":
            self._tell(lease.entry.message, settlement, settled.notices)

    def _tell(self, message: Message, settlement: Settlement, notices: Sequence[Notice]) -> None:
        """What follows from a settlement that is durable."""
        for notice, made in zip(notices, settlement.notices, strict=True):
            self._parts.observe(NoticeQueued(message=message.id, notice=made.message.id, kind=notice.kind))
        lost = [end.reply for end in settlement.ended if end.state in (State.FAILED, State.EXPIRED)]
        if lost and message.source.kind == "notice":
            self._parts.observe(NoticeFailed(notice=message.id, reply=lost[0]))

    async def _deliver(self, lease: Lease, tried: list[Tried]) -> Settled:
        """`tried` is the caller's, so that what was sent and spent is known even when this fails."""
        entry = lease.entry
        body, headers = await self._headers(entry.message) if self._parts.dispatcher.header_names else (None, None)
        attempt: Attempt | None = Attempt.begin(entry, headers)
        park: Park | None = None
        while attempt is not None and park is None:
            step = self._parts.dispatcher.choose(attempt, self._parts.clock())
            self._has_decided(lease)
            if isinstance(step, Park):
                park = step
                break
            body = body or await self._body(step, entry.message)
            if body is None:
                return held(lease, LOST, self._setting(), tried)
            if not await self._reserved(step):
                park = Park(until=self._parts.clock() + IDLE, reason=UNRECORDED, lane=step.lane, waiting=True)
                break
            if self._outdated(step):  # a reload came between: choose again
                tried.append(self._parts.dispatcher.finished(step, (), self._parts.clock()))
                continue
            await self._send(step, entry, body, tried)
            attempt = attempt.after(tried[-1])
        settled = delivered(lease, tried, park, self._parts.clock()) or settle(lease, tried, park, self._setting())
        if park is not None and not park.waiting and park.reason != entry.owed.reason:
            self._tell_of_parking(entry.message, park, settled)
        return settled

    def _tell_of_parking(self, message: Message, park: Park, settled: Settled) -> None:
        due = [remainder.due_at for remainder in settled.settlement.remainders]
        if due:
            self._parts.observe(MessageParked(message=message.id, reason=park.reason, until=min(due)))

    def _outdated(self, send: Send) -> bool:
        """Whether the provider is not now as it was chosen. Mostly it is the very same: nothing to compare."""
        now = self._parts.providers().get(send.provider)
        return now is not send.settings and now != send.settings

    async def _body(self, send: Send, message: Message) -> Body | None:
        """The body, or None after the place that `choose` took was given back."""
        body: Body | None = None
        try:
            body = await self._parts.work.body(message.id)
        finally:
            if body is None:
                self._parts.dispatcher.finished(send, (), self._parts.clock())
        return body

    async def _reserved(self, send: Send) -> bool:
        """Whether what it will spend of a limit is on stable storage, and what becomes of it can be; else it stays."""
        durable = False
        try:
            durable = send.reservation is None or await self._parts.budget.reserve((send.reservation,))
            durable = durable and self._parts.work.can_settle()
        finally:
            if not durable:
                self._parts.dispatcher.finished(send, (), self._parts.clock())
        return durable

    async def _send(self, send: Send, entry: QueueEntry, body: Body, tried: list[Tried]) -> None:
        """One transaction, added to `tried`. Whatever happens, the dispatcher gets its place and reservation back."""
        parts, message, started = self._parts, entry.message, self._parts.clock()
        outcomes: Sequence[DeliveryOutcome] = ()
        try:
            outcomes = await parts.transport.send(self._shipment(send, message), body)
        finally:
            now = parts.clock()
            tried.append(parts.dispatcher.finished(send, outcomes, now))
        if not outcomes:
            return
        parts.observe(
            AttemptEnded(
                message=message.id,
                sender=send.sender,
                provider=send.provider,
                outcomes=tuple(outcomes),
                seconds=now - started,
                delay=now - begun(message, entry.owed),
            )
        )

    def _shipment(self, send: Send, message: Message) -> Shipment:
        return Shipment(
            provider=send.settings,
            message=message,
            sender=send.sender,
            recipients=send.recipients,
            rewrite=send.rewrite,
        )

    async def _headers(self, message: Message) -> tuple[Body | None, Mapping[str, str]]:
        """The body, and those of its headers that routes match on."""
        body = await self._parts.work.body(message.id)
        return body, scan(await head(body), self._parts.dispatcher.header_names).values if body else {}

    # What is left behind.

    def _setting(self) -> Setting:
        parts = self._parts
        return Setting(policy=parts.dispatcher.policy, now=parts.clock(), uptime=parts.uptime(), rng=parts.rng)

    def _crashed(self, lease: Lease, tried: Sequence[Tried], error: Exception) -> Settled:
        settled = crashed(lease, type(error).__name__, self._setting(), tried)
        is_held = any(remainder.state is State.HELD for remainder in settled.settlement.remainders)
        self._parts.observe(EntryCrashed(message=lease.entry.message.id, error=error, held=is_held))
        return settled

    async def _with_notices(self, settled: Settled) -> Settlement:
        made = [await self._compose(notice) for notice in settled.notices]
        return replace(settled.settlement, notices=tuple(made))

    async def _compose(self, notice: Notice) -> Submission:
        parts, now = self._parts, self._parts.clock()
        content = await self._original(notice)
        hosts = {name: provider.host for name, provider in parts.providers().items()}
        id = parts.new_id(now)
        return compose(notice, content, id=id, policy=parts.dispatcher.policy, hosts=hosts, now=now)

    async def _original(self, notice: Notice) -> bytes:
        """What a notice returns of the message; nothing when it cannot be read, since the notice matters more."""
        body = await self._parts.work.body(notice.message.id)
        if body is None:
            return b""
        try:
            return await (whole(body) if notice.whole else head(body))
        except OSError:
            return b""


async def head(body: Body) -> bytes:
    """The beginning of a body, in wire form."""
    return await _read(body, HEAD)


async def whole(body: Body) -> bytes:
    return await _read(body, body.size)


async def _read(body: Body, most: int) -> bytes:
    path = body.path
    if path is None:
        return (body.data or b"")[:most]

    def read() -> bytes:
        with path.open("rb") as file:
            return file.read(most)

    return await asyncio.to_thread(read)
