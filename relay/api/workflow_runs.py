"""POST /v1/workflow-runs: a workflow ran, so a mail goes to everything that is attached to it.

Part of the application; the work is done by the operations. Run and attestation are objects of any shape.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from relay.api.bodies import parsed
from relay.api.integrations import WorkflowName
from relay.api.operations.runs import Runs
from relay.api.operations.sending import Sending, Taken
from relay.api.parts import ApiParts
from relay.api.problem import Refusal
from relay.api.submitting import KEY, Submitted, body_of, responses, submitted
from relay.automation.runs import Run

_MANY_VALUES = 250_000  # in a body; as objects they take a hundred times as much memory as in JSON
_NO_JSON = 'send the run as application/json: {"workflow", "run", "attestation"}'
_RUN: dict[str, Any] = {
    "workflow": "release",
    "run": {"id": "8d4e1c1f", "name": "release-42", "status": "success"},
    "attestation": {"predicateType": "chainloop.dev/attestation/v0.2", "subject": [{"name": "relay"}]},
}
_TAKEN: dict[str, Any] = {
    "id": "06p1q8v3c2e7k",
    "messages": ["06p1q8v3c2e7m"],
    "failed": [{"attachment": 2, "registration": 1, "error": "attachments: the message has 40000000 bytes"}],
}


class _Raw(msgspec.Struct):
    """The objects as they came: numbers lose nothing by being read and written again."""

    run: msgspec.Raw
    attestation: msgspec.Raw


class WorkflowRun(BaseModel):
    """What a run says of itself, and what is attested of it."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, json_schema_extra={"examples": [_RUN]})

    workflow: WorkflowName = Field(description="as attachments call it")
    run: Annotated[dict[str, Any], Field(description="its name or id and its status go into the subject", repr=False)]
    attestation: Annotated[dict[str, Any], Field(description="attached whole as attestation.json", repr=False)]
    _raw: _Raw = PrivateAttr()

    @classmethod
    def read(cls, model: type[WorkflowRun], body: bytearray) -> WorkflowRun:
        """Raises Refusal, RequestValidationError."""
        if body.count(b",") + body.count(b"[") + body.count(b"{") > _MANY_VALUES:
            raise Refusal(413, f"the body has more than {_MANY_VALUES} values; leave out what people need not get")
        found = parsed(model, body)
        try:
            found._raw = msgspec.json.decode(body, type=_Raw)
        except msgspec.DecodeError as error:  # of NaN and Infinity, which the other parser takes
            raise Refusal(400, f"the body is no JSON: {error}") from None
        return found

    def told(self) -> Run:
        return Run(
            workflow=self.workflow,
            run=self.run,
            attestation=self.attestation,
            run_bytes=bytes(self._raw.run),
            attestation_bytes=bytes(self._raw.attestation),
        )


class NotTold(BaseModel):
    """A mail that could not be made: `error` is cause and fix."""

    attachment: int
    registration: int
    error: str


class RunTaken(BaseModel):
    """All of its mail is on stable storage. `messages`: ids, as GET /v1/messages/{id} has them."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TAKEN]})

    id: str
    messages: list[str]
    failed: list[NotTold]


def router(parts: ApiParts) -> APIRouter:
    routes = APIRouter(prefix="/v1/workflow-runs", tags=["integrations"])
    sending = Sending(parts.post)
    runs = Runs(parts, sending)

    @routes.post(
        "",
        operation_id="tell_workflow_run",
        status_code=202,
        responses=responses(RunTaken),
        openapi_extra={"requestBody": body_of(WorkflowRun), "parameters": [KEY]},
    )
    async def tell_workflow_run(request: Request) -> Response:
        """One mail for each registration that is attached to the workflow, by its own server.

        The mail is in the queue, all of it, when this is answered; a run that nothing is attached to is recorded only.
        """
        most = parts.house().max_message_size
        return await submitted(
            request, parts, sending, WorkflowRun, most, _tell, wrong_type=_NO_JSON, parse=WorkflowRun.read
        )

    async def _tell(given: WorkflowRun, by: Submitted) -> Taken:
        return await runs.tell(given.told(), by.asked, by.use, by.digest)

    return routes
