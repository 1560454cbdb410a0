"""/v1/users: who may log in, at listeners and over HTTP. The scope admin is needed.

Part of the application; the work is done by the operations.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from relay.api.callers import Caller, needs
from relay.api.operations.accounts import LONGEST_NAME, LONGEST_PASSWORD, AccountOperations
from relay.api.operations.queue import MAX_PAGE
from relay.api.parts import ApiParts
from relay.model import USUAL, Scope

Admin = Annotated[Caller, Depends(needs(Scope.ADMIN))]
Scopes = Annotated[
    list[Scope], Field(min_length=1, max_length=len(Scope), description="what it may do; admin: all of it")
]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
_EXAMPLE: dict[str, Any] = {
    "name": "crm",
    "scopes": ["queue", "send"],
    "origin": "api",
    "created_at": "2026-11-21T09:30:00.000Z",
}


class NewUser(BaseModel):
    """Somebody with a password."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={
            "examples": [{"name": "crm", "password": "correct horse battery", "scopes": ["send"]}]  # nosec B105
        },
    )

    name: str = Field(min_length=1, max_length=LONGEST_NAME)
    password: str = Field(min_length=1, max_length=LONGEST_PASSWORD, repr=False)
    scopes: Scopes = list(USUAL)


class User(BaseModel):
    """`origin`: "file", changed in the configuration only, or "api"."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: str
    scopes: list[str]
    origin: str
    created_at: str | None


class Users(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"data": [_EXAMPLE], "has_more": False}]})

    data: list[User]
    has_more: bool


def router(parts: ApiParts) -> APIRouter:
    routes = APIRouter(prefix="/v1/users", tags=["accounts"])
    operations = AccountOperations(parts)

    @routes.get("", operation_id="list_users", response_model=Users)
    async def list_users(
        caller: Admin, limit: Limit = 100, after: Annotated[str, Query(max_length=LONGEST_NAME)] = ""
    ) -> dict[str, Any]:
        """By name. Never a password or its hash."""
        return operations.users(limit=limit, after=after)

    @routes.post(
        "",
        operation_id="add_user",
        status_code=201,
        response_model=User,
        responses={409: {"description": "There is a user of this name"}},
    )
    async def add_user(caller: Admin, given: NewUser) -> dict[str, Any]:
        """It may log in at once."""
        return await operations.add_user(caller.name, name=given.name, password=given.password, scopes=given.scopes)

    @routes.delete(
        "/{name:path}",
        operation_id="remove_user",
        status_code=204,
        responses={
            404: {"description": "There is no such user"},
            409: {"description": "The user stands in the configuration file"},
        },
    )
    async def remove_user(caller: Admin, name: str) -> None:
        """And the tokens that it got from /token."""
        await operations.remove_user(caller.name, name)

    return routes
