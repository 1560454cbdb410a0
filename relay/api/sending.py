"""POST /v1/messages and /v1/messages/raw: mail in, its id out once it is on stable storage.

Part of the application; the work is done by the operations. It never answers 202 for mail that could be lost.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.functional_validators import BeforeValidator

from relay.api.bodies import media_type, stream
from relay.api.callers import needs
from relay.api.letter import Accepted, Letter, Line, Moment, Tag, unfit
from relay.api.operations.idempotency import Digest
from relay.api.operations.raw import To, send_raw
from relay.api.operations.sending import Sending, Taken
from relay.api.parts import ApiParts
from relay.api.problem import Refusal
from relay.api.submitting import KEY, Submitted, answer, asked, begin, body_of, responses, submitted
from relay.compose import mailboxes
from relay.model import Labels, Scope
from relay.posting import Given

SLACK = 1 << 20  # bytes of a body that are not mail
_NO_JSON = "send the mail as application/json; a whole one goes to /v1/messages/raw"


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
        responses=responses(Accepted),
        openapi_extra={"requestBody": body_of(Letter), "parameters": [KEY]},
    )
    async def send_message(request: Request) -> Response:
        """Compose and send. A mail is taken for all its recipients or, when one of them is no address, for none."""
        most = parts.house().max_message_size * 4 // 3 + SLACK
        return await submitted(request, parts, sending, Letter, most, _send, wrong_type=_NO_JSON)

    async def _send(letter: Letter, by: Submitted) -> Taken:
        return await sending.send(letter.draft(), letter.given(), by.asked, by.use, by.digest)

    @routes.post(
        "/raw",
        operation_id="send_raw_message",
        status_code=202,
        dependencies=[Depends(needs(Scope.SEND))],  # before the query is looked at
        responses=responses(Accepted),
        openapi_extra={"requestBody": _RAW, "parameters": [KEY]},
    )
    async def send_raw_message(request: Request, envelope: Annotated[Envelope, Query()]) -> Response:
        """Send a whole mail as it is: only line ends are made CRLF, and Message-ID and Date added if they are missing.

        The query says who gets it, so it must not have a header Bcc: everybody would read that.
        """
        who, owner = asked(request, parts)
        if media_type(request) != "message/rfc822":
            raise Refusal(415, "send the mail as message/rfc822; fields in JSON go to /v1/messages")
        use = begin(sending, request, owner)
        digest = Digest(f"/v1/messages/raw?{request.url.query}")
        try:
            mail = stream(request)
            return answer(await send_raw(sending, mail, envelope.whereto(), envelope.given(), who, use, digest))
        finally:
            sending.uses.end(use)

    return routes
