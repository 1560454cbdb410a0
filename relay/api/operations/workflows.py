"""What people can do with workflows, over plain JSON-able data.

Called by the resource, which has read and judged what came in. What the configuration file says is changed there; every
change that succeeded is told to the audit log. It never renders, nor mails anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from relay.api.operations.events import refusals
from relay.api.parts import ApiParts
from relay.api.problem import Refusal
from relay.api.views import moment
from relay.config import workflows as rules
from relay.events import Changed
from relay.model import Workflow
from relay.ports import NameTaken, Outdated, ReadOnly, TooMany

JSON = dict[str, Any]
Data = Mapping[str, Any]

ADDED = frozenset({"origin", "changed_at", "changed_by", "damaged"})
"""What is shown of a workflow besides its document, its name and its version: it may come back, and says nothing."""


@dataclass(frozen=True, slots=True)
class WorkflowOperations:
    """`who`, everywhere: whose change it is, for the audit log."""

    parts: ApiParts

    def list(self, *, limit: int, after: str = "") -> JSON:
        """By name. `after`: the last name of the page before."""
        found = sorted(self.parts.workflows.all(), key=lambda workflow: workflow.name)
        found = [workflow for workflow in found if workflow.name > after]
        return {"data": [shown(workflow) for workflow in found[:limit]], "has_more": len(found) > limit}

    def find(self, name: str) -> Workflow:
        """Raises Refusal 404."""
        found = self.parts.workflows.find(name)
        if found is None:
            raise _unknown(name)
        return found

    async def add(self, who: str, given: rules.Workflow) -> Workflow:
        """Raises Refusal 409."""
        name = given.name or ""
        with self._refusals(name):
            made = await self.parts.workflows.add(name, rules.document(given), who, self.parts.clock())
        self._changed(who, "workflow added", made.name)
        return made

    async def change(self, who: str, name: str, given: rules.Workflow, version: int | None) -> Workflow:
        """`version`: what it must be at, None: anything. Raises Refusal 404, 409, 422; Outdated."""
        if given.name not in (None, name):
            what = f"is not the workflow's, {name!a}; leave it out, or add another workflow"
            raise Refusal(422, f"name {what}", [("name", what)])
        with self._refusals(name):
            now = self.parts.clock()
            made = await self.parts.workflows.change(name, rules.document(given), who, now, version=version)
        self._changed(who, "workflow changed", name)
        return made

    async def remove(self, who: str, name: str, version: int | None = None) -> None:
        """`version`: as in `change`."""
        with self._refusals(name):
            await self.parts.workflows.remove(name, version=version)
        self._changed(who, "workflow removed", name)

    async def versions(self, name: str) -> JSON:
        """Newest first."""
        with self._refusals(name):
            found = await self.parts.workflows.versions(name)
        return {"data": [shown(workflow) for workflow in found], "has_more": False}

    async def preview(self, workflow: Workflow, data: Data) -> JSON:
        """What it would mail. Raises Refusal 503."""
        with refusals():
            return await self.parts.automation.preview(workflow, data)

    def unsaved(self, given: rules.Workflow) -> Workflow:
        """One that exists only to be looked at."""
        return rules.workflow(given, name=given.name or "preview", origin="api")

    def _changed(self, who: str, what: str, name: str) -> None:
        self.parts.observe(Changed(who=who, what=what, target=name))

    @contextmanager
    def _refusals(self, name: str) -> Iterator[None]:
        """What the store refuses, as people are told. Outdated is said by whoever knows how it was asked."""
        try:
            yield
        except NameTaken:
            raise self._taken(name) from None
        except ReadOnly:
            detail = f"workflow {name!a} stands in {self.parts.source}: change it there, then reload"
            raise Refusal(409, detail) from None
        except TooMany as error:
            raise Refusal(409, f"there may be no more workflows: {error}; remove one first") from None
        except LookupError:
            raise _unknown(name) from None

    def _taken(self, name: str) -> Refusal:
        there = self.parts.workflows.find(name)
        of_file = there is not None and there.origin == "file"
        fix = f"change that one in {self.parts.source}, then reload" if of_file else "replace that one with PUT"
        return Refusal(409, f"there is a workflow {name!a} already: take another name, or {fix}")


def outdated(error: Outdated, status: int) -> Refusal:
    """409 for a version in the body, 412 for one in If-Match (RFC 9110 13.1.1)."""
    return Refusal(status, f"somebody else changed it meanwhile: {error}; read it again, then change that")


def shown(workflow: Workflow) -> JSON:
    """Its document as it was written, its name, and what the relay knows of it."""
    found = {
        "name": workflow.name,
        **workflow.document,
        "version": workflow.version,
        "origin": workflow.origin,
        "changed_at": moment(workflow.changed_at),
        "changed_by": workflow.changed_by,
    }
    return found | ({"damaged": workflow.damaged} if workflow.damaged else {})


def _unknown(name: str) -> Refusal:
    return Refusal(404, f"there is no workflow {name[:100]!a}; GET /v1/workflows lists what there is")
