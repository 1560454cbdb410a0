"""Builders and fakes for the contract suite of spools.

Used by `test_spool*.py` here and by the tests of the SQLite spool; nothing in it asserts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from msgspec.structs import replace

from relay.events import Event
from relay.model import (
    Appetite,
    Berth,
    Body,
    Ended,
    Envelope,
    Lease,
    Message,
    Owed,
    Recipient,
    Settlement,
    Source,
    State,
    Submission,
    TimelineEvent,
)
from relay.ports import Budget, Desk, Happenings, Intake, Work
from relay.spool.bodies import INLINE
from relay.spool.limits import SpoolLimits
from relay.spool.memory import MemorySpool
from relay.spool.sqlite import SqliteSpool

START = 1_795_000_000.0
PLENTY = Appetite(total=1000)


class Spool(Intake, Work, Budget, Desk, Happenings, Protocol):
    async def maintain(self, now: float) -> None: ...

    async def close(self) -> None: ...


class Hands:
    """A spool with a clock, a placement and a disk that the test holds."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.path = folder / "spool" / "spool.db"
        self.now = START
        self.free = 1 << 40
        self.events: list[Event] = []
        self.lane: Callable[[Submission], list[Berth]] = to_lane("default:1")
        self.spool: Spool

    async def open(self, limits: SpoolLimits | None = None) -> Spool:
        more: Any = {"observe": self.events.append, "free": lambda: self.free, "clock": lambda: self.now}
        if self.kind == "memory":
            self.spool = MemorySpool(self._place, limits, **more)
        else:
            self.spool = await SqliteSpool.open(self.path, self._place, limits, **more)
        return self.spool

    async def reopen(self, limits: SpoolLimits | None = None) -> Spool:
        """As after a restart; what is in memory is gone."""
        await self.spool.close()
        return await self.open(limits)

    def _place(self, submission: Submission) -> list[Berth]:
        return self.lane(submission)

    async def accept(self, *recipients: str, data: bytes = b"hi\r\n", **more: Any) -> Message:
        """Accept one message, which must succeed."""
        submission = self.submission(*recipients, data=data, **more)
        assert await self.spool.accept([submission]) is None
        return submission.message

    async def large(self) -> Message:
        """Accept one message whose body is a file, on a spool that has files."""
        id = self.spool.new_id(self.now)
        writer = self.spool.writer(id)
        writer.feed(b"x" * INLINE + b"\r\n")
        submission = self.submission(body=await writer.finish())
        submission = replace(submission, message=replace(submission.message, id=id))
        assert await self.spool.accept([submission]) is None
        return submission.message

    def submission(
        self, *recipients: str, data: bytes = b"hi\r\n", sender: str = "a@example.com", body: Body | None = None
    ) -> Submission:
        envelope = Envelope(
            sender=sender, recipients=tuple(Recipient(address=address) for address in recipients or ("b@example.org",))
        )
        prefix = b"Received: by test\r\n"
        body = body or Body(size=len(data), data=data)
        message = Message(
            id=self.spool.new_id(self.now),
            envelope=envelope,
            prefix=prefix,
            size=len(prefix) + body.size,
            source=Source(kind="smtp", listener="internal", client="127.0.0.1"),
            received_at=self.now,
            expires_at=self.now + 5 * 86400,
        )
        return Submission(message=message, body=body)

    async def claim(self, appetite: Appetite = PLENTY) -> list[Lease]:
        return list(await self.spool.claim(appetite, self.now))

    async def one(self) -> Lease:
        """The only lease there is to claim."""
        (lease,) = await self.claim()
        return lease

    async def settle(self, *done: Settlement) -> set[int]:
        return set(await self.spool.settle(done))

    async def state(self, message: Message) -> State | None:
        shown = await self.spool.show(message.id)
        return shown.state if shown else None


def to_lane(lane: str, **more: Any) -> Callable[[Submission], list[Berth]]:
    """A placement of everything into one lane."""
    return lambda submission: [Berth(lane=lane, recipients=submission.message.envelope.recipients, **more)]


def each_to_its_own(submission: Submission) -> list[Berth]:
    """A placement of every recipient into a berth of its own, in a lane named after it."""
    return [Berth(lane=f"{r.address}:1", recipients=(r,)) for r in submission.message.envelope.recipients]


def delivered(lease: Lease, now: float = START, provider: str = "p") -> Settlement:
    """All recipients were taken by the provider."""
    return finished(lease, State.ACCEPTED, now, provider)


def finished(lease: Lease, state: State, now: float = START, provider: str = "p") -> Settlement:
    ended = tuple(
        Ended(recipient=r, state=state, provider=provider, reply="250 ok") for r in lease.entry.owed.recipients
    )
    return Settlement(token=lease.token, ended=ended, events=(attempt(lease, now, provider),))


def attempt(lease: Lease, now: float = START, provider: str = "p") -> TimelineEvent:
    addresses = tuple(recipient.address for recipient in lease.entry.owed.recipients)
    return TimelineEvent(at=now, kind="attempt", provider=provider, recipients=addresses, detail="250 ok")


def owes(lease: Lease, *remainders: Owed, **more: Any) -> Settlement:
    return Settlement(token=lease.token, remainders=remainders, **more)
