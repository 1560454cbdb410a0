"""A spool on disk to damage: mail in every state, made once by the real spool, and its files to put anywhere.

Used by the spool target. What it holds is known, so that who reads a damaged copy can tell what it should have been.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from relay.model import (
    Appetite,
    Berth,
    Body,
    Ended,
    Envelope,
    Lease,
    Message,
    MessageId,
    Owed,
    Recipient,
    Reservation,
    Settlement,
    Source,
    State,
    Submission,
    TimelineEvent,
)
from relay.ports import Filter
from relay.spool.sqlite import SqliteSpool

START = 1_795_000_000.0
LATER = START + 600.0
ROOM = 1 << 40
PLENTY = Appetite(total=50)
MEMORY = Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir())
LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 15_000


@dataclass
class Image:
    """Files by their name beside the database. `bodies`: what each message must be read as. `large`: a copy to link."""

    files: dict[str, bytes] = field(default_factory=dict)
    bodies: dict[MessageId, bytes] = field(default_factory=dict)
    large: Path | None = None

    def put(self, folder: Path) -> Path:
        """Write them; gives back the database's path."""
        (folder / "spool.db.bodies").mkdir(parents=True)
        (folder / "spool.db.reserve").touch()  # space set aside costs time, and is no part of this
        for name, data in self.files.items():
            if self.large is not None and "/" in name:  # the large body is a link to one copy: it is rarely damaged
                os.link(self.large, folder / name)
            else:
                (folder / name).write_bytes(data)
        return folder / "spool.db"


async def opened(path: Path, now: float = LATER) -> SqliteSpool:
    def place(submission: Submission) -> list[Berth]:
        return [Berth(lane=f"{n}:1", recipients=(r,)) for n, r in enumerate(submission.message.envelope.recipients)]

    return await SqliteSpool.open(path, place, free=lambda: ROOM, clock=lambda: now)


async def image() -> tuple[Image, Image]:
    """As after a clean stop, and as a crash leaves it: with a log that was not copied yet, and leases."""
    folder = Path(tempfile.mkdtemp(dir=MEMORY))
    try:
        made = Image()
        spool = await opened(made.put(folder), START)
        await fill(spool, made)
        crashed = Image(files(folder), made.bodies)
        await spool.close()
        crashed.large = MEMORY / f"fuzz-large-{os.getpid()}"
        crashed.large.write_bytes(LARGE)
        atexit.register(crashed.large.unlink, missing_ok=True)
        return Image(files(folder), made.bodies, crashed.large), crashed
    finally:
        shutil.rmtree(folder)


def files(folder: Path) -> dict[str, bytes]:
    wanted = [folder / "spool.db", folder / "spool.db-wal", *(folder / "spool.db.bodies").iterdir()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in wanted if path.exists()}


async def fill(spool: SqliteSpool, made: Image) -> None:
    for n in range(8):
        await accept(spool, made, b"Subject: %d\r\n\r\nhello\r\n" % n)
    await accept(spool, made, LARGE)
    leases = list(await spool.claim(PLENTY, START))
    fates: list[Callable[[Lease], Settlement]] = [again, delivered, held, pinned, delivered, again]
    settled = [fate(lease) for fate, lease in zip(fates * 2, leases, strict=False)]
    await spool.reserve([Reservation(id=1, provider="p", amount=2, at=START, periods=("day:2026-11-21",))])
    await spool.settle(settled)
    await spool.act("hold", Filter(id=leases[12].entry.message.id), START)
    await spool.act("cancel", Filter(id=leases[14].entry.message.id), START)


async def accept(spool: SqliteSpool, made: Image, data: bytes) -> None:
    message = spool.new_id(START)
    writer = spool.writer(message)
    writer.feed(data)
    body: Body = await writer.finish()
    recipients = (Recipient(address="b@example.org", notify="NEVER"), Recipient(address="ü@example.org"))
    envelope = Envelope(sender="a@example.com", recipients=recipients, utf8=True, envid="x")
    prefix = b"Received: by test\r\n"
    whole = Message(
        id=message, envelope=envelope, prefix=prefix, size=len(prefix) + body.size, received_at=START,
        source=Source(kind="smtp", listener="internal", client="127.0.0.1"), expires_at=START + 5 * 86400,
    )  # fmt: skip
    made.bodies[message] = data
    assert await spool.accept([Submission(message=whole, body=body)]) is None


def delivered(lease: Lease) -> Settlement:
    ended = tuple(Ended(recipient=r, state=State.ACCEPTED, provider="p", reply="250 ok") for r in who(lease))
    event = TimelineEvent(at=START, kind="attempt", provider="p", recipients=("b@example.org",), detail="250 ok")
    return Settlement(token=lease.token, ended=ended, events=(event,))


def again(lease: Lease) -> Settlement:
    return owes(lease, state=State.DEFERRED, tries=2, due_at=START + 60, avoid=("p", "q"), reason="p: 451 later")


def held(lease: Lease) -> Settlement:
    return owes(lease, state=State.HELD, reason="held by an operator")


def pinned(lease: Lease) -> Settlement:
    return owes(lease, state=State.QUEUED, pin="p", refused=("q",), warned=True)


def owes(lease: Lease, **changed: object) -> Settlement:
    owed: Owed = replace(lease.entry.owed, **changed)  # type: ignore[arg-type]
    return Settlement(token=lease.token, remainders=(owed,))


def who(lease: Lease) -> tuple[Recipient, ...]:
    return lease.entry.owed.recipients
