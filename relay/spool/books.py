"""What one process knows of its spool in memory, and how mail arrives in it.

Shared by the parts of the SQLite spool, touched on the loop only. What is durable is in the database; this is rebuilt
from it at start.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import apsw

from relay.db.changes import Change
from relay.db.database import Database
from relay.db.errors import StorageFailed, StorageFull, is_unreadable
from relay.db.writer import Operation
from relay.events import Observer, SpoolFailed
from relay.model import Lease, Owed, QueueEntry, State, Submission
from relay.ports import Clock, Placement
from relay.spool import rows
from relay.spool.bodies import BodyCache, BodyFiles
from relay.spool.ids import decode
from relay.spool.lanes import Lanes, route_key
from relay.spool.leases import Held, Ready
from relay.spool.limits import Gauge
from relay.spool.placing import debts
from relay.spool.reserve import Reserve

T = TypeVar("T")


class Arrival:
    """A message on its way into the database, and what is to be known of it once it is there."""

    __slots__ = ("changes", "held", "submission", "waiting")

    def __init__(self, submission: Submission, changes: list[Change], held: list[Held], waiting: list[Owed]) -> None:
        self.submission = submission
        self.changes = changes
        self.held = held
        self.waiting = waiting


@dataclass(slots=True, kw_only=True)
class Books:
    """`leases`: by token. `ready`: those of them no worker has taken. `news`: a claim may find something new."""

    database: Database
    gauge: Gauge
    files: BodyFiles
    cache: BodyCache
    reserve: Reserve
    place: Placement
    observe: Observer
    clock: Clock
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    lanes: Lanes = field(default_factory=Lanes)
    ready: Ready = field(default_factory=Ready)
    leases: dict[int, Held] = field(default_factory=dict)
    tokens: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def board(self, submission: Submission) -> Arrival:
        """Decide where a new message lies, and which of its entries are leased from birth."""
        planned = [(owed, ready and self._unobstructed(owed)) for owed, ready in debts(submission, self.place)]
        number, alone, file = decode(submission.message.id), len(planned) == 1, submission.body.data is None
        changes = rows.arrival(number, submission, [rows.Debt(owed=owed, leased=born) for owed, born in planned])
        held: list[Held] = []
        for part, (owed, born) in enumerate(planned):
            if born:
                lease = Lease(token=next(self.tokens), entry=QueueEntry(id=part, message=submission.message, owed=owed))
                held.append(Held(lease, number, part, owed.due_at, alone=alone, file=file))
        self.files.loose.discard(submission.message.id)
        return Arrival(submission, changes, held, [owed for owed, born in planned if not born])

    def _unobstructed(self, owed: Owed) -> bool:
        """New mail goes to a worker at once unless it would overtake what waits in its lane, or too much does so."""
        if owed.state is not State.QUEUED or self.lanes.busy(owed.lane, owed.due_at):
            return False
        most = self.gauge.limits.unclaimed
        return len(self.ready) + self.gauge.uncommitted < most and self.ready.count(route_key(owed.lane)) * 2 < most

    def land(self, arrival: Arrival) -> None:
        """The message is on stable storage: workers may see it."""
        if arrival.held:
            self.cache.put(arrival.submission.message.id, arrival.submission.body)
        for held in arrival.held:
            self.leases[held.lease.token] = held
            self.ready.put(held)
        for owed in arrival.waiting:
            self.wait_for(owed)
        self.news.set()

    def wait_for(self, owed: Owed) -> None:
        """An entry waits in the database."""
        if owed.state in (State.QUEUED, State.DEFERRED, State.SCHEDULED):
            self.lanes.add(owed.lane, owed.due_at, owed.deadline)
            self.news.set()

    def again(self, operation: Operation, error: Exception | None) -> bool:
        """On a full disk, what leads to room gets the space set aside, if there is some left (hazard G4)."""
        if not isinstance(error, StorageFull) or not self.reserve.give_up():
            return False
        self.database.write(operation)
        return True

    def fails(self, why: str) -> None:
        """No more mail is promised (451) and /readyz says why; what is here goes out as far as it can be recorded."""
        if self.gauge.failure != why:
            self.gauge.failure = why
            self.observe(SpoolFailed(error=why))

    def damaged(self, error: apsw.Error) -> StorageFailed:
        """A page of the database cannot be read: damaged, or not given back by the disk (hazards G5, G6)."""
        self.fails(self.database.damaged(error))
        return StorageFailed(self.gauge.failure)

    def saw(self, error: Exception) -> bool:
        """True when it is a damaged page, of which everybody is told now."""
        if not isinstance(error, apsw.Error) or not is_unreadable(error):
            return False
        self.damaged(error)
        return True

    async def look(self, question: Callable[[apsw.Connection], T]) -> T:
        """Ask the reader for people. StorageFailed when it meets a damaged page."""
        try:
            return await self.database.desk.ask(question)
        except apsw.Error as error:
            if is_unreadable(error):
                raise self.damaged(error) from error
            raise

    def sink(self, arrival: Arrival) -> None:
        """The message did not get into the database: its file goes, and nobody was told of it."""
        if arrival.submission.body.path is not None:
            self.files.remove([arrival.submission.message.id])
