"""What has to happen now and then: probing providers that are out, and the spool's own upkeep.

Started by `relay.app.running`. It decides nothing: the dispatcher says which probes are due, the spool what is stale.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from relay.delivery.dispatcher import Dispatcher
from relay.model import Provider
from relay.ports import Clock, Transport

TICK = 0.5
MAINTAIN_EVERY = 5.0


class Upkeep:
    """`maintain`: the spool's; `recovered`: called after every probe, since lanes may move now."""

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        transport: Transport,
        maintain: Callable[[float], Awaitable[None]],
        recovered: Callable[[], None],
        clock: Clock,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._dispatcher = dispatcher
        self._transport = transport
        self._maintain = maintain
        self._recovered = recovered
        self._clock = clock
        self._failed = failed
        self._probes: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled. An error is reported and does not end it: nothing would ever recover again."""
        maintained = 0.0
        try:
            while True:
                now = self._clock()
                for provider in self._dispatcher.probes_due(now):
                    self._start(provider)
                if not 0 <= now - maintained < MAINTAIN_EVERY:
                    maintained = now
                    await self._guarded(self._maintain(now))
                await asyncio.sleep(TICK)
        finally:
            for task in self._probes:
                task.cancel()

    def _start(self, provider: Provider) -> None:
        task = asyncio.create_task(self._guarded(self._probe(provider)), name=f"probe {provider.name}")
        self._probes.add(task)
        task.add_done_callback(self._probes.discard)

    async def _probe(self, provider: Provider) -> None:
        outcome = await self._transport.probe(provider)
        self._dispatcher.probed(provider, outcome, self._clock())
        self._recovered()

    async def _guarded(self, job: Awaitable[None]) -> None:
        try:
            await job
        except Exception as error:
            self._failed(error)
