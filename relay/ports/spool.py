"""The spool, and what takes mail from it: the way in, the worker's side, the record of events, limits, transports.

Part of `relay.ports`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

from relay.model import (
    Appetite,
    Berth,
    Body,
    Claim,
    DeliveryOutcome,
    Happening,
    Lease,
    MessageId,
    Provider,
    Reply,
    Reservation,
    Settlement,
    Shipment,
    Spent,
    Submission,
    Usage,
)

Placement = Callable[[Submission], Sequence[Berth]]
"""Which lanes a new message lies in. Pure and fast; given to the spool by `app`, it is the dispatcher's."""

Clock = Callable[[], float]
"""Seconds since the epoch."""

CLAIMED = Reply(code=451, enhanced="4.3.0", text="The idempotency key is in use")
"""What `Intake.accept` answers when a message came with a key that is in use; `Intake.claimed` says by what."""


class BodyWriter(Protocol):
    """Collects one body in wire form; what exceeds 256 KiB goes to a file while it arrives."""

    size: int

    def feed(self, data: bytes) -> bool:
        """Add bytes. True: call `drain` before feeding more."""

    async def drain(self) -> None:
        """Write what has piled up to the file. OSError (disk full, EIO) is the caller's 452 or 451."""

    async def finish(self) -> Body:
        """The whole body; a file is fsynced and so is its folder. OSError as for `drain`.

        Unless `feed` asked for a `drain` at least once it has nothing to do with a disk: it neither waits nor fails.
        """

    async def discard(self) -> None:
        """Forget the body, remove the file. Safe at any time, twice, and after `finish` if nothing accepted it."""


class Intake(Protocol):
    """The way into the spool: listener, api, automation."""

    def new_id(self, now: float) -> MessageId:
        """An id larger than any before, also over restarts and clock steps."""

    def admits(self, size: int) -> Reply | None:
        """None, or why a message of so many bytes (0: unknown) is refused now: 452 4.3.1 full, 451 4.3.0 unhealthy."""

    def writer(self, message: MessageId) -> BodyWriter: ...

    def accept(
        self, batch: Sequence[Submission], *, claim: Claim | None = None, happening: Happening | None = None
    ) -> Awaitable[Reply | None]:
        """None: every one is on stable storage, and so are the claim and what happened; also where no message is, since
        what happened may cause none. A Reply: nothing is, and this is what to tell the client, CLAIMED if it is about
        the key. A future is best: the listener needs no task to wait for one.
        """

    async def claimed(self, owner: str, key: str) -> Claim | None:
        """The idempotency key as it was used within 24 h by a message that was accepted. Raises StorageFailed (`db`)
        when that cannot be read: it is not to be taken for a new one then.
        """


class Work(Protocol):
    """The worker's side of the spool."""

    async def claim(self, appetite: Appetite, now: float) -> Sequence[Lease]:
        """Due entries, round-robin over the lanes that have room, oldest first; and any whose deadline has passed."""

    async def body(self, message: MessageId) -> Body | None:
        """None: it is gone or damaged, which the worker makes a held entry, not an exception."""

    async def settle(self, done: Sequence[Settlement]) -> Collection[int]:
        """Durable on return; the tokens honoured. A token that owns nothing changes nothing."""

    def can_settle(self) -> bool:
        """False once storage failed: what is sent now could not be recorded, and would be sent again."""

    async def wait(self, seconds: float) -> None:
        """Return when something may be claimable, at the latest after so many seconds."""

    def wake(self) -> None:
        """Make `wait` return: there is room again for what could not be claimed before."""


class Happenings(Protocol):
    """The record of events and workflow runs, kept as long and as many as the history of messages."""

    async def happenings(self, *, limit: int, after: str = "", name: str = "") -> tuple[Sequence[Happening], bool]:
        """Newest first, and whether there are more. `after`: the last id of the page before. `name`: exactly."""

    async def happening(self, id: str) -> Happening | None: ...


class Budget(Protocol):
    """Limits shared by all processes of one spool, durable over restarts."""

    async def usage(self, now: float) -> Sequence[Usage]:
        """What counts still. What was reserved and never settled when a process died counts as spent now."""

    async def reserve(self, wanted: Sequence[Reservation]) -> bool:
        """Durable on return; False when storage failed. `Settlement.usage` ends each reservation."""

    async def spend(self, done: Sequence[Spent]) -> bool:
        """End reservations that no settlement belongs to. Durable on return; False when storage failed."""


class Transport(Protocol):
    """A kind of upstream. Never raises for what an upstream did."""

    async def send(self, shipment: Shipment, body: Body) -> Sequence[DeliveryOutcome]:
        """Exactly one outcome for each recipient of the shipment; after `hold` or `replace` perhaps none: not sent."""

    async def probe(self, provider: Provider) -> DeliveryOutcome | None:
        """Connect, EHLO, STARTTLS, AUTH, QUIT. None: all well; else what went wrong (its recipient is empty)."""

    async def replace(self, providers: Sequence[Provider]) -> None:
        """Live reload: connections of providers that changed or went are closed once idle."""

    def hold(self) -> None:
        """The relay stops: finish what is on the wire, begin nothing more."""

    def connections(self) -> Mapping[str, int]:
        """Open connections by provider name."""

    async def close(self) -> None:
        """QUIT on all idle connections, close the rest."""
