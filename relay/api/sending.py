"""POST /v1/messages and /v1/messages/raw: mail in, its id out once it is on stable storage.

Part of the application; the work is done by the operations. It never answers 202 for mail that could be lost.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.functional_validators import BeforeValidator

from relay.api.bodies import media_type, parsed, read, stream
from relay.api.callers import client_of, needs, permitted
from relay.api.letter import Accepted, Letter, Line, Moment, Tag, unfit
from relay.api.operations.idempotency import MOST, Digest, Use, key_of, replay
from relay.api.operations.raw import To, send_raw
from relay.api.operations.sending import Sending, Taken
from relay.api.parts import ApiParts
from relay.api.problem import Refusal
from relay.compose import mailboxes
from relay.model import Labels, Scope
from relay.posting import Asked, Given

SLACK = 1 << 20  # bytes of a body that are not mail


def _bare(value: Any) -> str:
    found = mailboxes.parse(value) if isinstance(value, str) and len(value) <= mailboxes.MOST else "is too long"
    if isinstance(found, str):
        raise unfit(found)
    if found.name:
        raise unfit("must be an address alone, user@example.com; names are in the mail")
    return found.address


Bare = Annotated[
    str, BeforeValidator(_bare), WithJsonSchema({"type": "string", "maxLength": mailboxes.MOST, "examples": ["a@b.c"]})
]


class Envelope(BaseModel):
    """Who gets a whole mail, and from whom, whatever its headers say."""

    model_config = ConfigDict(extra="forbid")

    to: Annotated[list[Bare], Field(min_length=1, max_length=10_000)]
    sender: Bare | None = Field(None, alias="from", description="sender in the envelope; else give identity")
    identity: Line | None = Field(None, description="send it as this one of `identities`")
    tag: Annotated[list[Tag], Field(max_length=10)] = Field(default_factory=list)
    send_at: Moment | None = Field(None, description="not before, at most 30 days ahead")

    def whereto(self) -> To:
        recipients = tuple(dict.fromkeys(self.to))
        return To(recipients=recipients, sender=self.sender or "", identity=self.identity or "")

    def given(self) -> Given:
        labels = Labels(tags=tuple(dict.fromkeys(self.tag))) if self.tag else None
        return Given(labels=labels, send_at=self.send_at or 0.0)


def asked(request: Request, parts: ApiParts) -> tuple[Asked, str]:
    """Who asks, and who the owner of their idempotency keys is. Raises Refusal 403."""
    caller = permitted(request, Scope.SEND)
    return Asked(client=client_of(request.scope), user=caller.name, began=parts.clock()), caller.key


def _begin(sending: Sending, request: Request, owner: str) -> Use:
    return sending.uses.begin(owner, key_of(request.headers.getlist("idempotency-key")))


def _answer(taken: Taken) -> Response:
    headers = {"Idempotent-Replayed": "true"} if taken.replayed else None
    return Response(taken.answer, status_code=202, media_type="application/json", headers=headers)


_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same request with the same key is one message for 24 hours, and has the same answer.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MOST, "pattern": "^[ -~]+$"},
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    202: {
        "model": Accepted,
        "description": "It is on stable storage",
        "headers": {
            "Idempotent-Replayed": {
                "description": "true: this is the answer of the request that had the key first",
                "schema": {"type": "string", "enum": ["true"]},
            }
        },
    },
    409: {"description": "A request with the same idempotency key is under way: come back after Retry-After"},
}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
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


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """How the description shows a JSON body that the resource reads itself."""
    return {"required": True, "content": {"application/json": {"schema": _inlined(model.model_json_schema())}}}


_RAW = {
    "required": True,
    "content": {
        "message/rfc822": {
            "schema": {"type": "string", "format": "binary"},
            "example": "From: shop@example.com\r\nTo: ann@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n",
        }
    },
}


def router(parts: ApiParts) -> APIRouter:
    routes = APIRouter(prefix="/v1/messages", tags=["messages"])
    sending = Sending(parts.post)

    @routes.post(
        "",
        operation_id="send_message",
        status_code=202,
        responses=_RESPONSES,
        openapi_extra={"requestBody": body_of(Letter), "parameters": [_KEY]},
    )
    async def send_message(request: Request) -> Response:
        """Compose and send. A mail is taken for all its recipients or, when one of them is no address, for none."""
        who, owner = asked(request, parts)
        if media_type(request) != "application/json":
            raise Refusal(415, "send the mail as application/json; a whole one goes to /v1/messages/raw")
        use = _begin(sending, request, owner)
        try:
            return _answer(await _send(request, who, use))
        finally:
            sending.uses.end(use)

    async def _send(request: Request, who: Asked, use: Use) -> Taken:
        sending.admit(0)
        digest = Digest("/v1/messages")
        body = await read(request, parts.house().max_message_size * 4 // 3 + SLACK, digest)
        claim = await sending.uses.find(use) if use.key else None
        if claim is not None:
            return Taken(answer=replay(claim, digest.text()), replayed=True)
        letter = parsed(Letter, body)
        del body
        return await sending.send(letter.draft(), letter.given(), who, use, digest.text() if use.key else "")

    @routes.post(
        "/raw",
        operation_id="send_raw_message",
        status_code=202,
        dependencies=[Depends(needs(Scope.SEND))],  # before the query is looked at
        responses=_RESPONSES,
        openapi_extra={"requestBody": _RAW, "parameters": [_KEY]},
    )
    async def send_raw_message(request: Request, envelope: Annotated[Envelope, Query()]) -> Response:
        """Send a whole mail as it is: only line ends are made CRLF, and Message-ID and Date added if they are missing.

        The query says who gets it, so it must not have a header Bcc: everybody would read that.
        """
        who, owner = asked(request, parts)
        if media_type(request) != "message/rfc822":
            raise Refusal(415, "send the mail as message/rfc822; fields in JSON go to /v1/messages")
        use = _begin(sending, request, owner)
        digest = Digest(f"/v1/messages/raw?{request.url.query}")
        try:
            mail = stream(request)
            return _answer(await send_raw(sending, mail, envelope.whereto(), envelope.given(), who, use, digest))
        finally:
            sending.uses.end(use)

    return routes
