"""How much the spool takes, and what it answers when it takes no more. Shared by both spools.

Used at every acceptance. It measures nothing itself: sizes and free bytes are told to it.
"""

from __future__ import annotations

from msgspec import Struct

from relay.model import Happening, Reply

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30

FULL = Reply(code=452, enhanced="4.3.1", text="Insufficient storage, try again later")
BUSY = Reply(code=452, enhanced="4.3.1", text="Too many messages at once, try again later")
BROKEN = Reply(code=451, enhanced="4.3.0", text="Storage failed, try again later")

CLAIMED_FOR = 86400.0
"""Seconds that an idempotency key is in use."""


class SpoolLimits(Struct, frozen=True, kw_only=True):
    """`low_disk`: free bytes below which nothing is taken, max(512 MiB, 2 x the largest message).

    `max_size`: of live messages, in bytes. `keep`, `max_messages`: of history, and of what happened, seconds and rows
    of each. `uncommitted`: messages on their way to the disk, those that came one by one and those in batches each.
    `unclaimed`: new mail kept ready for a worker. `cache`: bytes of their bodies.
    """

    max_size: int = 10 * GiB
    low_disk: int = 512 * MiB
    keep: float = 7 * 86400.0
    max_messages: int = 1_000_000
    captured_messages: int = 10_000
    captured_bytes: int = GiB
    uncommitted: int = 1000
    unclaimed: int = 1000
    cache: int = 32 * MiB


def weight(happening: Happening | None) -> int:
    """What it adds to the size of its messages when they are admitted. Like their history it is not live."""
    return 0 if happening is None else len(happening.outcome)


class Gauge:
    """Live bytes, free bytes, and what follows from them for new mail.

    `alone`, `in_batches`: messages on their way to the disk, by whether they came with others. Each have a room of
    their own: a large event would else refuse everybody's mail until it is written, and find no room while many mail.
    `uncounted`: ids of messages that were there at start and are not in `live` yet, see `tally`.
    """

    def __init__(self, limits: SpoolLimits, free: int, live: int = 0) -> None:
        self.limits = limits
        self.live = live
        self.free = free
        self.alone = 0
        self.in_batches = 0
        self.uncounted = range(0)
        self.failure = ""

    def admits(self, size: int) -> Reply | None:
        """None, or why a message of so many bytes (0: unknown) is refused."""
        if self.failure:
            return BROKEN
        if self.live + size > self.limits.max_size or self.free - size < self.limits.low_disk:
            return FULL
        return None

    def takes(self, messages: int, size: int) -> Reply | None:
        """As `admits`, for so many messages that are here now. None at all count as a tiny one: what came instead of
        them is written, too.
        """
        before = self.in_batches if messages > 1 else self.alone
        if before + (messages or 1) > self.limits.uncommitted:
            return BUSY
        return self.admits(size or 1)

    @property
    def uncommitted(self) -> int:
        return self.alone + self.in_batches

    def begin(self, messages: int) -> None:
        """So many are on their way to the disk."""
        if messages > 1:
            self.in_batches += messages
        else:
            self.alone += 1

    def end(self, messages: int) -> None:
        """They are there, or will not be."""
        if messages > 1:
            self.in_batches -= messages
        else:
            self.alone -= 1

    def grow(self, size: int) -> None:
        """A message came; free bytes are only measured now and then, so it counts there, too."""
        self.live += size
        self.free -= size

    def shrink(self, number: int, size: int) -> None:
        """The message with this id is no more."""
        if number not in self.uncounted:
            self.live -= size
