"""The workflows there are: those of the file, as it says, and those made over HTTP. Implements ports.Workflows.

Opened by `app` over the spool's database, asked for every event. It answers from memory, older versions aside; it never
renders anything, and judges documents by the configuration's rules only.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import apsw
from msgspec.structs import replace

from relay.db.database import Database
from relay.db.errors import SpoolError
from relay.model import Workflow
from relay.ports import NameTaken, Outdated, ReadOnly, TooMany
from relay.store import workflow_rows as rows
from relay.store.documents import name_for, opened, told_apart, workflow_of
from relay.store.writing import Turn, write

T = TypeVar("T")

MOST = 1000


class WorkflowInBoth(SpoolError):
    """A name is in the file and was given by hand."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"workflow {name!r} is in the configuration and was made by hand, too: rename it in the configuration, or "
            f"end the other with: relay workflow remove {shlex.quote(name)}"
        )
        self.name = name


class StoredWorkflows:
    """`open` makes it. In memory is what is durable, and nothing else."""

    def __init__(self, database: Database, made: Mapping[int, Workflow]) -> None:
        self._database = database
        self._made = dict(made)
        self._of_file: Sequence[Workflow] = ()
        self._known: Mapping[str, Workflow] = {}
        self._listening: Mapping[str, Sequence[Workflow]] = {}
        self._turn = Turn()

    @classmethod
    async def open(cls, database: Database, of_file: Sequence[Workflow]) -> StoredWorkflows:
        """Raises SpoolError: one sentence, the cause and the fix."""
        try:
            made = await database.work.ask(lambda connection: told_apart(rows.read(connection)))
        except apsw.Error as error:
            raise SpoolError(database.damaged(error)) from error
        workflows = cls(database, made)
        workflows.check(of_file)
        workflows.adopt(of_file)
        return workflows

    # The file.

    def check(self, of_file: Sequence[Workflow]) -> None:
        """Whether such a file fits what was made by hand. Raises WorkflowInBoth."""
        made = {one.name for one in self._made.values()}
        for one in of_file:
            if one.name in made:
                raise WorkflowInBoth(one.name)

    def adopt(self, of_file: Sequence[Workflow]) -> None:
        """The file as it is now; `check` was asked. What is made since then by one of its names is not in force."""
        self._of_file = tuple(of_file)
        self._settle()

    def _settle(self) -> None:
        known = {one.name: one for one in self._of_file}
        for one in self._made.values():
            known.setdefault(one.name, one)
        listening: dict[str, list[Workflow]] = {}
        for one in known.values():
            if one.event:
                listening.setdefault(one.event, []).append(one)
        self._known, self._listening = known, listening

    # What there is.

    def all(self) -> Sequence[Workflow]:
        return list(self._known.values())

    def find(self, name: str) -> Workflow | None:
        return self._known.get(name)

    def listening(self, event: str) -> Sequence[Workflow]:
        return self._listening.get(event, ())

    async def versions(self, name: str) -> Sequence[Workflow]:
        now = self._wanted(name)
        if now.origin == "file":
            return [now]
        id = self._id(name)

        def question(connection: apsw.Connection) -> list[Workflow]:
            return [replace(opened(row), name=name) for row in rows.older(connection, id, now.version)]

        return [now, *await self._database.desk.ask(question)]

    # What people change.

    async def add(self, name: str, document: Mapping[str, object], who: str, now: float) -> Workflow:
        return await self._turn.alone(self._add(name, document, who, now))

    async def _add(self, name: str, document: Mapping[str, object], who: str, now: float) -> Workflow:
        if len(self._known) >= MOST:
            raise TooMany(f"there are {len(self._known):,} workflows")
        if name in self._known:
            raise NameTaken(name)
        one = workflow_of(document, name=name, version=1, changed_at=now, changed_by=who)
        if not name:
            one = replace(one, name=name_for(one.event, self._known))
        id = await self._write(partial(rows.insert, one=one))
        return self._put(id, one)

    async def change(
        self, name: str, document: Mapping[str, object], who: str, now: float, *, version: int | None = None
    ) -> Workflow:
        return await self._turn.alone(self._change(name, document, who, now, version))

    async def _change(
        self, name: str, document: Mapping[str, object], who: str, now: float, version: int | None
    ) -> Workflow:
        old, id = self._own(name, version)
        one = workflow_of(document, name=name, version=old.version + 1, changed_at=now, changed_by=who)
        await self._write(partial(rows.update, id=id, one=one))
        return self._put(id, one)

    async def remove(self, name: str, *, version: int | None = None) -> None:
        await self._turn.alone(self._remove(name, version))

    async def _remove(self, name: str, version: int | None) -> None:
        _, id = self._own(name, version)
        await self._write(partial(rows.remove, id=id))
        del self._made[id]
        self._settle()

    async def close(self) -> None:
        """What is under way is written. Before the database is closed."""
        await self._turn.over()

    # Inside.

    async def _write(self, task: Callable[[apsw.Connection], T]) -> T:
        return await write(self._database, task)

    def _put(self, id: int, one: Workflow) -> Workflow:
        self._made[id] = one
        self._settle()
        return one

    def _wanted(self, name: str) -> Workflow:
        one = self._known.get(name)
        if one is None:
            raise LookupError(name)
        return one

    def _own(self, name: str, version: int | None) -> tuple[Workflow, int]:
        """One that may be changed here, if it is at `version`, and its id."""
        one = self._wanted(name)
        if one.origin == "file":
            raise ReadOnly(name)
        if version not in (None, one.version):
            raise Outdated(one.version)
        return one, self._id(name)

    def _id(self, name: str) -> int:
        return next(id for id, one in self._made.items() if one.name == name)
