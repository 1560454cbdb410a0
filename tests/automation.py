"""Workflows, a renderer and a record of events for tests: lists and dictionaries, nothing durable, no templates.

The renderer knows `{{ a.b }}` and, as conditions, `a.b` and `not a.b`; what is missing is a problem.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from relay.automation.jobs import Job, Problem, Rendered
from relay.automation.renderer import Overloaded
from relay.config import workflows as rules
from relay.model import Happening, Workflow
from relay.ports import NameTaken, Outdated, ReadOnly, TooMany
from relay.testing.fakes import FakeIntake

_VARIABLE = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")


class FakeRenderer:
    """`calls`: how many jobs each had. `overloaded`: it takes nothing. `problem`: what it answers to every job."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.overloaded = False
        self.problem: Problem | None = None

    async def render(self, jobs: Sequence[Job], data: Mapping[str, Any]) -> Sequence[Rendered]:
        if self.overloaded:
            raise Overloaded("busy")
        self.calls.append(len(jobs))
        return [Rendered(problem=self.problem) if self.problem else _rendered(job, data) for job in jobs]


def _rendered(job: Job, data: Mapping[str, Any]) -> Rendered:
    place: tuple[str | int, ...] = ("if",)
    values = []
    try:
        name = job.condition.removeprefix("not ")
        if name and bool(_value(data, name)) == job.condition.startswith("not "):
            return Rendered(held=False)
        for text in job.texts:
            place = text.place
            values.append(_VARIABLE.sub(lambda found: str(_value(data, found[1])), text.source))
    except KeyError as missing:
        return Rendered(problem=Problem(place=place, text=f"{missing} is undefined"))
    return Rendered(values=tuple(values))


def _value(data: Mapping[str, Any], name: str) -> Any:
    found: Any = data
    for part in name.split("."):
        found = found[part]
    return found


class FakeWorkflows:
    """`most`: how many of the API there may be."""

    def __init__(self, *of_file: Workflow) -> None:
        self.known = {one.name: [one] for one in of_file}
        self.most = 100

    def all(self) -> Sequence[Workflow]:
        return [versions[0] for versions in self.known.values()]

    def find(self, name: str) -> Workflow | None:
        return self.known[name][0] if name in self.known else None

    def listening(self, event: str) -> Sequence[Workflow]:
        return [one for one in self.all() if one.event == event]

    async def add(self, name: str, document: Mapping[str, object], who: str, now: float) -> Workflow:
        if name in self.known:
            raise NameTaken(name)
        if len(self.known) >= self.most:
            raise TooMany(f"there are {self.most}")
        made = made_of(document, name, changed_at=now, changed_by=who)
        self.known[made.name] = [made]
        return made

    async def change(
        self, name: str, document: Mapping[str, object], who: str, now: float, *, version: int | None = None
    ) -> Workflow:
        old = self._ours(name)
        if version not in (None, old.version):
            raise Outdated(old.version)
        made = made_of(document, name, changed_at=now, changed_by=who)
        self.known[name].insert(0, replace(made, version=old.version + 1))
        return self.known[name][0]

    async def remove(self, name: str, *, version: int | None = None) -> None:
        if version not in (None, self._ours(name).version):
            raise Outdated(self._ours(name).version)
        del self.known[name]

    async def versions(self, name: str) -> Sequence[Workflow]:
        return self.known[name]

    def _ours(self, name: str) -> Workflow:
        if self.known[name][0].origin == "file":
            raise ReadOnly(name)
        return self.known[name][0]


def made_of(document: Mapping[str, object], name: str = "", *, origin: str = "api", **more: Any) -> Workflow:
    given = rules.parse(document)
    return rules.workflow(given, name=name or rules.name_for(given.event, ()), origin=origin, **more)


def rule(event: str = "user.created", *actions: Mapping[str, object], **more: object) -> dict[str, Any]:
    """As people write it. Each of `actions` is the `data` of one, or with `if` and `data` all of it."""
    every = [one if "data" in one else {"data": one} for one in actions or (MAIL,)]
    listed = [{"service": "smtp.send_email", **one} for one in every]
    return {"trigger": {"type": "event", "event": event}, "actions": listed, **more}


MAIL = {"to": "{{ user.email }}", "subject": "Welcome", "body": "Hello {{ user.name }}."}
ANN = {"user": {"email": "ann@example.org", "name": "Ann"}}


class FakeHappenings:
    """What was handed to an intake."""

    def __init__(self, intake: FakeIntake) -> None:
        self.intake = intake

    async def happenings(self, *, limit: int, after: str = "", name: str = "") -> tuple[Sequence[Happening], bool]:
        newest = sorted(self.intake.happened, key=lambda one: one.id, reverse=True)
        found = [one for one in newest if (not after or one.id < after) and name in ("", one.name)]
        return found[:limit], len(found) > limit

    async def happening(self, id: str) -> Happening | None:
        return next((one for one in self.intake.happened if one.id == id), None)
