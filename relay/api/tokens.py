"""/v1/tokens: bearer tokens that operators make. The scope admin is needed.

Part of the application; the work is done by the operations.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from relay.api.operations.accounts import LONGEST_NAME, AccountOperations
from relay.api.parts import ApiParts
from relay.api.users import Admin, Limit, Scopes
from relay.model import USUAL

_EXAMPLE: dict[str, Any] = {
    "id": 3,
    "name": "ci",
    "scopes": ["send"],
    "created_at": "2026-11-21T09:30:00.000Z",
    "expires_at": "2026-12-21T09:30:00.000Z",
    "expired": False,
}


class NewToken(BaseModel):
    """`name`: missing, one is made up. `expires`: a duration from now; missing or null: never."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "ci", "scopes": ["send"], "expires": "30d"}]}
    )

    name: str = Field("", max_length=LONGEST_NAME)
    scopes: Scopes = list(USUAL)
    expires: Annotated[str, Field(max_length=20)] | None = None


class Token(BaseModel):
    """Without its secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: int
    name: str
    scopes: list[str]
    created_at: str | None
    expires_at: str | None
    expired: bool


class Created(Token):
    """`token`: the secret, which is shown this once."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE | {"token": "relay_…"}]})  # nosec B105

    token: str


class Tokens(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"data": [_EXAMPLE], "has_more": False}]})

    data: list[Token]
    has_more: bool


def router(parts: ApiParts) -> APIRouter:
    routes = APIRouter(prefix="/v1/tokens", tags=["accounts"])
    operations = AccountOperations(parts)

    @routes.get("", operation_id="list_tokens", response_model=Tokens)
    async def list_tokens(
        caller: Admin, limit: Limit = 100, after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0
    ) -> dict[str, Any]:
        """By id, those that have expired too; without those that /token gave."""
        return operations.tokens(limit=limit, after=after)

    @routes.post(
        "",
        operation_id="create_token",
        status_code=201,
        response_model=Created,
        responses={409: {"description": "There is a token of this name"}},
    )
    async def create_token(caller: Admin, given: NewToken, response: Response) -> dict[str, Any]:
        """Its secret is in the answer and nowhere else."""
        response.headers["Cache-Control"] = "no-store"
        return await operations.create_token(caller.name, name=given.name, scopes=given.scopes, expires=given.expires)

    @routes.delete(
        "/{which:path}",
        operation_id="revoke_token",
        status_code=204,
        responses={404: {"description": "There is no such token"}},
    )
    async def revoke_token(caller: Admin, which: str) -> None:
        """By id or name, at once."""
        await operations.revoke_token(caller.name, which)

    return routes
