"""What has to happen now and then: probing providers that are out or were idle, and the spool's own upkeep.

Started by `relay.app.running`. The dispatcher says which probes are due, the spool what is stale; here is only decided
who has not been heard of for too long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from relay.delivery.dispatcher import Dispatcher
from relay.delivery.status import ProviderStatus
from relay.model import Health, Provider, Registered
from relay.ports import Clock, Registry

TICK = 0.5
MAINTAIN_EVERY = 5.0
COUNT_EVERY = 1.0

IDLE = 300.0
"""Seconds without a delivery or a check after which an active provider is checked."""
AT_ONCE = 4
"""Checks by the clock at a time: a hundred providers that were added at once are no storm."""
NEW_AT_ONCE = 8
"""While one is new, more: those that answer nothing hold their places for half a minute."""


class Prober(Protocol):
    async def probe(self, provider: Provider) -> Health:
        """Asks it, and tells the dispatcher and the registry."""


class Upkeep:
    """`maintain`: the spool's, and of what people manage. `count`: writes down what providers did."""

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        checks: Prober,
        registry: Registry,
        maintain: Callable[[float], Awaitable[None]],
        count: Callable[[float], Awaitable[None]],
        clock: Clock,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._dispatcher = dispatcher
        self._checks = checks
        self._registry = registry
        self._maintain = maintain
        self._count = count
        self._clock = clock
        self._failed = failed
        self._began = clock()
        self._probes: set[asyncio.Task[None]] = set()
        self._checking: set[str] = set()

    async def run(self) -> None:
        """Until cancelled. An error is reported and does not end it: nothing would ever recover again."""
        maintained = counted = 0.0
        try:
            while True:
                now = self._clock()
                for provider in self._dispatcher.probes_due(now):
                    self._start(self._checks.probe(provider), provider.name)
                await self._guarded(self.look(now))
                if not 0 <= now - maintained < MAINTAIN_EVERY:
                    maintained = now
                    await self._guarded(self._maintain(now))
                if not 0 <= now - counted < COUNT_EVERY:
                    counted = now
                    await self._guarded(self._count(now))
                await asyncio.sleep(TICK)
        finally:
            for task in self._probes:
                task.cancel()

    async def look(self, now: float) -> None:
        """What delivery found out is kept, and who has not been heard of is asked."""
        statuses = {status.name: status for status in self._dispatcher.statuses(now)}
        for one in sorted(self._registry.providers(), key=_heard):
            status = statuses.get(one.provider.name)
            if status is not None and status.out and one.health.healthy is not False:
                await self._registry.checked(status.name, Health(healthy=False, checked_at=now, detail=status.detail))
            elif len(self._checking) < _places(one) and self._is_due(one, status, now):
                self._checking.add(one.provider.name)
                self._start(self._check(one.provider), one.provider.name)

    def _is_due(self, one: Registered, status: ProviderStatus | None, now: float) -> bool:
        return one.provider.name not in self._checking and is_due(one, status, now, self._began)

    async def _check(self, provider: Provider) -> None:
        try:
            await self._checks.probe(provider)
        finally:
            self._checking.discard(provider.name)

    def _start(self, job: Awaitable[Any], name: str) -> None:
        task = asyncio.create_task(self._guarded(job), name=f"probe {name}")
        self._probes.add(task)
        task.add_done_callback(self._probes.discard)

    async def _guarded(self, job: Awaitable[Any]) -> None:
        try:
            await job
        except Exception as error:
            self._failed(error)


def _places(one: Registered) -> int:
    return NEW_AT_ONCE if one.health.checked_at is None else AT_ONCE


def _heard(one: Registered) -> tuple[float, float]:
    """Who was never heard of goes first, the newest before others, then by time: hosts that answer nothing take long,
    and shall not keep the others waiting for ever.
    """
    return one.health.checked_at or 0.0, -one.updated_at


def is_due(one: Registered, status: ProviderStatus | None, now: float, began: float) -> bool:
    """Whether an active provider should be checked. One that is out is probed by the dispatcher's time.

    One that was made or changed by hand at once. One of the file, which whoever runs the relay has just written, gets
    as long as an idle one from the start on: each check is a login that some providers count.
    """
    if not one.provider.active or one.locked or status is None or status.out:
        return False
    heard = one.health.checked_at
    if heard is None:
        if one.origin != "file":
            return True
        heard = began
    return not 0 <= now - heard < IDLE
