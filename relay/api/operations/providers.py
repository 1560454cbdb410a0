"""What people can do with providers, over plain JSON-able data.

Called by the resource; what comes in has been judged as far as the request goes. It asks the registry and the checks,
and puts every change in force; refusals are `Refusal`. It never shows a password, nor opens a connection by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pydantic import BaseModel

from relay.api import provider_answers as answers
from relay.api.problem import Refusal
from relay.api.provider_views import facts, new_password, taken
from relay.delivery.status import ProviderStatus
from relay.events import Changed, Observer
from relay.model import ProviderSettings, Registered
from relay.ports import Checks, Clock, NameTaken, ReadOnly, Registry
from relay.smtp.hosts import forbidden

JSON = dict[str, Any]

# Names of the API, and those of ProviderSettings.
_SETTINGS = {
    "name": "name",
    "smtp_host": "host",
    "smtp_port": "port",
    "smtp_username": "username",
    "smtp_password": "password",  # nosec B105 - a name
    "smtp_use_tls": "use_tls",
    "smtp_use_ssl": "use_ssl",
    "from_email": "from_email",
    "from_name": "from_name",
    "reply_to": "reply_to",
    "daily_limit": "daily_limit",
    "monthly_limit": "monthly_limit",
    "rate_limit_per_minute": "rate_limit_per_minute",
    "priority": "priority",
    "is_active": "active",
}
_TEXTS = frozenset(f.name for f in fields(ProviderSettings) if f.type == "str")


@dataclass(frozen=True, slots=True, kw_only=True)
class Providers:
    """`who` is for the audit log. `apply`, `statuses`, `source` and `allow_private`: as in ApiParts."""

    registry: Registry
    checks: Checks
    apply: Callable[[], Awaitable[None]]
    observe: Observer
    clock: Clock
    statuses: Callable[[], Sequence[ProviderStatus]]
    source: str
    allow_private: bool
    # What is merged is read, changed and written: one at a time, or one of two changes at once would be lost.
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    # Looking.

    def list(self, where: Mapping[str, Collection[object]]) -> Sequence[JSON]:
        """`where`: key of a row to the values it may have; none: any."""
        wanted = {key: values for key, values in where.items() if values}
        every = self._every()
        return [taken(answers.Row, row) for row in every if all(row[key] in values for key, values in wanted.items())]

    def show(self, id: int) -> JSON:
        everything = self._facts(self._find(id))
        unhealthy = everything["health_status"] == "unhealthy"
        return taken(answers.Unhealthy if unhealthy else answers.One, everything)

    def statistics(self) -> Sequence[JSON]:
        return [taken(answers.Statistics, one) for one in self._every()]

    def health(self) -> Sequence[JSON]:
        return [taken(answers.HealthRow, one) for one in self._every()]

    # Changing.

    async def create(self, given: Mapping[str, Any], who: str) -> JSON:
        base = ProviderSettings(name=given["name"], host=given["smtp_host"])
        if given.get("smtp_use_ssl") and "smtp_use_tls" not in given:
            base = replace(base, use_tls=False)  # its default, which nobody asked for
        settings = self._merged(base, given)
        async with self.changing:
            with self._refusals(settings.name):
                default = bool(given.get("is_default"))
                made = await self.registry.add(settings, default=default, now=self.clock())
            await self._changed("provider added", settings.name, who)
        return self._answer(answers.Made, made.id)

    async def update(self, id: int, given: Mapping[str, Any], who: str) -> JSON:
        await self._change(id, given, "provider changed", who)
        return self._answer(answers.Updated, id)

    async def update_credentials(self, id: int, given: Mapping[str, Any], who: str) -> JSON:
        await self._change(id, given, "provider credentials changed", who)
        return taken(answers.Credentials, new_password(self._facts(self._find(id))))

    async def activate(self, id: int, who: str) -> JSON:
        one = self._find(id)
        if one.locked:
            fix = "give the password again by update_credentials, or give the relay its key back"
            raise Refusal(409, f"provider {one.settings.name} cannot be used: {one.locked}; {fix}")
        await self._change(id, {"is_active": True}, "provider activated", who)
        return {"message": "Provider activated successfully"}

    async def deactivate(self, id: int, who: str) -> JSON:
        await self._change(id, {"is_active": False}, "provider deactivated", who)
        return {"message": "Provider deactivated successfully"}

    async def remove(self, id: int, who: str) -> None:
        """Its name is free again; mail that waits for it is routed anew."""
        async with self.changing:
            name = self._ours(self._find(id)).settings.name
            with self._refusals(name):
                await self.registry.remove(id, self.clock())
            await self._changed("provider removed", name, who)

    async def _change(self, id: int, given: Mapping[str, Any], what: str, who: str) -> None:
        """Merge what is given into what is there. A provider of the file can only become the default, or not be it."""
        async with self.changing:
            one = self._find(id)
            if given.keys() & _SETTINGS.keys():
                self._ours(one)
            settings = self._merged(one.settings, given)
            with self._refusals(settings.name):
                default = given.get("is_default", one.default)
                await self.registry.change(id, settings, default=default, now=self.clock())
            await self._changed(what, settings.name, who)
        self.checks.soon(settings.name)

    async def _changed(self, what: str, name: str, who: str) -> None:
        self.observe(Changed(who=who, what=what, target=name))
        await self.apply()

    def _merged(self, old: ProviderSettings, given: Mapping[str, Any]) -> ProviderSettings:
        said = {_SETTINGS[key]: value for key, value in given.items() if key in _SETTINGS}
        said = {name: "" if value is None and name in _TEXTS else value for name, value in said.items()}
        settings = replace(old, **said)
        if settings.use_tls and settings.use_ssl:
            fix = (
                "set smtp_use_tls for STARTTLS, or smtp_use_ssl for TLS from the first byte, and the other one to false"
            )
            raise Refusal(400, f"smtp_use_tls and smtp_use_ssl exclude each other: {fix}")
        if not settings.host:
            raise Refusal(422, "what is stored of it is damaged", [("smtp_host", "set all of it again, or remove it")])
        if "host" in said and not self.allow_private and (why := forbidden(settings.host)):
            fix = "name a public host, or let providers into private networks by http.allow_private_providers: true"
            raise Refusal(422, "smtp_host may not lead into a private network", [("smtp_host", f"{why}: {fix}")])
        return settings

    # Asking.

    async def check(self, id: int) -> JSON:
        """Connect, TLS, AUTH, now."""
        one = self._find(id)
        health = await self.checks.check(one)
        everything = facts(replace(one, health=health), self.registry.counts(id, self.clock()), None)
        return taken(answers.Checkup, everything)

    async def test(self, id: int, recipient: str, who: str) -> tuple[bool, JSON]:
        """Whether a real mail was taken, and what to answer."""
        one = self._find(id)
        done = await self.checks.test(one, recipient)
        self.observe(Changed(who=who, what="provider tested", target=one.settings.name))
        common = {"provider_name": one.settings.name, "response_time": round(done.seconds, 2)}
        if done.error:
            return False, {"success": False, "error": done.error, **common}
        said = {"success": True, "message": "Test email sent successfully", **common, "message_id": done.message_id}
        return True, said

    # Inside.

    def _every(self) -> Sequence[JSON]:
        now, statuses = self.clock(), self._by_name()
        return [
            facts(one, self.registry.counts(one.id, now), statuses.get(one.settings.name))
            for one in self.registry.providers()
        ]

    def _facts(self, one: Registered) -> JSON:
        counts = self.registry.counts(one.id, self.clock())
        return facts(one, counts, self._by_name().get(one.settings.name))

    def _answer(self, answer: type[BaseModel], id: int) -> JSON:
        return taken(answer, self._facts(self._find(id)))

    def _by_name(self) -> Mapping[str, ProviderStatus]:
        return {status.name: status for status in self.statuses()}

    def _find(self, id: int) -> Registered:
        found = self.registry.find(id)
        if found is None:
            raise _unknown()
        return found

    def _ours(self, one: Registered) -> Registered:
        """It, unless it stands in the file."""
        if one.origin == "file":
            raise self._read_only(one.settings.name)
        return one

    def _read_only(self, name: str) -> Refusal:
        return Refusal(409, f"provider {name} stands in {self.source}: change it there, then reload")

    @contextmanager
    def _refusals(self, name: str) -> Iterator[None]:
        """What the registry refuses, as people are told."""
        try:
            yield
        except NameTaken:
            raise Refusal(409, f"another provider is called {name}: choose another name") from None
        except ReadOnly:
            raise self._read_only(name) from None
        except LookupError:
            raise _unknown() from None


def _unknown() -> Refusal:
    return Refusal(404, "there is no such provider, or it was removed: see the list of providers")
