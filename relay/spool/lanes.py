"""Which lanes have waiting entries and when the first of each is due: the map that makes a claim O(claimed).

Used by `work`. It may believe an entry is due that is gone (a claim finds out), never that one is later than it is.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping

NEVER = float("inf")
OVERDUE = 20
"""Entries whose deadline has passed that one claim hands out, whatever the room and the total."""


def route_key(lane: str) -> str:
    """The part of "<route key>:<source bucket>" that room is given to."""
    return lane.partition(":")[0]


class Lanes:
    """Lanes due now, by route key and in turn; lanes due later, by time."""

    def __init__(self) -> None:
        self._first: dict[str, float] = {}
        self._later: list[tuple[float, str]] = []
        self._due: dict[str, dict[str, None]] = {}
        self.deadline = NEVER

    def add(self, lane: str, due_at: float, deadline: float) -> None:
        """An entry waits."""
        if due_at < self._first.get(lane, NEVER):
            self._first[lane] = due_at
            heapq.heappush(self._later, (due_at, lane))
        self.deadline = min(self.deadline, deadline)

    def refresh(self, lane: str, due_at: float) -> None:
        """What the queue says is first in the lane now; NEVER when nothing is."""
        self._due.get(route_key(lane), {}).pop(lane, None)
        self._first.pop(lane, None)
        if due_at < NEVER:
            self.add(lane, due_at, NEVER)

    def busy(self, lane: str, now: float) -> bool:
        """True when something waits in the lane that is due: new mail must not overtake it."""
        return self._first.get(lane, NEVER) <= now

    def next_due(self, now: float) -> float:
        """When a lane, or a deadline, comes due that is not yet. One that is and could not be claimed does not count:
        a claim at once would find it no other.
        """
        self._ripen(now)
        return min(self._later[0][0] if self._later else NEVER, self.deadline if self.deadline > now else NEVER)

    def pick(self, total: int, room: Mapping[str, int], now: float) -> dict[str, int]:
        """How many to ask of which lane: at most `total`, within the room of each route key, one each before two."""
        self._ripen(now)
        left = dict(room)
        lanes = self._chosen(total, left)
        wanted = dict.fromkeys(lanes, 1)
        for lane in _again(lanes, total - len(lanes), left):
            wanted[lane] += 1
        return wanted

    def _ripen(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            due_at, lane = heapq.heappop(self._later)
            if self._first.get(lane) == due_at:
                self._due.setdefault(route_key(lane), {})[lane] = None

    def _chosen(self, total: int, left: dict[str, int]) -> list[str]:
        """The next lanes in turn, over route keys that have room; each goes to the end of its queue."""
        chosen: list[str] = []
        turns = deque((key, len(lanes)) for key, lanes in self._due.items() if lanes and left.get(key, 1) > 0)
        while turns and len(chosen) < total:
            key, unseen = turns.popleft()
            lanes = self._due.pop(key)
            lane = next(iter(lanes))
            lanes[lane] = lanes.pop(lane)
            self._due[key] = lanes
            chosen.append(lane)
            if spend(left, key) and unseen > 1:
                turns.append((key, unseen - 1))
        return chosen


def spend(left: dict[str, int], key: str) -> bool:
    """Use one place of the key's room, if it is limited; True when there is more."""
    if key not in left:
        return True
    left[key] -= 1
    return left[key] > 0


def _again(lanes: list[str], extra: int, left: dict[str, int]) -> list[str]:
    """The same lanes round after round, as long as there is room."""
    more: list[str] = []
    turns = deque(lanes)
    while turns and len(more) < extra:
        lane = turns.popleft()
        key = route_key(lane)
        if left.get(key, 1) > 0:
            more.append(lane)
            spend(left, key)
            turns.append(lane)
    return more
