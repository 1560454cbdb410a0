"""Integrations that were set up, their passwords encrypted, and the workflows they are attached to. ports.Integrations.

Opened by `app` over the spool's database. It answers from memory; it connects to nobody and judges no options: whoever
registers has done both, and applies what changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import apsw

from relay.db.database import Database
from relay.db.errors import SpoolError
from relay.model import Attached, Provider, Registration
from relay.ports import TooMany
from relay.store import integration_rows as rows
from relay.store import sealing
from relay.store.vault import Vault
from relay.store.writing import Turn, write

T = TypeVar("T")

ProviderOf = Callable[[int, Mapping[str, str]], Provider]
"""From a registration's id and options to its server. A password that cannot be decrypted is not among them."""

MOST_REGISTRATIONS = 1000
MOST_ATTACHMENTS = 10_000

_SECRET = "password"  # nosec B105 - a name
_AGAIN = "remove the registration and register it again"
_LOCKED = f"its password cannot be decrypted: it is damaged, or another registration's or key's; {_AGAIN}"
_DAMAGED = f"what is stored of it is damaged; {_AGAIN}"


class StoredIntegrations:
    """`open` makes it. In memory is what is durable, and nothing else; passwords are in clear there."""

    def __init__(
        self, database: Database, vault: Vault, provider_of: ProviderOf, stored: Iterable[rows.Row] = ()
    ) -> None:
        self._database = database
        self._vault = vault
        self._provider_of = provider_of
        self._registered = {row.id: self._opened(row) for row in stored}
        self._attached: dict[int, Attached] = {}
        self._of_workflow: Mapping[str, Sequence[Attached]] = {}
        self._turn = Turn()

    @classmethod
    async def open(cls, database: Database, vault: Vault, provider_of: ProviderOf) -> StoredIntegrations:
        """Raises SpoolError: one sentence, the cause and the fix."""
        try:
            registered, attached = await database.work.ask(rows.read)
        except apsw.Error as error:
            raise SpoolError(database.damaged(error)) from error
        integrations = cls(database, vault, provider_of, registered)
        integrations._settle({one.id: one for one in attached})
        return integrations

    # What there is.

    def registrations(self) -> Sequence[Registration]:
        return list(self._registered.values())

    def registration(self, id: int) -> Registration | None:
        return self._registered.get(id)

    def attachments(self, workflow: str = "") -> Sequence[Attached]:
        return self._of_workflow.get(workflow, ()) if workflow else list(self._attached.values())

    def providers(self) -> Mapping[str, Provider]:
        """The servers of the registrations, by name: each for its own mail only."""
        return {one.provider.name: one.provider for one in self._registered.values()}

    # What people change.

    async def register(self, integration: str, options: Mapping[str, str], now: float) -> Registration:
        return await self._turn.alone(self._register(integration, options, now))

    async def _register(self, integration: str, options: Mapping[str, str], now: float) -> Registration:
        _refuse_more("registrations", len(self._registered), MOST_REGISTRATIONS)
        await self._vault.ready()
        shown = {name: value for name, value in options.items() if name != _SECRET}

        def task(connection: apsw.Connection) -> int:
            id = rows.insert(connection, integration, shown, now)
            sealing.lock_up(connection, self._vault, sealing.REGISTRATION, id, options.get(_SECRET, ""))
            return id

        id = await self._write(task)
        self._registered[id] = self._made(id, integration, options, now)
        return self._registered[id]

    async def unregister(self, id: int) -> int:
        return await self._turn.alone(self._unregister(id))

    async def _unregister(self, id: int) -> int:
        self._refuse_unknown(id)
        await self._write(partial(rows.remove, id=id))
        del self._registered[id]
        left = {one.id: one for one in self._attached.values() if one.registration != id}
        gone = len(self._attached) - len(left)
        self._settle(left)
        return gone

    async def attach(self, workflow: str, registration: int, options: Mapping[str, str], now: float) -> Attached:
        return await self._turn.alone(self._attach(workflow, registration, options, now))

    async def _attach(self, workflow: str, registration: int, options: Mapping[str, str], now: float) -> Attached:
        self._refuse_unknown(registration)
        _refuse_more("attachments", len(self._attached), MOST_ATTACHMENTS)
        given = dict(options)
        task = partial(rows.attach, workflow=workflow, registration=registration, options=given, now=now)
        id = await self._write(task)
        one = Attached(id=id, workflow=workflow, registration=registration, options=given, created_at=now)
        self._settle(self._attached | {id: one})
        return one

    async def detach(self, id: int) -> None:
        await self._turn.alone(self._detach(id))

    async def _detach(self, id: int) -> None:
        if id not in self._attached:
            raise LookupError(id)
        await self._write(partial(rows.detach, id=id))
        self._settle({one.id: one for one in self._attached.values() if one.id != id})

    async def close(self) -> None:
        """What is under way is written. Before the database is closed."""
        await self._turn.over()

    # Inside.

    async def _write(self, task: Callable[[apsw.Connection], T]) -> T:
        return await write(self._database, task)

    def _settle(self, attached: dict[int, Attached]) -> None:
        of_workflow: dict[str, list[Attached]] = {}
        for one in attached.values():
            of_workflow.setdefault(one.workflow, []).append(one)
        self._attached, self._of_workflow = attached, of_workflow

    def _refuse_unknown(self, id: int) -> None:
        if id not in self._registered:
            raise LookupError(id)

    def _opened(self, row: rows.Row) -> Registration:
        """What is not as it was stored is shown, locked and not used; the others are none the wiser (hazard H12)."""
        if row.options is None:
            return _damaged(row.id, row.integration, {}, row.created_at)
        password = self._vault.unseal(sealing.REGISTRATION, row.id, row.secret)
        if password is not None:
            return self._made(row.id, row.integration, {**row.options, _SECRET: password}, row.created_at)
        one = self._made(row.id, row.integration, row.options, row.created_at)
        return replace(one, provider=replace(one.provider, active=False), locked=one.locked or _LOCKED)

    def _made(self, id: int, integration: str, options: Mapping[str, str], created_at: float) -> Registration:
        try:
            provider = self._provider_of(id, options)
        except (LookupError, ValueError):
            return _damaged(id, integration, options, created_at)
        return Registration(
            id=id, integration=integration, options=dict(options), provider=provider, created_at=created_at
        )


def _damaged(id: int, integration: str, options: Mapping[str, str], created_at: float) -> Registration:
    """Its mail has a name to wait under."""
    nowhere = Provider(name=f"integration/{id}", host="", port=0, active=False, public_only=True, reserved=True)
    shown = {name: value for name, value in options.items() if name != _SECRET}
    return Registration(
        id=id, integration=integration, options=shown, provider=nowhere, created_at=created_at, locked=_DAMAGED
    )


def _refuse_more(what: str, there: int, most: int) -> None:
    if there >= most:
        raise TooMany(f"there are {there:,} {what}")
