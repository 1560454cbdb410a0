"""POST /token: a password for a bearer token of an hour, by OAuth2's password form (RFC 6749 4.3).

Part of the application, open to everybody. Wrong passwords are told to the log, and to the accounts, which turn away
who gives too many.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from relay.api.callers import client_of
from relay.api.operations.accounts import LONGEST_NAME, LONGEST_PASSWORD
from relay.api.parts import ApiParts
from relay.api.problem import MEDIA_TYPE, Refusal, problem
from relay.events import LoginFailed
from relay.model import Account, Scope, implied
from relay.ports import Busy

SECONDS = 3600
_NO_STORE = {"Cache-Control": "no-store"}  # RFC 6749 5.1


class Granted(BaseModel):
    """`expires_in`: seconds. `scope` is there when one was asked for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"access_token": "relay_…", "token_type": "bearer", "expires_in": SECONDS}]  # nosec B105
        }
    )

    access_token: str
    token_type: str
    expires_in: int
    scope: str | None = None


class Asked(BaseModel):
    """The form. `grant_type`: password, or missing. `scope`: names with blanks between; missing: all the user has.

    Whatever else there is, such as client_id, is ignored (RFC 6749 3.2).
    """

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={"example": {"username": "crm", "password": "correct horse battery"}},  # nosec B105
    )

    username: Annotated[str, Form(max_length=LONGEST_NAME)]
    password: Annotated[str, Form(max_length=LONGEST_PASSWORD)]
    grant_type: Annotated[str, Form(max_length=100)] = "password"
    scope: Annotated[str, Form(max_length=1000)] = ""


def router(parts: ApiParts) -> APIRouter:
    routes = APIRouter(tags=["accounts"])

    @routes.post(
        "/token",
        operation_id="get_token",
        response_model=Granted,
        responses={
            400: {"description": "`error` says which: unsupported_grant_type or invalid_scope (RFC 6749 5.2)"},
            401: {"description": "User name or password is wrong; `error` is invalid_grant"},
        },
    )
    async def get_token(request: Request, asked: Annotated[Asked, Form()]) -> JSONResponse:
        """A token for this user, for an hour."""
        if asked.grant_type != "password":
            return _refused(request, 400, "unsupported_grant_type", "grant_type must be password, or missing")
        account = await _account(parts, asked, client_of(request.scope))
        if account is None:
            return _refused(request, 401, "invalid_grant", _why(parts))
        scopes = _scopes(account, asked.scope)
        if not scopes:
            has = " ".join(sorted(account.scopes))
            return _refused(request, 400, "invalid_scope", f"the user has none of these scopes, but: {has}")
        _, secret = await parts.accounts.issue(
            account.name, scopes, parts.clock(), user=account.name, seconds=float(SECONDS)
        )
        granted: dict[str, Any] = {"access_token": secret, "token_type": "bearer", "expires_in": SECONDS}  # nosec B105
        told = {"scope": " ".join(sorted(scopes))} if asked.scope else {}
        return JSONResponse(granted | told, headers=_NO_STORE)

    return routes


async def _account(parts: ApiParts, asked: Asked, client: str) -> Account | None:
    password = asked.password.encode(errors="surrogatepass")
    try:
        account = await parts.accounts.authenticate(asked.username, password, client)
    except Busy as busy:
        detail = "too many passwords were wrong, or too many are being judged; come back a little later"
        raise Refusal(429, detail, retry_after=math.ceil(busy.seconds)) from None
    if account is None:
        parts.observe(LoginFailed(client=client, user=asked.username))
    return account


def _why(parts: ApiParts) -> str:
    if parts.accounts.users():
        return "user name or password is wrong"
    return "there are no users: add one with relay user add"


def _scopes(account: Account, asked: str) -> frozenset[Scope]:
    """All the user has, or those of them that were asked for."""
    wanted = frozenset(scope for scope in Scope if scope in asked.split())
    return wanted & implied(account.scopes) if asked else account.scopes


def _refused(request: Request, status: int, error: str, detail: str) -> JSONResponse:
    """A problem document with the member that OAuth2's clients look at (RFC 6749 5.2)."""
    headers = _NO_STORE | ({"WWW-Authenticate": "Bearer"} if status == 401 else {})
    document = problem(status, detail, request.url.path) | {"error": error}
    return JSONResponse(document, status_code=status, media_type=MEDIA_TYPE, headers=headers)
