"""Registrations and attachments for tests of the API and the command line: dictionaries, nothing durable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from relay.automation.integrations import provider_of
from relay.model import Attached, Registration
from relay.ports import TooMany


class FakeIntegrations:
    """`full`: there may be no more. `error`: what changing something raises."""

    def __init__(self) -> None:
        self.registered: dict[int, Registration] = {}
        self.attached: dict[int, Attached] = {}
        self.full = False
        self.error: Exception | None = None
        self._last = 0

    def registrations(self) -> Sequence[Registration]:
        return [self.registered[id] for id in sorted(self.registered)]

    def registration(self, id: int) -> Registration | None:
        return self.registered.get(id)

    async def register(self, integration: str, options: Mapping[str, str], now: float) -> Registration:
        id = self._next("registrations")
        made = Registration(
            id=id,
            integration=integration,
            options=dict(options),
            provider=provider_of(id, options, True),
            created_at=now,
        )
        self.registered[id] = made
        return made

    async def unregister(self, id: int) -> int:
        del self.registered[id]
        gone = [one.id for one in self.attached.values() if one.registration == id]
        for one in gone:
            del self.attached[one]
        return len(gone)

    def attachments(self, workflow: str = "") -> Sequence[Attached]:
        return [one for id, one in sorted(self.attached.items()) if workflow in ("", one.workflow)]

    async def attach(self, workflow: str, registration: int, options: Mapping[str, str], now: float) -> Attached:
        if registration not in self.registered:
            raise LookupError(registration)
        id = self._next("attachments")
        made = Attached(id=id, workflow=workflow, registration=registration, options=dict(options), created_at=now)
        self.attached[id] = made
        return made

    async def detach(self, id: int) -> None:
        del self.attached[id]

    def _next(self, what: str) -> int:
        if self.error is not None:
            raise self.error
        if self.full:
            raise TooMany(f"there are 1000 {what}")
        self._last += 1
        return self._last
