"""What all requests have in common that bring mail about: who asks, the idempotency key, the body, the answer.

Used by the resources that send, each of which says what is to be done. It never judges a mail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Request, Response
from msgspec import Struct
from pydantic import BaseModel

from relay.api.bodies import media_type, parsed, read
from relay.api.callers import client_of, permitted
from relay.api.operations.idempotency import MOST, Digest, Use, key_of, replay
from relay.api.operations.sending import Sending, Taken
from relay.api.parts import ApiParts
from relay.api.problem import Refusal
from relay.model import Scope
from relay.posting import Asked

M = TypeVar("M", bound=BaseModel)

_WORTH_A_THREAD = 64 * 1024  # bytes of JSON, which may be as many values; judging more holds everybody up

KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same request with the same key is done once for 24 hours, and has the same answer.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MOST, "pattern": "^[ -~]+$"},
}


def responses(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """What is answered to a request that may have a key."""
    replayed = {
        "description": "true: this is the answer of the request that had the key first",
        "schema": {"type": "string", "enum": ["true"]},
    }
    return {
        202: {
            "model": model,
            "description": "It is on stable storage",
            "headers": {"Idempotent-Replayed": replayed},
        },
        409: {"description": "A request with the same idempotency key is under way: come back after Retry-After"},
    }


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """How the description shows a JSON body that the resource reads itself."""
    return {"required": True, "content": {"application/json": {"schema": inlined(model.model_json_schema())}}}


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without references: FastAPI knows only models that it parses itself."""
    defined = schema.pop("$defs", {})

    def without(node: Any) -> Any:
        if isinstance(node, list):
            return [without(each) for each in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return without(defined[node["$ref"].rsplit("/", 1)[1]])
        return {name: without(each) for name, each in node.items()}

    found: dict[str, Any] = without(schema)
    return found


def asked(request: Request, parts: ApiParts) -> tuple[Asked, str]:
    """Who asks, and who the owner of their idempotency keys is. Raises Refusal 403."""
    caller = permitted(request, Scope.SEND)
    return Asked(client=client_of(request.scope), user=caller.name, began=parts.clock()), caller.key


def begin(sending: Sending, request: Request, owner: str) -> Use:
    """Raises Refusal 409, 422. Give it to `Uses.end` in any case."""
    return sending.uses.begin(owner, key_of(request.headers.getlist("idempotency-key")))


def answer(taken: Taken) -> Response:
    headers = {"Idempotent-Replayed": "true"} if taken.replayed else None
    return Response(taken.answer, status_code=202, media_type="application/json", headers=headers)


class Submitted(Struct, frozen=True):
    """A request as far as all have it in common. `digest`: of all of it, for its key."""

    asked: Asked
    use: Use
    digest: str


Work = Callable[[M, Submitted], Awaitable[Taken]]
"""What is to be done with a body."""

Parse = Callable[[type[M], bytearray], M]
"""What makes a model of a body, as `parsed` does."""


async def submitted(
    request: Request,
    parts: ApiParts,
    sending: Sending,
    model: type[M],
    most: int,
    work: Work[M],
    *,
    wrong_type: str,
    parse: Parse[M] = parsed,
) -> Response:
    """The whole course of a request with a JSON body of up to `most` bytes. A request that was done is not judged
    again: its answer is repeated. Raises Refusal, RequestValidationError.
    """
    who, owner = asked(request, parts)
    if media_type(request) != "application/json":
        raise Refusal(415, wrong_type)
    use = begin(sending, request, owner)
    try:
        sending.admit(0)
        digest = Digest(request.scope["path"])
        body = await read(request, most, digest)
        claim = await sending.uses.find(use)
        if claim is not None:
            return answer(Taken(answer=replay(claim, digest.text()), replayed=True))
        given = await asyncio.to_thread(parse, model, body) if len(body) > _WORTH_A_THREAD else parse(model, body)
        del body
        return answer(await work(given, Submitted(who, use, digest.text() if use.key else "")))
    finally:
        sending.uses.end(use)
