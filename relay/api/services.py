"""/v1/services: what the relay does for those who call it a service, by the names they know.

Part of the application; the work is done by the operations. There is one: smtp.send_email.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import ConfigDict, Field, model_validator

from relay.api.callers import needs
from relay.api.letter import Accepted, Addresses, Line, Mail, Text, unfit
from relay.api.operations.sending import Sending, Taken
from relay.api.parts import ApiParts
from relay.api.problem import Refusal
from relay.api.sending import SLACK
from relay.api.submitting import KEY, Submitted, body_of, responses, submitted
from relay.compose.draft import Draft
from relay.model import Scope
from relay.posting import Given

SEND_EMAIL = "smtp.send_email"


class Email(Mail):
    """A mail. `body` is needed unless there is `html`."""

    model_config = ConfigDict(
        title="ServiceMail",
        json_schema_extra={
            "examples": [
                {"to": "user@example.com", "subject": "Welcome", "body": "Hello Ann, welcome to the platform!"}
            ]
        },
    )

    to: Annotated[Addresses, Field(min_length=1)]
    subject: Line
    body: Text | None = None

    @model_validator(mode="after")
    def has_text(self) -> Email:
        if self.body is None and self.html is None:
            raise unfit("needs body, or html, or both")
        return self

    def draft(self) -> Draft:
        return self.draft_of(self.body)


_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "There is no such service"}}


def router(parts: ApiParts) -> APIRouter:
    routes = APIRouter(prefix="/v1/services", tags=["messages"])
    sending = Sending(parts.post)

    @routes.post(
        f"/{SEND_EMAIL}",
        operation_id="send_email_service",
        status_code=202,
        responses=responses(Accepted),
        openapi_extra={"requestBody": body_of(Email), "parameters": [KEY]},
    )
    async def send_email_service(request: Request) -> Response:
        """Compose and send, as POST /v1/messages does, with the fields that rules have."""
        most = parts.house().max_message_size * 4 // 3 + SLACK
        return await submitted(
            request, parts, sending, Email, most, _send, wrong_type="send the mail as application/json"
        )

    async def _send(email: Email, by: Submitted) -> Taken:
        return await sending.send(email.draft(), Given(), by.asked, by.use, by.digest)

    @routes.post(
        "/{service}",
        operation_id="call_service",
        include_in_schema=False,
        dependencies=[Depends(needs(Scope.SEND))],
        responses=_UNKNOWN,
    )
    async def call_service(service: Annotated[str, Path()]) -> Response:
        """What is called has another name."""
        raise Refusal(404, f"there is no service {service[:100]!a}; there is: {SEND_EMAIL}")

    return routes
