"""The bodies of /v1/workflows: rules in JSON or YAML, and what is answered about them.

Used by `workflows`. A rule is judged by the one schema that the configuration file has, too.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import Request
from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from relay.api.bodies import fitting, judged, media_type, read
from relay.api.events import CAUSED, Failed, Fired, Skipped
from relay.api.facts import Facts
from relay.api.operations.idempotency import Digest
from relay.api.operations.workflows import ADDED
from relay.api.problem import Refusal
from relay.api.submitting import inlined
from relay.config import workflows as rules

YAML = "application/yaml"  # RFC 9512
LARGEST = 1 << 20  # bytes: JSON may write a character of a rule in six
NAME = "Rule"
"""Of its schema in the description."""
_REFERENCE: dict[str, Any] = {"$ref": f"#/components/schemas/{NAME}"}
_WRONG_TYPE = f"send it as application/json or {YAML}"

RULE: dict[str, Any] = {
    "name": "welcome",
    "trigger": {"type": "event", "event": "user.created"},
    "actions": [
        {
            "service": "smtp.send_email",
            "data": {
                "to": "{{ user.email }}",
                "subject": "Welcome",
                "body": "Hello {{ user.username }}, your account has been created.",
            },
        }
    ],
}
_SHOWN = {**RULE, "version": 1, "origin": "api", "changed_at": "2026-11-21T09:30:00.000Z", "changed_by": "ops"}
_DATA: dict[str, Any] = {"user": {"email": "ann@example.org", "username": "ann"}}


class Given(Struct, frozen=True):
    """A rule that was sent. `version`: what the one that is there is said to be at."""

    rule: rules.Workflow
    version: int | None


class _Version(BaseModel):
    version: Annotated[int | None, Field(ge=1, le=1 << 31)] = None


def _is_version(value: Any) -> bool:
    try:
        _Version.model_validate({"version": value})
    except ValidationError:
        return False
    return True


def _given(document: Any) -> Given:
    """What GET answered may come back as it was. Raises ValidationError."""
    if not isinstance(document, dict):
        return Given(rules.parse(document), None)
    version = _Version.model_validate({"version": document.get("version")}).version
    own = {key: value for key, value in document.items() if key not in ADDED and key != "version"}
    return Given(rules.parse(own), version)


async def given(request: Request) -> Given:
    """The rule in the body. Raises Refusal 400, 413, 415, 422; RequestValidationError with each place."""
    kind = media_type(request)
    if kind not in ("application/json", YAML):
        raise Refusal(415, _WRONG_TYPE)
    body = await read(request, LARGEST, Digest(""))
    return await asyncio.to_thread(_from_yaml if kind == YAML else _from_json, body)  # templates are parsed, too


def _from_json(body: bytearray) -> Given:
    return judged(_given, body)


def _from_yaml(body: bytearray) -> Given:
    try:
        document = rules.from_yaml(body.decode())
    except UnicodeDecodeError as error:
        raise _no_yaml(f"byte {error.start} is not UTF-8") from None
    except rules.Unreadable as error:
        raise _no_yaml(str(error)) from None
    return fitting(_given, document)


def _no_yaml(why: str) -> Refusal:
    return Refusal(422, f"the body is no YAML that is taken here: {why}", [("body", why)])


class Trial(BaseModel):
    """A rule that is not kept, and what its templates are given."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={"examples": [{"workflow": RULE, "data": _DATA}]},
    )

    workflow: rules.Workflow
    data: Facts = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def without_what_was_added(cls, document: Any) -> Any:
        """As in `given`. What cannot be a version stays, and is no field of a rule."""
        if not isinstance(document, dict) or not isinstance(document.get("workflow"), dict):
            return document
        rule = document["workflow"]
        version = {"version"} if _is_version(rule.get("version")) else set()
        return {**document, "workflow": {key: value for key, value in rule.items() if key not in ADDED | version}}


async def trial(request: Request) -> Trial:
    """Raises as `given`."""
    if media_type(request) != "application/json":
        raise Refusal(415, "send it as application/json")
    body = await read(request, LARGEST, Digest(""))
    return await asyncio.to_thread(judged, Trial.model_validate, body)


def rule_schema() -> dict[str, Any]:
    """A rule as it is sent, for the description; it is in there once."""
    schema = inlined(rules.Workflow.model_json_schema()) | {"title": NAME, "examples": [RULE]}
    known = _Version.model_json_schema()["properties"]["version"]
    version = {"anyOf": known["anyOf"], "description": "of PUT: what it must be at, else 409"}
    return {**schema, "properties": {**schema["properties"], "version": version}}


def described() -> dict[str, Any]:
    """How the description shows the body of whoever sends a rule."""
    fields: dict[str, Any] = {name: {} for name in rule_schema()["properties"]}
    said = "the same as in JSON, with text for every scalar"
    in_yaml = {"type": "object", "description": said, "properties": fields, "examples": [RULE]}
    return {"required": True, "content": {"application/json": {"schema": _REFERENCE}, YAML: {"schema": in_yaml}}}


def trial_described() -> dict[str, Any]:
    schema = inlined(Trial.model_json_schema())
    schema["properties"]["workflow"] = _REFERENCE
    return {"required": True, "content": {"application/json": {"schema": schema}}}


class Shown(BaseModel):
    """A rule as it was written, and what the relay knows of it. `origin`: file (changed there only) or api.

    `damaged`: why what is stored of it cannot be used; missing when it can.
    """

    model_config = ConfigDict(extra="allow", title="Workflow", json_schema_extra={"examples": [_SHOWN]})

    name: str
    version: int
    origin: str
    changed_at: str | None
    changed_by: str


class Workflows(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"data": [_SHOWN], "has_more": False}]})

    data: list[Shown]
    has_more: bool


class File(BaseModel):
    """An attachment. `size`: bytes."""

    filename: str
    content_type: str
    size: int


class PreviewedMail(BaseModel):
    """`from`, `identity`: null where the rule names none."""

    action: int
    sender: str | None = Field(alias="from")
    identity: str | None
    to: list[str]
    cc: list[str]
    bcc: list[str]
    reply_to: list[str]
    subject: str
    text: str | None
    html: str | None
    attachments: list[File]


_MAIL: dict[str, Any] = {
    "action": 0,
    "from": None,
    "identity": None,
    "to": ["ann@example.org"],
    "cc": [],
    "bcc": [],
    "reply_to": [],
    "subject": "Welcome",
    "text": "Hello ann, your account has been created.",
    "html": None,
    "attachments": [],
}


class Preview(BaseModel):
    """What would be mailed; nothing was."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"mails": [_MAIL], "failed": [], "skipped": []}]})

    mails: list[PreviewedMail]
    failed: list[Failed]
    skipped: list[Skipped]


class RunTaken(BaseModel):
    """As of an event, with the name of the workflow."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": "06p1q8v3c2e7k", "workflow": "welcome", **CAUSED}]}
    )

    id: str
    workflow: str
    fired: list[Fired]
    messages: list[str]
    failed: list[Failed]
    skipped: list[Skipped]
