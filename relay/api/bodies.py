"""The bodies of requests that bring mail: read within bounds, and JSON made into a model.

Used by the resources that send. It never repeats what a client sent (hazard H8). What all requests hold in memory
together is bounded by the guards.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from relay.api.operations.idempotency import Digest
from relay.api.problem import Refusal, shown

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

# Values in a body, by commas and brackets. Mail has few, its attachments none; a million empty lists would take 100 MB.
_MANY_VALUES = 4_000_000
_LARGE = 1 << 20


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def stream(request: Request) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises Refusal when the client goes away, which nobody will read."""
    try:
        async for data in request.stream():
            if data:
                yield data
    except ClientDisconnect:
        raise Refusal(400, "the request ended before its body did; nothing was accepted") from None


async def read(request: Request, most: int, digest: Digest) -> bytearray:
    """All of it, up to `most` bytes. Raises Refusal 413 or 400."""
    body = bytearray()  # in one piece: a list of pieces would be in memory twice when joined
    async for piece in stream(request):
        if len(body) + len(piece) > most:
            raise Refusal(413, f"the body of this request may have {most} bytes")
        digest.feed(piece)
        body += piece
    return body


def parsed(model: type[M], body: bytearray) -> M:
    """Raises Refusal 400 for what is no JSON, RequestValidationError for what does not fit, with every place."""
    if len(body) > _LARGE and body.count(b",") + body.count(b"[") + body.count(b"{") > _MANY_VALUES:
        raise Refusal(413, f"the body has more than {_MANY_VALUES} values; attachments go in base64")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        found = _errors(error)
    if found[0]["type"] == "json_invalid":
        raise _no_json(model.model_validate, body, str(found[0]["msg"]))
    raise _invalid(found)


def judged(judge: Callable[[Any], T], body: bytes | bytearray) -> T:
    """What `judge` makes of JSON. Raises as `parsed`; `judge` raises ValidationError."""
    try:
        document = from_json(body)
    except ValueError as error:
        raise _no_json(judge, body, str(error)) from None
    return fitting(judge, document)


def fitting(judge: Callable[[Any], T], document: Any) -> T:
    """What `judge` makes of a body that was read. Raises RequestValidationError."""
    try:
        return judge(document)
    except ValidationError as error:
        raise _invalid(_errors(error)) from None


def _errors(error: ValidationError) -> list[Any]:
    return list(error.errors(include_url=False, include_context=False, include_input=False))


def _invalid(found: list[Any]) -> RequestValidationError:
    return RequestValidationError([{**each, "loc": ("body", *map(shown, each["loc"]))} for each in found])


def _no_json(judge: Callable[[Any], object], body: bytes | bytearray, why: str) -> Exception:
    """Names where half a surrogate pair, or a control character, is in what would be JSON without it (hazard H1)."""
    try:
        judge(json.loads(body, strict=False))
    except ValidationError as error:
        return _invalid(_errors(error))
    except (ValueError, RecursionError):
        pass
    return Refusal(400, f"the body is no JSON: {why.removeprefix('Invalid JSON: ')}")
