"""/v1/events: something happened, so rules make mail of it; and what happened before.

Part of the application; the work is done by the operations. It answers 202 only for what is on stable storage.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from relay.api.callers import needs
from relay.api.facts import Facts
from relay.api.operations.events import EventOperations
from relay.api.operations.queue import MAX_PAGE, MOST
from relay.api.operations.sending import Sending, Taken
from relay.api.parts import ApiParts
from relay.api.submitting import KEY, Submitted, body_of, responses, submitted
from relay.config.workflows import EventName
from relay.model import Scope

LARGEST = 1 << 20  # bytes of a body
NO_JSON = "send it as application/json"

_MESSAGE, _EVENT = "06p1q8v3c2e7m", "06p1q8v3c2e7k"
_FIRED = {"workflow": "welcome", "version": 1, "messages": [_MESSAGE]}
_FAILURE = {
    "workflow": "onboarding",
    "action": 0,
    "loc": ["actions", 0, "data", "subject"],
    "error": "'employee' is undefined",
}
CAUSED: dict[str, Any] = {
    "fired": [_FIRED],
    "messages": [_MESSAGE],
    "failed": [_FAILURE],
    "skipped": [{"workflow": "newsletter", "action": None}],
}
_HAPPENED: dict[str, Any] = {
    "id": _EVENT,
    "kind": "event",
    "name": "user.created",
    "at": "2026-11-21T09:30:00.000Z",
    "user": "crm",
    **CAUSED,
}


class Told(BaseModel):
    """Something that happened. Rules that wait for its name make mail of it."""

    model_config = ConfigDict(
        extra="forbid",
        title="Event",
        hide_input_in_errors=True,
        json_schema_extra={
            "examples": [
                {"event": "user.created", "data": {"user": {"email": "ann@example.org", "username": "ann"}}},
            ]
        },
    )

    event: EventName = Field(description="its name, as rules have it in trigger.event")
    data: Facts = Field(default_factory=dict)


class Fired(BaseModel):
    """A rule that made mail. `version`: of the rule as it was then."""

    workflow: str
    version: int
    messages: list[str]


class Failed(BaseModel):
    """What made no mail: `error` is cause and fix, `loc` its place in the rule; `action` null: all of the rule."""

    workflow: str
    action: int | None
    loc: list[str | int]
    error: str


class Skipped(BaseModel):
    """What was not to be, since its `if` was false; `action` null: that of the rule."""

    workflow: str
    action: int | None


class Caused(BaseModel):
    """What came of it. `messages`: ids, as GET /v1/messages/{id} has them."""

    fired: list[Fired]
    messages: list[str]
    failed: list[Failed]
    skipped: list[Skipped]


class EventTaken(Caused):
    """All of its mail is on stable storage, or there is none."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": _EVENT, "event": "user.created", **CAUSED}]})

    id: str
    event: str


class Happened(BaseModel):
    """`kind`: event, workflow (run by its name) or run (told to what is attached). `user`: who told it."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [_HAPPENED]})

    id: str
    kind: str
    name: str
    at: str | None
    user: str
    messages: list[str] = Field(default_factory=list)


class Events(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"data": [_HAPPENED], "has_more": False}]})

    data: list[Happened]
    has_more: bool


class Listing(BaseModel):
    """Which part of what happened."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(100, ge=1, le=MAX_PAGE)
    after: str = Field("", max_length=MOST["id"], description="the last id of the page before")
    name: str = Field("", max_length=255, description="of the event or the workflow, exactly")


def router(parts: ApiParts) -> APIRouter:
    routes = APIRouter(prefix="/v1/events", tags=["events"])
    sending = Sending(parts.post)
    operations = EventOperations(parts, sending)
    queue = [Depends(needs(Scope.QUEUE))]

    @routes.post(
        "",
        operation_id="tell_event",
        status_code=202,
        responses=responses(EventTaken),
        openapi_extra={"requestBody": body_of(Told), "parameters": [KEY]},
    )
    async def tell_event(request: Request) -> Response:
        """Every rule that waits for it fires; one action that fails keeps no other from firing.

        The mail is in the queue, all of it, when this is answered.
        """
        return await submitted(request, parts, sending, Told, LARGEST, _tell, wrong_type=NO_JSON)

    async def _tell(told: Told, by: Submitted) -> Taken:
        return await operations.tell(told.event, told.data, by.asked, by.use, by.digest)

    @routes.get("", operation_id="list_events", dependencies=queue, responses={200: {"model": Events}})
    async def list_events(which: Annotated[Listing, Query()]) -> dict[str, Any]:
        """What happened and what it caused, newest first. What came with an event is not kept."""
        return await operations.list(limit=which.limit, after=which.after, name=which.name)

    @routes.get(
        "/{id}",
        operation_id="show_event",
        dependencies=queue,
        responses={200: {"model": Happened}, 404: {"description": "There is no such event, or it was pruned"}},
    )
    async def show_event(id: Annotated[str, Path(max_length=MOST["id"])]) -> dict[str, Any]:
        """One of them."""
        return await operations.show(id)

    return routes
