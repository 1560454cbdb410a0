"""What people manage while the relay runs: providers, users and tokens, workflows and integrations; what follows.

Built by `running` and `offline` over the spool's database. It joins the file with what was made by hand, and tells the
dispatcher nothing: who builds it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from relay.app.checks import own_sender
from relay.app.plan import Plan
from relay.automation.integrations import provider_of
from relay.compose.senders import LARGEST, MOST, House
from relay.db.errors import SpoolError
from relay.delivery.limits import calendars
from relay.model import Counts, Identity, Provider, Registered, Usage
from relay.spool.sqlite import SqliteSpool
from relay.store.accounts import StoredAccounts
from relay.store.integrations import StoredIntegrations
from relay.store.registry import StoredRegistry
from relay.store.sealing import unlock
from relay.store.workflows import StoredWorkflows


class WrongPlan(SpoolError):
    """What the configuration asks for does not fit what people made: a mistake in it like any other."""


class Managed:
    """`registry`, `accounts`, `workflows`, `integrations`: the ports."""

    def __init__(
        self,
        registry: StoredRegistry,
        accounts: StoredAccounts,
        workflows: StoredWorkflows,
        integrations: StoredIntegrations,
    ) -> None:
        self.registry = registry
        self.accounts = accounts
        self.workflows = workflows
        self.integrations = integrations

    @classmethod
    async def open(cls, spool: SqliteSpool, plan: Plan, now: float) -> Managed:
        """Raises SpoolError: one sentence, the cause and the fix."""
        database, allow_private = spool.database, plan.allow_private
        vault = await unlock(database, plan.secrets)
        return cls(
            await StoredRegistry.open(
                database, vault, plan.providers, now=now, allow_private=allow_private, keep=plan.limits.keep
            ),
            await StoredAccounts.open(database, plan.users),
            await StoredWorkflows.open(database, plan.workflows),
            await StoredIntegrations.open(database, vault, partial(provider_of, allow_private=allow_private)),
        )

    def providers(self) -> Mapping[str, Provider]:
        """By name, as the relay is to work with them now; the servers of registrations, too."""
        providers = {one.provider.name: one.provider for one in self.registry.providers()}
        return {**providers, **self.integrations.providers()}

    def names(self) -> Mapping[int, str]:
        """By id. Those of registrations never change."""
        return {one.id: one.provider.name for one in self.registry.providers()}

    def used(self, now: float) -> Sequence[Usage]:
        """What the providers took today and this month: limits that were not there then count it, too."""
        return [_used(one.provider, self.registry.counts(one.id, now), now) for one in self.registry.providers()]

    def check(self, plan: Plan) -> None:
        """Whether a plan fits what people made. Raises SpoolError: one sentence, the cause and the fix."""
        self.registry.check(plan.providers)
        self.workflows.check(plan.workflows)
        for settings in plan.listeners:
            if settings.auth == "required" and not self.accounts.somebody_sends(plan.users):
                raise WrongPlan(
                    f"listener {settings.name!r} has auth: required, but there are no users who may send: add one with "
                    "relay user add NAME or under users in the configuration, or set auth: none"
                )

    async def adopt(self, plan: Plan, now: float) -> None:
        """A reload. Raises SpoolError, and nothing changed."""
        self.workflows.check(plan.workflows)
        await self.registry.adopt(plan.providers, now)
        self.accounts.adopt(plan.users)
        self.workflows.adopt(plan.workflows)

    async def maintain(self, now: float) -> None:
        """Call every few seconds."""
        await self.accounts.maintain(now)

    async def close(self) -> None:
        """Write what is kept in memory only."""
        await self.accounts.close()
        await self.workflows.close()
        await self.integrations.close()
        await self.registry.close()

    def house(self, plan: Plan) -> House:
        """What composed mail is made with now."""
        fallback = fallback_sender(self.registry.providers(), plan.hostname)
        given = plan.sender
        sender = Identity(address=given.address or fallback.address, name=given.name or fallback.name)
        return House(
            hostname=plan.hostname,
            fallback=fallback,
            sender=sender if given.address or given.name else None,
            identities=plan.identities,
            max_message_size=max((one.max_message_size for one in plan.listeners), default=LARGEST),
            max_recipients=max((one.max_recipients for one in plan.listeners), default=MOST),
            give_up_after=plan.delivery.retry.give_up_after,
            wanted=frozenset(name for route in plan.routes for name, _ in route.match.headers),
        )


def _used(provider: Provider, counts: Counts, now: float) -> Usage:
    day, month = calendars(now, provider.limits.timezone)
    return Usage(provider=provider.name, periods={day.key: counts.today, month.key: counts.month})


def fallback_sender(providers: Sequence[Registered], hostname: str) -> Identity:
    """Of the default provider, which without a choice is the first that mail would go to; else `relay@<hostname>`."""
    usable = [one for one in providers if one.provider.active]
    first = min(usable, key=lambda one: (not one.default, one.provider.priority), default=None)
    return own_sender(first.settings, hostname) if first else Identity(address=f"relay@{hostname}")
