"""/v1/workflows: rules that turn events into mail, tried out, run by name, and changed a version at a time.

Part of the application; the work is done by the operations.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from relay.api import workflow_bodies as bodies
from relay.api.callers import Caller, needs
from relay.api.events import LARGEST, NO_JSON
from relay.api.facts import Sample
from relay.api.operations.events import EventOperations
from relay.api.operations.queue import MAX_PAGE
from relay.api.operations.sending import Sending, Taken
from relay.api.operations.workflows import WorkflowOperations, outdated, shown
from relay.api.parts import ApiParts
from relay.api.problem import Refusal
from relay.api.submitting import KEY, Submitted, body_of, responses, submitted
from relay.model import Scope, Workflow
from relay.ports import Outdated

_LONGEST_NAME = 255
_ETAG = re.compile(r'"(\d{1,9})"')

Who = Annotated[Caller, Depends(needs(Scope.PROVIDERS))]
Name = Annotated[str, Path(max_length=_LONGEST_NAME, description="of a workflow")]
Responses = dict[int | str, dict[str, Any]]

_UNKNOWN: Responses = {404: {"description": "There is no such workflow"}}
_READ_ONLY: Responses = {409: {"description": "It stands in the configuration file, or is at another version"}}
_STALE: Responses = {412: {"description": "It is at another version than If-Match says"}}
_TAG = {"ETag": {"description": "its version in quotes, for If-Match", "schema": {"type": "string"}}}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "what ETag said: only if it is still at that version",
    "schema": {"type": "string"},
}


class Listing(BaseModel):
    """Which part of the list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(100, ge=1, le=MAX_PAGE)
    after: str = Field("", max_length=_LONGEST_NAME, description="the last name of the page before")


def _good(status: int, model: type[BaseModel], **more: Any) -> Responses:
    return {status: {"model": model, "description": "It is so", **more}}


def _answer(workflow: Workflow, status: int = 200) -> JSONResponse:
    headers = {"ETag": f'"{workflow.version}"'}
    if status == 201:
        headers["Location"] = f"/v1/workflows/{workflow.name.replace(' ', '%20')}"
    return JSONResponse(shown(workflow), status_code=status, headers=headers)


def _matched(request: Request) -> int | None:
    """The version in If-Match, None: any will do. Raises Refusal 412 for what cannot be one."""
    said = request.headers.get("if-match", "*").strip()
    if said == "*":
        return None
    tag = _ETAG.fullmatch(said)
    if tag is None:
        raise Refusal(412, 'If-Match must be what ETag said, the version in quotes such as "3"')
    return int(tag[1])


def router(parts: ApiParts) -> APIRouter:
    routes = APIRouter(prefix="/v1/workflows", tags=["workflows"])
    operations = WorkflowOperations(parts)
    _look(routes, operations)
    _change(routes, operations)
    _try(routes, operations)
    _run(routes, operations, parts)
    return routes


def _look(routes: APIRouter, operations: WorkflowOperations) -> None:
    @routes.get("", operation_id="list_workflows", responses=_good(200, bodies.Workflows))
    async def list_workflows(who: Who, which: Annotated[Listing, Query()]) -> dict[str, Any]:
        """All of them, of the configuration file and of this API, by name."""
        return operations.list(limit=which.limit, after=which.after)

    @routes.get("/{name}", operation_id="show_workflow", responses=_good(200, bodies.Shown, headers=_TAG) | _UNKNOWN)
    async def show_workflow(who: Who, name: Name) -> Response:
        """As it was written. What is answered can be sent back with PUT."""
        return _answer(operations.find(name))

    @routes.get("/{name}/versions", operation_id="workflow_versions", responses=_good(200, bodies.Workflows) | _UNKNOWN)
    async def workflow_versions(who: Who, name: Name) -> dict[str, Any]:
        """What it was, newest first: the last hundred."""
        return await operations.versions(name)


def _change(routes: APIRouter, operations: WorkflowOperations) -> None:
    @routes.post(
        "",
        operation_id="add_workflow",
        status_code=201,
        responses=_good(201, bodies.Shown, headers=_TAG)
        | {409: {"description": "The name is taken, or there are as many as there may be"}},
        openapi_extra={"requestBody": bodies.described()},
    )
    async def add_workflow(who: Who, request: Request) -> Response:
        """A rule in JSON or YAML; it is in force at once. One without a name gets one, of its event."""
        given = await bodies.given(request)
        return _answer(await operations.add(who.name, given.rule), 201)

    @routes.put(
        "/{name}",
        operation_id="replace_workflow",
        responses=_good(200, bodies.Shown, headers=_TAG) | _UNKNOWN | _READ_ONLY | _STALE,
        openapi_extra={"requestBody": bodies.described(), "parameters": [_IF_MATCH]},
    )
    async def replace_workflow(who: Who, name: Name, request: Request) -> Response:
        """All of it, by a new version; with `version`, or If-Match, only if that is what it is at."""
        given = await bodies.given(request)
        matched = _matched(request)
        version = given.version if matched is None else matched
        try:
            return _answer(await operations.change(who.name, name, given.rule, version))
        except Outdated as error:
            raise outdated(error, 409 if matched is None else 412) from None

    @routes.delete(
        "/{name}",
        operation_id="remove_workflow",
        status_code=204,
        responses=_UNKNOWN | _READ_ONLY | _STALE,
        openapi_extra={"parameters": [_IF_MATCH]},
    )
    async def remove_workflow(who: Who, name: Name, request: Request) -> None:
        """And its versions; the name is free again. With If-Match, only if that is what it is at."""
        matched = _matched(request)
        try:
            await operations.remove(who.name, name, matched)
        except Outdated as error:
            raise outdated(error, 412) from None


def _try(routes: APIRouter, operations: WorkflowOperations) -> None:
    @routes.post(
        "/preview",
        operation_id="preview_rule",
        responses=_good(200, bodies.Preview),
        openapi_extra={"requestBody": bodies.trial_described()},
    )
    async def preview_rule(who: Who, request: Request) -> dict[str, Any]:
        """What a rule would mail that is not kept, for an event with these data. Nothing is mailed."""
        trial = await bodies.trial(request)
        return await operations.preview(operations.unsaved(trial.workflow), trial.data)

    @routes.post("/{name}/preview", operation_id="preview_workflow", responses=_good(200, bodies.Preview) | _UNKNOWN)
    async def preview_workflow(who: Who, name: Name, sample: Sample) -> dict[str, Any]:
        """What it would mail for an event with these data. Nothing is mailed."""
        return await operations.preview(operations.find(name), sample.data)


def _run(routes: APIRouter, operations: WorkflowOperations, parts: ApiParts) -> None:
    sending = Sending(parts.post)
    events = EventOperations(parts, sending)

    @routes.post(
        "/{name}/run",
        operation_id="run_workflow",
        status_code=202,
        dependencies=[Depends(needs(Scope.SEND))],  # before the name is looked at
        responses=responses(bodies.RunTaken) | _UNKNOWN,
        openapi_extra={"requestBody": body_of(Sample), "parameters": [KEY]},
    )
    async def run_workflow(name: Name, request: Request) -> Response:
        """It does what it does, whatever it waits for. All of its mail is in the queue when this is answered."""

        async def run(sample: Sample, by: Submitted) -> Taken:
            return await events.run(operations.find(name), sample.data, by.asked, by.use, by.digest)

        return await submitted(request, parts, sending, Sample, LARGEST, run, wrong_type=NO_JSON)
