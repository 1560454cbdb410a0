"""What people can do with integrations: register one, attach it to workflows, and undo that.

Called by the resource; options are judged here. A registration is verified against its server before anything of it is
kept, and that holds nobody else up. It never shows a password.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay.api.parts import ApiParts
from relay.api.problem import Refusal, shown
from relay.api.provider_answers import PASSWORD, SHOWN_PASSWORDS
from relay.api.views import moment
from relay.automation import integrations
from relay.config.words import did_you_mean
from relay.delivery.status import ProviderStatus
from relay.events import Changed
from relay.model import INTEGRATIONS, Attached, Phase, Place, Registration
from relay.ports import TooMany, Trouble

JSON = dict[str, Any]

MOST_ATTACHED = 1000
"""Registrations of one workflow: each of its runs is so many mails."""
_AT_ONCE = 10  # servers that are being verified; a silent one takes most of a minute
_OPTIONS: Place = ("body", "options")

# How far it came, to the option that is wrong and what is said of that; what is not here: the host.
_BLAMED = {
    Phase.TLS: ("port", "no TLS could be agreed on there"),
    Phase.STARTTLS: ("port", "no TLS could be agreed on there"),
    Phase.AUTH: ("password", "logging in with user and password failed"),
}
_HOST = ("host", "no mail server that could be used was found there")


@dataclass(slots=True)
class IntegrationOperations:
    """`who`, everywhere: whose change it is, for the audit log."""

    parts: ApiParts
    verifying: int = 0
    keeping: set[asyncio.Task[Registration]] = field(default_factory=set)

    # Schemas.

    def schema(self, integration: str, kind: str) -> bytes:
        _known(integration, 404)
        if kind not in integrations.KINDS:
            raise Refusal(404, f"there is no schema {kind[:100]!a}; there are: {', '.join(integrations.KINDS)}")
        return integrations.document(kind)

    # Registrations.

    def registrations(self, *, limit: int, after: int = 0) -> JSON:
        statuses = self._statuses()
        rows = [one for one in self.parts.integrations.registrations() if one.id > after]
        return _page([_registered(one, statuses) for one in rows[: limit + 1]], limit)

    def registration(self, id: int) -> JSON:
        return _registered(self._find(id), self._statuses())

    async def register(self, who: str, integration: str, options: Mapping[str, Any]) -> JSON:
        _known(integration, 422)
        await self._judge("registration", options)
        await self._verify(options)
        keeping = asyncio.create_task(self._keep(who, integration, options))
        self.keeping.add(keeping)
        keeping.add_done_callback(self.keeping.discard)
        made = await asyncio.shield(keeping)  # a client that goes away now leaves a whole one, in force
        return _registered(made, self._statuses())

    async def unregister(self, who: str, id: int) -> None:
        """Its attachments go with it; mail that waits for it waits on."""
        try:
            await self.parts.integrations.unregister(id)
        except LookupError:
            raise _unknown(id) from None
        self._changed(who, "registration removed", f"{INTEGRATIONS}{id}")
        await self.parts.apply()

    async def _keep(self, who: str, integration: str, options: Mapping[str, str]) -> Registration:
        try:
            made = await self.parts.integrations.register(integration, options, self.parts.clock())
        except TooMany as error:
            raise Refusal(409, f"no more can be registered, {error}: remove one that nothing needs any more") from None
        self._changed(who, "registration added", made.provider.name)
        await self.parts.apply()
        return made

    async def _judge(self, kind: str, options: Mapping[str, Any]) -> None:
        """In a thread: the library of schemas takes a while to be loaded, once."""
        allow = self.parts.allow_private
        found = await asyncio.to_thread(integrations.problems, kind, options, allow_private=allow)
        errors = [((*_OPTIONS, *problem.place), problem.text) for problem in found]
        if options.get(integrations.SECRET) in tuple(SHOWN_PASSWORDS):  # it may be of any type
            what = "is what is shown instead of a password: give the password itself"
            errors.append(((*_OPTIONS, integrations.SECRET), what))
        if errors:
            raise Refusal(422, "the options are not as they should be; see errors", errors)

    async def _verify(self, options: Mapping[str, str]) -> None:
        if self.verifying >= _AT_ONCE:
            detail = f"{_AT_ONCE} servers are being verified already; nothing was registered, try again"
            raise Refusal(429, detail, retry_after=5)
        self.verifying += 1
        try:
            trouble = await self.parts.checks.verify(integrations.provider_of(0, options, self.parts.allow_private))
        finally:
            self.verifying -= 1
        if trouble is not None:
            raise _unverified(trouble)

    # Attachments.

    def attachments(self, *, limit: int, after: int = 0, workflow: str = "", integration: int = 0) -> JSON:
        """`workflow` "" and `integration` 0: of any."""
        rows = [
            one
            for one in self.parts.integrations.attachments(workflow)
            if one.id > after and integration in (0, one.registration)
        ]
        return _page([_attached(one) for one in rows[: limit + 1]], limit)

    def attachment(self, id: int) -> JSON:
        found = next((one for one in self.parts.integrations.attachments() if one.id == id), None)
        if found is None:
            raise Refusal(404, f"there is no attachment {id}")
        return _attached(found)

    async def attach(self, who: str, workflow: str, integration: int, options: Mapping[str, Any]) -> JSON:
        await self._judge("attachment", options)
        kept = self.parts.integrations
        if len(kept.attachments(workflow)) >= MOST_ATTACHED:
            raise Refusal(409, f"{MOST_ATTACHED} registrations are attached to this workflow: detach one of them")
        try:
            made = await kept.attach(workflow, integration, options, self.parts.clock())
        except LookupError:
            raise self._no_registration(integration) from None
        except TooMany as error:
            raise Refusal(409, f"no more can be attached, {error}: remove one that nothing needs any more") from None
        self._changed(who, "attachment added", f"{workflow} to {INTEGRATIONS}{integration}")
        return _attached(made)

    async def detach(self, who: str, id: int) -> None:
        try:
            await self.parts.integrations.detach(id)
        except LookupError:
            raise Refusal(404, f"there is no attachment {id}") from None
        self._changed(who, "attachment removed", str(id))

    def _no_registration(self, id: int) -> Refusal:
        known = ", ".join([str(one.id) for one in self.parts.integrations.registrations()[:20]])
        what = f"there is no registration {id}; there are: {known or 'none yet'}"
        return Refusal(422, what, [(("body", "integration"), "is the id of no registration")])

    # Inside.

    def _find(self, id: int) -> Registration:
        found = self.parts.integrations.registration(id)
        if found is None:
            raise _unknown(id)
        return found

    def _statuses(self) -> Mapping[str, ProviderStatus]:
        return {status.name: status for status in self.parts.statuses()}

    def _changed(self, who: str, what: str, target: str) -> None:
        self.parts.observe(Changed(who=who, what=what, target=target))


def _known(integration: str, status: int) -> None:
    if integration in integrations.KNOWN:
        return
    name = str(shown(integration))
    near = did_you_mean(integration[:100], integrations.KNOWN)
    what = f"there is no integration {name!a}{near}; there are: {', '.join(integrations.KNOWN)}"
    raise Refusal(status, what, [(("body", "integration"), "is no integration")] if status == 422 else ())


def _unknown(id: int) -> Refusal:
    return Refusal(404, f"there is no registration {id}, or it was removed: see the list of registrations")


def _unverified(trouble: Trouble) -> Refusal:
    option, what = _BLAMED.get(trouble.phase, _HOST)
    return Refusal(422, f"nothing was registered: {trouble.detail}", [((*_OPTIONS, option), what)])


def _registered(one: Registration, statuses: Mapping[str, ProviderStatus]) -> JSON:
    options = {name: one.options.get(name, "") for name in integrations.schema("registration")["properties"]}
    return {
        "id": one.id,
        "integration": one.integration,
        "options": options | {integrations.SECRET: PASSWORD},
        "created_at": moment(one.created_at),
        "health": _health(one, statuses.get(one.provider.name)),
    }


def _health(one: Registration, status: ProviderStatus | None) -> JSON:
    """It was well when it was registered."""
    detail = one.locked or (status.detail if status is not None else "")
    return {"status": "unhealthy" if detail else "healthy", "detail": detail}


def _attached(one: Attached) -> JSON:
    return {
        "id": one.id,
        "workflow": one.workflow,
        "integration": one.registration,
        "options": dict(one.options),
        "created_at": moment(one.created_at),
    }


def _page(rows: Sequence[JSON], limit: int) -> JSON:
    return {"data": list(rows[:limit]), "has_more": len(rows) > limit}
