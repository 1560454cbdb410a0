"""POST /smtp/send-email, as in tests/seeds/c-send-email-http-api.txt: a subject and a text to one address.

Part of the application. All its refusals are `{"detail": ...}` with cause and fix, 400 for anything malformed: its
callers know no problem documents. It answers 200 only for mail on stable storage.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from relay.api.bodies import media_type, parsed, read
from relay.api.letter import MOST_TEXT, Address, Line, Text
from relay.api.operations.idempotency import Digest, Use
from relay.api.operations.sending import Sending
from relay.api.parts import ApiParts
from relay.api.problem import Refusal
from relay.api.submitting import asked, body_of
from relay.compose.draft import Draft
from relay.posting import Given

_SENT = b'{"status":"Email sent successfully"}'
_MOST = 6 * MOST_TEXT + (1 << 16)  # bytes: JSON may write every character as \uXXXX
_MALFORMED = frozenset({413, 415, 422})


class Email(BaseModel):
    """A text to one address."""

    model_config = ConfigDict(
        extra="forbid",
        arbitrary_types_allowed=True,
        json_schema_extra={
            "examples": [{"to": "recipient@example.com", "subject": "Email Subject", "message": "Email body text"}]
        },
    )

    to: Address
    subject: Line
    message: Text


class Sent(BaseModel):
    """It is on stable storage, and will be sent."""

    model_config = ConfigDict(json_schema_extra={"examples": [json.loads(_SENT)]})

    status: str


class Refused(BaseModel):
    """Cause and fix."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"detail": "to: is empty; write user@example.com"}]})

    detail: str


_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": Sent, "description": "It is on stable storage"},
    400: {"model": Refused, "description": "Something in the request is not as it should be"},
    401: {"model": Refused, "description": "The token is missing, wrong, expired or revoked"},
    403: {"model": Refused, "description": "The token lacks the scope send"},
    429: {"model": Refused, "description": "Too much at once: come back after Retry-After"},
    503: {"model": Refused, "description": "The spool is full or fails: come back after Retry-After"},
}


def _refused(refusal: Refusal) -> Response:
    headers = {"Retry-After": str(refusal.retry_after)} if refusal.retry_after else None
    status = 400 if refusal.status in _MALFORMED else refusal.status
    return JSONResponse({"detail": refusal.detail}, status_code=status, headers=headers)


def _invalid(errors: Iterable[Mapping[str, Any]]) -> Response:
    said = [f"{'.'.join(map(str, error['loc'][1:])) or 'body'}: {_msg(error)}" for error in errors]
    return JSONResponse({"detail": "; ".join(said[:10])}, status_code=400)


def _msg(error: Mapping[str, Any]) -> str:
    """pydantic names what is wrong; here the fix is said, too."""
    fixes = {
        "missing": "is missing; to, subject and message are needed",
        "extra_forbidden": "is no field; there are to, subject and message",
        "string_type": "must be a string",
        "string_unicode": "has half a surrogate pair; write whole characters",
    }
    return fixes.get(error["type"], str(error["msg"]))


def router(parts: ApiParts) -> APIRouter:
    routes = APIRouter(tags=["messages"])
    sending = Sending(parts.post)

    @routes.post(
        "/smtp/send-email",
        operation_id="send_email",
        responses=_RESPONSES,
        openapi_extra={"requestBody": body_of(Email)},
    )
    async def send_email(request: Request) -> Response:
        """Send a text to one address, from the configured sender."""
        try:
            await _send(request)
        except Refusal as refusal:
            return _refused(refusal)
        except RequestValidationError as error:
            return _invalid(error.errors())
        return Response(_SENT, media_type="application/json")

    async def _send(request: Request) -> None:
        who, owner = asked(request, parts)
        if media_type(request) != "application/json":
            raise Refusal(415, 'the body must be JSON, sent as Content-Type: application/json: {"to", ...}')
        sending.admit(0)
        email = parsed(Email, await read(request, _MOST, Digest("")))
        draft = Draft(to=(email.to,), subject=email.subject, text=email.message)
        await sending.send(draft, Given(), who, Use(owner, ""))

    return routes
