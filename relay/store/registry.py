"""The providers there are: those of the file, as it says, and those made by hand, with their passwords encrypted.

Built by `app` over the spool's database; it is `ports.Registry`. It answers from memory; it never connects to a
provider and never tells the dispatcher: whoever changes something applies it.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import apsw

from relay.db.database import Database
from relay.db.errors import SpoolError, StorageFailed, StorageFull
from relay.events import AttemptEnded, Event
from relay.model import Counts, Health, Provider, ProviderSettings, Registered, Verdict
from relay.ports import Clock, NameTaken, ReadOnly
from relay.store import provider_rows as rows
from relay.store import sealing, statistics
from relay.store.derive import provider_of, reached_alike, settings_of
from relay.store.opening import opened
from relay.store.statistics import DAY, Statistics
from relay.store.vault import Vault
from relay.store.writing import Turn, write

T = TypeVar("T")

# News of a provider's health is information: it is written when it changes, and else this often.
HEALTH_EVERY = 300.0
HEALTH_STEP = 1.0


class NameInBoth(SpoolError):
    """A name is in the file and was given by hand."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"provider {name!r} is in the configuration and was made by hand, too: rename it in the configuration, or "
            f"end the other with: relay provider remove {shlex.quote(name)}"
        )
        self.name = name


class StoredRegistry:
    """`keep`: seconds of history that counts are sums over; may be replaced at any time (reload). `open` makes it."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        known: Iterable[Registered],
        counted: Statistics,
        *,
        ever: bool,
        allow_private: bool,
        keep: float,
        clock: Clock,
    ) -> None:
        self.keep = keep
        self._database = database
        self._vault = vault
        self._counted = counted
        self._allow_private = allow_private
        self._clock = clock
        self._ever = ever
        # All with an id, those too that the file does not name now: they have it again when it does.
        self._known = {one.id: one for one in known}
        self._of_file: frozenset[str] = frozenset()
        self._ids: Mapping[str, int] = {}
        # The name before the last one: what was on its way ends under it.
        self._former: dict[str, int] = {}
        self._written = {id: one.health for id, one in self._known.items()}
        self._turn = Turn()

    @classmethod
    async def open(
        cls,
        database: Database,
        vault: Vault,
        of_file: Sequence[Provider],
        *,
        now: float,
        allow_private: bool,
        keep: float = 7 * DAY,
        clock: Clock = time.time,
    ) -> StoredRegistry:
        """Raises SpoolError: one sentence, the cause and the fix."""
        try:
            stored, lines = await database.work.ask(
                lambda connection: (rows.read(connection), statistics.read(connection))
            )
        except apsw.Error as error:
            raise SpoolError(database.damaged(error)) from error
        registry = cls(
            database,
            vault,
            [opened(row, vault, allow_private=allow_private) for row in stored.rows],
            Statistics(lines),
            ever=stored.ever,
            allow_private=allow_private,
            keep=keep,
            clock=clock,
        )
        try:
            await registry.adopt(of_file, now)
        except (StorageFull, StorageFailed) as error:
            raise SpoolError(
                f"{database.path} cannot take up new providers ({error}); free some room or repair its disk"
            ) from error
        return registry

    # What there is

    def providers(self) -> Sequence[Registered]:
        return [one for one in self._known.values() if self._is_listed(one)]

    def find(self, id: int) -> Registered | None:
        one = self._known.get(id)
        return one if one and self._is_listed(one) else None

    def empty(self) -> bool:
        return not self._ever and not self._of_file

    def counts(self, id: int, now: float) -> Counts:
        one = self._known.get(id)
        return self._counted.counts(id, one.provider.limits.timezone, now, self.keep) if one else Counts()

    def _is_listed(self, one: Registered) -> bool:
        return one.origin == rows.API or one.settings.name in self._of_file

    # What people change

    async def adopt(self, of_file: Sequence[Provider], now: float) -> None:
        """The file as it is now. Raises NameInBoth or what storage says, and nothing changed."""
        await self._turn.alone(self._adopt(of_file, now))

    async def _adopt(self, of_file: Sequence[Provider], now: float) -> None:
        self.check(of_file)
        ids = {one.settings.name: one.id for one in self._known.values() if one.origin == rows.FILE}
        strangers = [provider.name for provider in of_file if provider.name not in ids]
        if strangers:
            for row in await self._write(lambda connection: rows.see(connection, strangers, now)):
                self._known[row.id] = opened(row, self._vault, allow_private=self._allow_private)
                ids[row.name] = row.id
        for provider in of_file:
            one, settings = self._known[ids[provider.name]], settings_of(provider)
            alike = provider.name not in self._of_file or reached_alike(one.settings, settings)
            health = one.health if alike else Health()
            self._known[one.id] = replace(one, settings=settings, provider=provider, health=health)
        self._of_file = frozenset(provider.name for provider in of_file)
        self._learn_names()

    def check(self, of_file: Sequence[Provider]) -> None:
        """Whether such a file fits what was made by hand. Raises NameInBoth."""
        made = {one.settings.name for one in self._known.values() if one.origin == rows.API}
        for provider in of_file:
            if provider.name in made:
                raise NameInBoth(provider.name)

    async def add(self, settings: ProviderSettings, *, default: bool, now: float) -> Registered:
        return await self._turn.alone(self._add(settings, default, now))

    async def _add(self, settings: ProviderSettings, default: bool, now: float) -> Registered:
        self._refuse_taken(settings.name, 0)
        if settings.password:
            await self._vault.ready()

        def task(connection: apsw.Connection) -> int:
            id = rows.insert(connection, settings, default=default, now=now)
            self._lock_up(connection, id, settings)
            return id

        id = await self._write(task)
        self._ever = True
        return self._put(
            Registered(
                id=id,
                origin=rows.API,
                settings=settings,
                provider=self._provider(settings, ""),
                default=default,
                created_at=now,
                updated_at=now,
            )
        )

    async def change(self, id: int, settings: ProviderSettings, *, default: bool, now: float) -> Registered:
        """Of one of the file nothing but `default`. A password that is locked stays so until another, or no user name,
        is given: an empty one is what was seen of it.
        """
        return await self._turn.alone(self._change(id, settings, default, now))

    async def _change(self, id: int, settings: ProviderSettings, default: bool, now: float) -> Registered:
        old = self._wanted(id)
        if old.origin == rows.FILE:
            if settings != old.settings:
                raise ReadOnly(old.settings.name)
            await self._write(partial(rows.chosen, id=id, default=default, now=now))
            return self._put(replace(self._known[id], default=default, updated_at=now))
        self._refuse_taken(settings.name, id)
        locked = "" if settings.password or not settings.username else old.locked
        if settings.password:
            await self._vault.ready()

        def task(connection: apsw.Connection) -> None:
            rows.update(connection, id, old.settings.name, settings, now)
            rows.choose(connection, id, default)
            if not locked:
                self._lock_up(connection, id, settings)

        await self._write(task)
        if old.settings.name != settings.name:
            self._forget_former(id)
            self._former[old.settings.name] = id
        return self._put(
            replace(
                self._known[id],
                settings=settings,
                provider=self._provider(settings, locked),
                default=default,
                updated_at=now,
                health=self._known[id].health if reached_alike(old.settings, settings) else Health(),
                locked=locked,
            )
        )

    async def remove(self, id: int, now: float) -> None:
        await self._turn.alone(self._remove(id, now))

    async def _remove(self, id: int, now: float) -> None:
        name = self._wanted(id).settings.name
        if self._known[id].origin == rows.FILE:
            raise ReadOnly(name)
        await self._write(partial(rows.remove, id=id, name=name, now=now))
        del self._known[id]
        self._written.pop(id, None)
        self._counted.forget(id)
        self._forget_former(id)
        self._learn_names()

    async def renamed(self, names: Mapping[str, str]) -> None:
        """Old names to new ones, by which mail goes from now on: what was still counted under the old ones is moved."""
        with contextlib.suppress(StorageFull, StorageFailed):  # it is little, and counts until the relay ends
            await self._turn.alone(self._write(partial(rows.rename_usage, names=names)))

    async def rotate(self) -> int:
        """Of all secrets, those of registrations too: `sealing.rotate`."""
        return await self._turn.alone(sealing.rotate(self._database, self._vault))

    # What is learnt

    def observe(self, event: Event) -> None:
        """An observer of events."""
        if isinstance(event, AttemptEnded) and (id := self._named(event.provider)) is not None:
            now = self._clock()
            self._counted.ended(id, self._known[id].provider.limits.timezone, event, now)
            if any(outcome.verdict is Verdict.ACCEPTED for outcome in event.outcomes):
                self._does_well(id, now)

    def _named(self, name: str) -> int | None:
        id = self._ids.get(name)
        return self._former.get(name) if id is None else id

    def _does_well(self, id: int, now: float) -> None:
        one = self._known[id]
        if not one.health.healthy or not 0 <= now - (one.health.checked_at or 0.0) < HEALTH_STEP:
            self._known[id] = replace(one, health=Health(healthy=True, checked_at=now))

    async def checked(self, name: str, health: Health) -> None:
        """In memory; `maintain` writes it."""
        if (id := self._ids.get(name)) is not None:
            self._known[id] = replace(self._known[id], health=health)

    async def maintain(self, now: float) -> None:
        """Call every few seconds: writes what was learnt. What cannot be written now is tried again."""
        await self._turn.alone(self._keep(now, HEALTH_EVERY))

    async def close(self) -> None:
        """Writes what was learnt; the database is closed after this."""
        await self._turn.alone(self._keep(self._clock(), 0.0))

    async def _keep(self, now: float, every: float) -> None:
        before = self._counted.prune(now, self.keep)
        lines = self._counted.changed()
        news = {id: one.health for id, one in self._known.items() if _is_news(self._written.get(id), one.health, every)}
        if not lines and not news:
            return

        def task(connection: apsw.Connection) -> None:
            statistics.keep(connection, lines, before)
            rows.keep_health(connection, news)

        try:
            await self._write(task)
        except (StorageFull, StorageFailed):
            self._counted.again(lines)
        else:
            self._written.update(news)

    # Inside

    async def _write(self, task: Callable[[apsw.Connection], T]) -> T:
        return await write(self._database, task)

    def _lock_up(self, connection: apsw.Connection, id: int, settings: ProviderSettings) -> None:
        if settings.password:
            sealing.lock_up(connection, self._vault, sealing.PROVIDER, id, settings.password)
        else:
            rows.lock_nothing(connection, id)

    def _put(self, one: Registered) -> Registered:
        if one.default:
            self._known = {id: replace(other, default=False) for id, other in self._known.items()}
        self._known[one.id] = one
        self._learn_names()
        return one

    def _forget_former(self, id: int) -> None:
        self._former = {name: other for name, other in self._former.items() if other != id}

    def _learn_names(self) -> None:
        self._ids = {one.settings.name: one.id for one in self.providers()}

    def _wanted(self, id: int) -> Registered:
        one = self.find(id)
        if one is None:
            raise LookupError(id)
        return one

    def _refuse_taken(self, name: str, id: int) -> None:
        if self._ids.get(name, id) != id:
            raise NameTaken(name)

    def _provider(self, settings: ProviderSettings, locked: str) -> Provider:
        return provider_of(settings, allow_private=self._allow_private, locked=locked)


def _is_news(written: Health | None, health: Health, every: float) -> bool:
    """Whether it is to be written now."""
    if written is None or health == written:
        return health != (written or Health())
    if (health.healthy, health.detail) != (written.healthy, written.detail):
        return True
    return abs((health.checked_at or 0.0) - (written.checked_at or 0.0)) >= every
