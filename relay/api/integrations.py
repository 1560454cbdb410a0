"""/v1/integrations: servers that are set up once, and the workflows whose runs are mailed through them.

Part of the application; the work is done by the operations. Options are described by the two JSON Schemas served here.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from relay.api.callers import Caller, needs
from relay.api.letter import judged, unfit
from relay.api.operations.integrations import IntegrationOperations
from relay.api.operations.queue import MAX_PAGE
from relay.api.parts import ApiParts
from relay.compose.words import line_problem
from relay.model import Scope

Who = Annotated[Caller, Depends(needs(Scope.PROVIDERS))]
_LARGEST_ID = (1 << 53) - 1


def _named(name: str) -> str:
    return line_problem(name) or ("" if name == name.strip() else "has blanks around it; write the name alone")


WorkflowName = Annotated[str, Field(min_length=1, max_length=100), judged(_named)]


def _id(value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_ID:
        raise unfit("must be the id of a registration, such as 1")
    return value


Id = Annotated[int, BeforeValidator(_id), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": _LARGEST_ID})]
Options = Annotated[dict[str, Any], Field(max_length=50)]

_REGISTERED: dict[str, str] = {
    "to": "platform-team@example.com",
    "from": "notifier@example.com",
    "user": "AHDHSYEE7e73",
    "password": "encrypted_password",  # nosec B105 - what is shown instead
    "host": "email-smtp.us-east-1.amazonaws.com",
    "port": "587",
}
_REGISTRATION: dict[str, Any] = {
    "id": 1,
    "integration": "smtp",
    "options": _REGISTERED,
    "created_at": "2026-11-21T09:30:00.000Z",
    "health": {"status": "healthy", "detail": ""},
}
_ATTACHMENT: dict[str, Any] = {
    "id": 1,
    "workflow": "release",
    "integration": 1,
    "options": {"cc": "security@example.com"},
    "created_at": "2026-11-21T09:31:00.000Z",
}


def _described(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(extra="forbid", hide_input_in_errors=True, json_schema_extra={"examples": [example]})


class Listing(BaseModel):
    """Which part of the list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(100, ge=1, le=MAX_PAGE)
    after: int = Field(0, ge=0, le=_LARGEST_ID, description="the last id of the page before")


class AttachmentListing(Listing):
    """Of one workflow, of one registration, or all."""

    workflow: str = Field("", max_length=100)
    integration: int = Field(0, ge=0, le=_LARGEST_ID, description="id of a registration")


class NewRegistration(BaseModel):
    """A server, who its mail is from and who gets it."""

    model_config = _described(
        {
            "integration": "smtp",
            "options": _REGISTERED | {"password": "kjsdfda8asd-of-your-own"},  # nosec B105 - nobody's
        }
    )

    integration: str = Field(max_length=100, description="smtp")
    options: Options = Field(description="as /v1/integrations/smtp/schema/registration says", repr=False)


class NewAttachment(BaseModel):
    """A workflow is only a name: what POST /v1/workflow-runs calls it."""

    model_config = _described({"workflow": "release", "integration": 1, "options": {"cc": "security@example.com"}})

    workflow: WorkflowName
    integration: Id = Field(description="of the registration")
    options: Options = Field(
        default_factory=dict, description="as /v1/integrations/smtp/schema/attachment says", repr=False
    )


class HealthOf(BaseModel):
    """`detail`: cause and fix when it is unhealthy."""

    status: str
    detail: str


class Registration(BaseModel):
    """The password is never shown."""

    model_config = _described(_REGISTRATION)

    id: int
    integration: str
    options: dict[str, str]
    created_at: str
    health: HealthOf


class Registrations(BaseModel):
    model_config = _described({"data": [_REGISTRATION], "has_more": False})

    data: list[Registration]
    has_more: bool


class Attachment(BaseModel):
    """`integration`: the id of the registration."""

    model_config = _described(_ATTACHMENT)

    id: int
    workflow: str
    integration: int
    options: dict[str, str]
    created_at: str


class Attachments(BaseModel):
    model_config = _described({"data": [_ATTACHMENT], "has_more": False})

    data: list[Attachment]
    has_more: bool


_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "There is no such one"}}
_FULL: dict[int | str, dict[str, Any]] = {409: {"description": "There are as many as there may be"}}
_SCHEMA: dict[int | str, dict[str, Any]] = {
    200: {"description": "JSON Schema, draft 2020-12", "content": {"application/schema+json": {"schema": {}}}},
    404: {"description": "There is no such integration or schema"},
}
_SCHEMA[200]["content"]["application/schema+json"]["schema"] = {"type": "object"}


def router(parts: ApiParts) -> APIRouter:
    routes = APIRouter(prefix="/v1/integrations", tags=["integrations"])
    operations = IntegrationOperations(parts)

    @routes.get(
        "/{integration}/schema/{kind}",
        operation_id="show_integration_schema",
        response_class=Response,
        responses=_SCHEMA,
    )
    async def show_integration_schema(caller: Who, integration: str, kind: str) -> Response:
        """What the options of a registration or an attachment may be."""
        return Response(operations.schema(integration, kind), media_type="application/schema+json")

    _registering(routes, operations)
    _attaching(routes, operations)
    return routes


def _registering(routes: APIRouter, operations: IntegrationOperations) -> None:
    @routes.get("/registrations", operation_id="list_registrations", response_model=Registrations)
    async def list_registrations(caller: Who, which: Annotated[Listing, Query()]) -> dict[str, Any]:
        """By id."""
        return operations.registrations(**which.model_dump())

    @routes.post(
        "/registrations", operation_id="register", status_code=201, response_model=Registration, responses=_FULL
    )
    async def register(caller: Who, given: NewRegistration) -> dict[str, Any]:
        """Connects and logs in first, which may take most of a minute: what does not work is not registered."""
        return await operations.register(caller.name, given.integration, given.options)

    @routes.get(
        "/registrations/{id:int}", operation_id="show_registration", response_model=Registration, responses=_UNKNOWN
    )
    async def show_registration(caller: Who, id: int) -> dict[str, Any]:
        """One registration, and whether its server takes mail now."""
        return operations.registration(id)

    @routes.delete("/registrations/{id:int}", operation_id="unregister", status_code=204, responses=_UNKNOWN)
    async def unregister(caller: Who, id: int) -> None:
        """Its attachments go with it. Mail that waits for it waits on, until it is rerouted or cancelled."""
        await operations.unregister(caller.name, id)


def _attaching(routes: APIRouter, operations: IntegrationOperations) -> None:
    @routes.get("/attachments", operation_id="list_attachments", response_model=Attachments)
    async def list_attachments(caller: Who, which: Annotated[AttachmentListing, Query()]) -> dict[str, Any]:
        """By id; of one workflow, of one registration, or all."""
        return operations.attachments(**which.model_dump())

    @routes.post("/attachments", operation_id="attach", status_code=201, response_model=Attachment, responses=_FULL)
    async def attach(caller: Who, given: NewAttachment) -> dict[str, Any]:
        """Each run of the workflow is mailed through the registration from now on. Twice attached is mailed twice."""
        return await operations.attach(caller.name, given.workflow, given.integration, given.options)

    @routes.get("/attachments/{id:int}", operation_id="show_attachment", response_model=Attachment, responses=_UNKNOWN)
    async def show_attachment(caller: Who, id: int) -> dict[str, Any]:
        """One attachment."""
        return operations.attachment(id)

    @routes.delete("/attachments/{id:int}", operation_id="detach", status_code=204, responses=_UNKNOWN)
    async def detach(caller: Who, id: int) -> None:
        """Runs of the workflow are mailed through it no more."""
        await operations.detach(caller.name, id)
