"""What this process has leased, and the part of it that no worker has taken yet.

Used by the parts of the SQLite spool, on the loop. Leases live in memory only: the lock on the spool proves that nobody
else has any, so at the next start every one is void.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from relay.model import Lease
from relay.spool.lanes import route_key, spend

NOBODY_ENDED = 99


class Held:
    """A lease and what the spool must know to settle it without asking the database.

    `number`, `part`: its row. `alone`: the message has no other entry, and never will have while this one is leased.
    `best`: rank of the first state in order among recipients that ended earlier. `file`: its body is a file.
    """

    __slots__ = ("alone", "best", "file", "lease", "number", "overdue", "part", "since", "wish")

    def __init__(self, lease: Lease, number: int, part: int, since: float, *, alone: bool, file: bool) -> None:
        self.lease = lease
        self.number = number
        self.part = part
        self.since = since
        self.alone = alone
        self.file = file
        self.best = NOBODY_ENDED
        self.overdue = False
        self.wish = ""


class Ready:
    """Leases that no worker has taken: by route key, by lane, oldest first; lanes take turns."""

    def __init__(self) -> None:
        self._lanes: dict[str, dict[str, deque[Held]]] = {}
        self._overdue: deque[Held] = deque()
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(self._counts.values()) + len(self._overdue)

    def __iter__(self) -> Iterator[Held]:
        yield from self._overdue
        for lanes in self._lanes.values():
            for queue in lanes.values():
                yield from queue

    def count(self, key: str) -> int:
        return self._counts.get(key, 0)

    def put(self, held: Held) -> None:
        if held.overdue:
            self._overdue.append(held)
            return
        lane = held.lease.entry.owed.lane
        key = route_key(lane)
        self._counts[key] = self.count(key) + 1
        lanes = self._lanes.setdefault(key, {})
        if lane in lanes:
            lanes[lane].append(held)
        else:
            lanes[lane] = deque((held,))

    def available(self, total: int, room: Mapping[str, int]) -> int:
        """How many `take` would give, up to `total`."""
        return min(total, sum(min(count, room.get(key, count)) for key, count in self._counts.items()))

    def take(self, total: int, room: Mapping[str, int]) -> list[Held]:
        """The overdue ones, then at most `total` within the room of each route key: lanes in turn."""
        taken = list(self._overdue)
        self._overdue.clear()
        if not self._lanes:
            return taken
        left, most = dict(room), total + len(taken)
        turns = deque(key for key in self._lanes if left.get(key, 1) > 0)
        while turns and len(taken) < most:
            key = turns.popleft()
            taken.append(self._next(key))
            if spend(left, key) and key in self._lanes:
                turns.append(key)
        return taken

    def _next(self, key: str) -> Held:
        """The oldest of the key's next lane; lane and key go to the end of their queues."""
        lanes = self._lanes.pop(key)
        lane = next(iter(lanes))
        queue = lanes.pop(lane)
        held = queue.popleft()
        if queue:
            lanes[lane] = queue
        if lanes:
            self._lanes[key] = lanes
        self._counts[key] -= 1
        return held

    def drain(self, before: float) -> list[Held]:
        """Take out what has been lying here since before that time."""
        everything = list(self)
        self._lanes.clear()
        self._overdue.clear()
        self._counts.clear()
        for held in everything:
            if held.since >= before:
                self.put(held)
        return [held for held in everything if held.since < before]
