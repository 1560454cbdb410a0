"""Whose turn it is to render. A rule that takes its time, for every event again, may not take that of all the others.

Used by `renderer`, which says what a job took. It knows jobs by what they are made of, and never looks at an event.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from relay.automation.jobs import Job

_REMEMBERED = 60.0  # seconds after which a job that took long is given the benefit of the doubt
_MOST = 1000  # jobs of which that is remembered


class Turns:
    """At most `most` at once; of those with a job that lately took long one less, so that others always go on."""

    def __init__(self, most: int) -> None:
        self.all = asyncio.Semaphore(most)
        self.slow = asyncio.Semaphore(max(1, most - 1))
        self._known: OrderedDict[int, float] = OrderedDict()

    def mark(self, job: Job) -> bool:
        """It took long. True when that is news."""
        now = asyncio.get_running_loop().time()
        news = self._known.pop(hash(job), 0.0) <= now
        self._known[hash(job)] = now + _REMEMBERED
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return news

    def known(self, jobs: Sequence[Job]) -> bool:
        now = asyncio.get_running_loop().time() if self._known else 0.0
        return bool(self._known) and any(self._known.get(hash(job), 0.0) > now for job in jobs)


class Turn:
    """Of one event. Whoever took it ends it, also when taking it was cancelled."""

    def __init__(self, turns: Turns, jobs: Sequence[Job]) -> None:
        self._turns, self._jobs = turns, jobs
        self._held: list[asyncio.Semaphore] = []

    async def take(self) -> None:
        """Waits until it comes. What others showed meanwhile of its jobs counts, too."""
        while True:
            slow = self._turns.known(self._jobs)
            if slow:
                await self._hold(self._turns.slow)
            await self._hold(self._turns.all)
            if slow or not self._turns.known(self._jobs):
                return
            self.end()

    async def justify(self) -> None:
        """Waits again, among the slow, when its jobs turned out to be."""
        if self._turns.slow not in self._held and self._turns.known(self._jobs):
            self.end()
            await self.take()

    def end(self) -> None:
        while self._held:
            self._held.pop().release()

    async def _hold(self, semaphore: asyncio.Semaphore) -> None:
        await semaphore.acquire()
        self._held.append(semaphore)
