"""What a relay is made of, but for what runs: the spool, the dispatcher, the way out, and what people manage.

Opened by `running`, and by `offline` for commands while none runs. It joins the rooms and decides nothing about mail.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Set
from random import Random

from relay import __version__
from relay.api.parts import ApiParts, Readiness
from relay.app.checks import ProviderChecks
from relay.app.managed import Managed
from relay.app.plan import Plan
from relay.automation.firing import Automation
from relay.automation.renderer import Renderer
from relay.db.errors import StorageFailed, StorageFull
from relay.delivery.dispatcher import Dispatcher
from relay.events import Event, Observer
from relay.model import Provider, State
from relay.ports import Filter
from relay.posting import Post
from relay.spool.sqlite import SqliteSpool
from relay.upstream.smtp import SmtpTransport


class Core:
    """`plan`: what it runs by now. `providers`: those that exist now, of the file and of the API, by name.

    `house`: what composed mail is made with now.
    """

    def __init__(
        self, plan: Plan, spool: SqliteSpool, dispatcher: Dispatcher, managed: Managed, observe: Observer
    ) -> None:
        self.plan = plan
        self.spool = spool
        self.dispatcher = dispatcher
        self.managed = managed
        self._observe = observe
        self.providers: Mapping[str, Provider] = {}
        self._names: Mapping[int, str] = {}
        self.house = managed.house(plan)
        self.post = Post(
            intake=spool,
            house=lambda: self.house,
            capturing=lambda: self.capturing,
            observe=observe,
            clock=time.time,
        )
        self.renderer = Renderer()
        self.automation = Automation(managed.workflows, self.renderer, self.post)
        self._retrying: set[asyncio.Task[None]] = set()
        self.transport = SmtpTransport(plan.hostname)
        self.checks = ProviderChecks(
            transport=self.transport,
            dispatcher=dispatcher,
            budget=spool,
            registry=managed.registry,
            hostname=plan.hostname,
            observe=self.observe,
            recovered=spool.wake,
        )

    @classmethod
    async def open(cls, plan: Plan, *, rng: Random, observe: Observer) -> Core:
        """Raises SpoolError and leaves nothing open."""
        dispatcher = Dispatcher(plan.providers, plan.routes, plan.delivery, rng=rng, observe=observe)
        spool = await SqliteSpool.open(plan.spool, dispatcher.place, plan.limits, observe=observe)
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(spool.close)
            now = time.time()
            core = cls(plan, spool, dispatcher, await Managed.open(spool, plan, now), observe)
            await core.apply()
            undo.pop_all()
        return core

    @property
    def capturing(self) -> bool:
        """No provider exists nor did: mail is accepted and kept, and goes nowhere."""
        return self.managed.registry.empty()

    async def apply(self) -> None:
        """What the plan and what people made say now is in force."""
        now = time.time()
        stored = await self.spool.usage(now) if self._limited_anew() else ()
        # From here on at once: nothing may go by a new name or limit before it is known what was used of it.
        plan, before, fresh, names = self.plan, self.providers, self._limited_anew(), self.managed.names()
        self.providers, self.house = self.managed.providers(), self.managed.house(plan)
        renamed = {old: names[id] for id, old in self._names.items() if names.get(id, old) != old}
        self.dispatcher.rename(renamed)
        self.dispatcher.replace(self.providers.values(), plan.routes, plan.delivery, now=now, capture=self.capturing)
        self.dispatcher.load([used for used in stored if used.provider in fresh - set(renamed.values())])
        self.dispatcher.load([used for used in self.managed.used(now) if used.provider in fresh])
        self._names = names
        if renamed:
            await self.managed.registry.renamed(renamed)
        await self.transport.replace(tuple(self.providers.values()))
        self.spool.wake()
        self._hurry(before, now)

    def _hurry(self, before: Mapping[str, Provider], now: float) -> None:
        """What failed at a provider that is another now, or gone, need not wait any longer; nor what failed at one that
        is out, when there is a new one.
        """
        failed = {name for name, provider in before.items() if self.providers.get(name) != provider}
        if any(one.active and not (name in before and before[name].active) for name, one in self.providers.items()):
            failed |= {status.name for status in self.dispatcher.statuses(now) if status.out}
        if before and failed:
            task = asyncio.create_task(self._retry(failed), name="retrying what failed")
            self._retrying.add(task)
            task.add_done_callback(self._retrying.discard)

    async def _retry(self, failed: Set[str]) -> None:
        with contextlib.suppress(StorageFull, StorageFailed):  # it goes at its time, then
            for name in failed:
                where = Filter(provider=name, states=(State.DEFERRED,))
                await self.spool.act("retry", where, time.time())

    def _limited_anew(self) -> Set[str]:
        """Those with another name, or other limits, than is in force."""
        known, wanted = self.providers, self.managed.providers()
        return {name for name, one in wanted.items() if name not in known or known[name].limits != one.limits}

    async def adopt(self, plan: Plan) -> None:
        """A reload. Raises SpoolError, and nothing changed."""
        await self.managed.adopt(plan, time.time())
        self.plan = plan
        self.spool.limits = plan.limits
        await self.apply()

    async def maintain(self, now: float) -> None:
        """Call every few seconds."""
        await self.spool.maintain(now)
        await self.managed.maintain(now)

    def parts(
        self, *, readiness: Callable[[], Awaitable[Readiness]], metrics: Callable[[], Awaitable[bytes]]
    ) -> ApiParts:
        return ApiParts(
            desk=self.spool,
            explain=self.dispatcher,
            post=self.post,
            registry=self.managed.registry,
            accounts=self.managed.accounts,
            checks=self.checks,
            house=lambda: self.house,
            apply=self.apply,
            observe=self.observe,
            readiness=readiness,
            metrics=metrics,
            providers=lambda: self.providers.keys(),
            clock=time.time,
            version=__version__,
            statuses=lambda: self.dispatcher.statuses(time.time()),
            source=str(self.plan.source or "the configuration file"),
            allow_private=self.plan.allow_private,
            workflows=self.managed.workflows,
            integrations=self.managed.integrations,
            happenings=self.spool,
            automation=self.automation,
        )

    def observe(self, event: Event) -> None:
        """For whoever tells what happened with providers: they are counted."""
        self.managed.registry.observe(event)
        self._observe(event)

    async def close(self) -> None:
        """What waits is written; nothing is sent any more."""
        await self.renderer.close()
        await self.transport.close()
        if self._retrying:
            await asyncio.wait(self._retrying)
        await self.managed.close()
        await self.spool.close()
