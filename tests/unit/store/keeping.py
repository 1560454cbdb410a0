"""What people manage over a real file, with a clock that the test holds; nothing in it asserts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw

from relay.automation.integrations import provider_of
from relay.db.database import Database
from relay.delivery.classify import accepted, outcome
from relay.events import AttemptEnded, nobody
from relay.model import (
    DeliveryOutcome,
    Limits,
    MessageId,
    Phase,
    Provider,
    ProviderSettings,
    Recipient,
    Registered,
    Reply,
    Workflow,
)
from relay.store.integrations import StoredIntegrations
from relay.store.registry import StoredRegistry
from relay.store.sealing import unlock
from relay.store.workflows import StoredWorkflows

NOW = 1_795_000_000.0
SECRET = "s3cret-canary-in-a-password"
OF_FILE = Provider(name="filed", host="smtp.example.net", port=587, username="u", password="of-the-file")

# As the seed types them.
OPTIONS = {
    "user": "AHDHSYEE7e73",
    "password": SECRET,
    "host": "email-smtp.us-east-1.amazonaws.com",
    "port": "587",
    "to": "platform-team@example.com",
    "from": "notifier@example.com",
}


def settings(name: str = "made", **more: Any) -> ProviderSettings:
    given = {"host": "smtp.example.com", "username": "me@example.com", "password": SECRET} | more
    return ProviderSettings(name=name, **given)


def server_of(id: int, options: Mapping[str, str]) -> Provider:
    return provider_of(id, options, allow_private=False)


def ended(provider: str, *codes: int, seconds: float = 0.5) -> AttemptEnded:
    """One transaction; a code for each recipient."""
    outcomes = tuple(_outcome(provider, Recipient(address=f"{n}@example.org"), code) for n, code in enumerate(codes))
    return AttemptEnded(
        message=MessageId("m"), sender="", provider=provider, outcomes=outcomes, seconds=seconds, delay=1.0
    )


def _outcome(provider: str, recipient: Recipient, code: int) -> DeliveryOutcome:
    reply = Reply(code=code, enhanced="", text="x")
    return accepted(recipient, provider, reply) if code < 300 else outcome(recipient, provider, "", Phase.DOT, reply)


class Keeping:
    """`path`, `key`: the files. `registry` and so on: those that are open now. `rules`: of the file, when it opens."""

    database: Database
    registry: StoredRegistry
    workflows: StoredWorkflows
    integrations: StoredIntegrations

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "spool.db"
        self.key = folder / "secret.key"
        self.now = NOW
        self.is_open = False
        self.rules: Sequence[Workflow] = ()

    async def open(self, *of_file: Provider, **more: Any) -> StoredRegistry:
        given: dict[str, Any] = {"allow_private": False, "clock": lambda: self.now} | more
        self.start()
        try:
            vault = await unlock(self.database, self.key)
            self.registry = await StoredRegistry.open(self.database, vault, of_file, now=self.now, **given)
            self.workflows = await StoredWorkflows.open(self.database, self.rules)
            self.integrations = await StoredIntegrations.open(self.database, vault, server_of)
        except BaseException:
            await self.close()
            raise
        return self.registry

    def start(self) -> Database:
        """The database alone."""
        self.database = Database(self.path)
        self.database.prepare(lambda connection: None)
        self.database.start(nobody)
        self.is_open = True
        return self.database

    async def reopen(self, *of_file: Provider, **more: Any) -> StoredRegistry:
        """As after kill -9: nobody closed the registry."""
        await self.close()
        return await self.open(*of_file, **more)

    async def close(self) -> None:
        if self.is_open:
            self.is_open = False
            await self.database.close()

    def at_this_moment(self, name: str) -> Keeping:
        """What a process that is killed now would leave behind."""
        return Keeping(Path(shutil.copytree(self.folder, self.folder.parent / name)))

    async def ask(self, statement: str, *values: Any) -> list[Any]:
        def task(connection: apsw.Connection) -> list[Any]:
            return list(connection.execute(statement, values).fetchall())

        return await self.database.work.ask(task)

    async def spoil(self, statement: str, *values: Any) -> None:
        """Change the file behind the relay's back; it is closed then."""
        await self.close()
        connection = apsw.Connection(str(self.path))
        connection.execute(statement, values)
        connection.close()

    async def swap(self, one: int, other: int) -> None:
        """The secrets of two rows, behind the relay's back."""
        secrets = dict(await self.ask("SELECT id, secret FROM provider"))
        await self.spoil(
            "UPDATE provider SET secret = iif(id = ?, ?, ?) WHERE id IN (?, ?)",
            one,
            secrets[other],
            secrets[one],
            one,
            other,
        )

    def made(self, name: str = "made") -> Registered:
        return next(one for one in self.registry.providers() if one.settings.name == name)


def limited(name: str, timezone: str) -> Provider:
    """Of the file, with a calendar of its own."""
    return Provider(name=name, host="smtp.example.net", port=587, limits=Limits(timezone=timezone))
