"""The body of POST /v1/messages: every field with its bound, and what makes a draft of it.

Used by `sending`. A field is judged by the room that will write it, `relay.compose`. It never changes a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from relay.compose import draft as drafts
from relay.compose import mailboxes
from relay.compose.draft import Draft
from relay.compose.mailboxes import Mailbox
from relay.compose.words import line_problem, text_problem
from relay.model import Labels
from relay.posting import Given

MOST_TEXT = 1 << 20
_MOST_PEOPLE = 10_000


def unfit(why: str) -> PydanticCustomError:
    return PydanticCustomError("unfit", "{why}", {"why": why})


def judged(problem_of: Callable[[str], str]) -> AfterValidator:
    def judge(text: str) -> str:
        why = problem_of(text)
        if why:
            raise unfit(why)
        return text

    return AfterValidator(judge)


def mailbox(value: Any) -> Mailbox:
    if not isinstance(value, str):
        raise unfit("must be a string such as user@example.com or Name <user@example.com>")
    found = mailboxes.parse(value) if len(value) <= mailboxes.MOST else f"has more than {mailboxes.MOST} characters"
    if isinstance(found, str):
        raise unfit(found)
    return found


def _listed(value: Any) -> Any:
    return () if value is None else [value] if isinstance(value, str) else value


def _encoded(value: Any) -> bytes:
    if not isinstance(value, str):
        raise unfit("must be a string in base64")
    found = drafts.from_base64(value)
    if found is None:
        raise unfit(drafts.NO_BASE64)
    return found


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)")


def moment(value: Any) -> float:
    """Seconds since the epoch."""
    if isinstance(value, str) and _RFC3339.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).timestamp()
        except (ValueError, OverflowError):
            pass
    raise unfit("must be a time with its zone, as in 2026-11-21T09:20:00Z (RFC 3339)")


_MAILBOX = {"type": "string", "maxLength": mailboxes.MOST, "examples": ["Ann <ann@example.com>"]}
Address = Annotated[Mailbox, BeforeValidator(mailbox), WithJsonSchema(_MAILBOX)]
Addresses = Annotated[
    tuple[Address, ...],
    BeforeValidator(_listed),
    Field(max_length=_MOST_PEOPLE),
    WithJsonSchema({"anyOf": [_MAILBOX, {"type": "array", "items": _MAILBOX, "maxItems": _MOST_PEOPLE}]}),
]
Text = Annotated[str, Field(max_length=MOST_TEXT), judged(text_problem)]
Line = Annotated[str, Field(max_length=998), judged(line_problem)]
Tag = Annotated[str, Field(min_length=1, max_length=64), judged(line_problem)]
Moment = Annotated[
    float, BeforeValidator(moment), WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 40})
]
HeaderName = Annotated[str, judged(drafts.header_problem)]
HeaderValue = Annotated[str, Field(max_length=4000), judged(drafts.value_problem)]


def _once(headers: dict[str, str]) -> dict[str, str]:
    if len({name.lower() for name in headers}) < len(headers):
        raise unfit("has a name twice; upper and lower case make no difference")
    return headers


class Attached(BaseModel):
    """A file. With `content_id` it is shown by the HTML, as `cid:<content_id>`."""

    model_config = ConfigDict(extra="forbid", title="Attachment")

    filename: Annotated[str, Field(min_length=1, max_length=255), judged(drafts.filename_problem)]
    content: Annotated[
        bytes, BeforeValidator(_encoded), WithJsonSchema({"type": "string", "contentEncoding": "base64"})
    ]
    content_type: Annotated[str, Field(max_length=200), judged(drafts.content_type_problem)] = drafts.OCTETS
    content_id: Annotated[str, judged(drafts.content_id_problem)] | None = None
    disposition: Literal["attachment", "inline"] | None = Field(None, description="inline if there is a content_id")

    def attachment(self) -> drafts.Attachment:
        return drafts.Attachment(
            filename=self.filename,
            content=self.content,
            content_type=self.content_type,
            content_id=self.content_id or "",
            inline=self.disposition == "inline" if self.disposition else bool(self.content_id),
        )


class Mail(BaseModel):
    """What all have in common who say a mail field by field."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    sender: Address | None = Field(None, alias="from", description="missing: as configured, or as identity says")
    to: Addresses = ()
    cc: Addresses = ()
    bcc: Addresses = Field((), description="get the mail; nobody is told")
    reply_to: Addresses = ()
    subject: Line | None = None
    html: Text | None = None
    attachments: Annotated[list[Attached], Field(max_length=100)] | None = None
    identity: Line | None = Field(None, description="who it is from, by a name of `identities`; instead of from")

    def draft_of(self, text: str | None, headers: Iterable[tuple[str, str]] = ()) -> Draft:
        return Draft(
            to=self.to,
            cc=self.cc,
            bcc=self.bcc,
            sender=self.sender,
            reply_to=self.reply_to,
            identity=self.identity or "",
            subject=self.subject or "",
            text=text,
            html=self.html,
            attachments=tuple([one.attachment() for one in self.attachments or ()]),
            headers=tuple(headers),
        )


class Letter(Mail):
    """A mail. Somebody must get it, in to, cc or bcc, and it must have text, html or attachments."""

    model_config = ConfigDict(
        title="Mail",
        json_schema_extra={
            "examples": [
                {
                    "from": "Shop <shop@example.com>",
                    "to": ["Ann <ann@example.org>"],
                    "subject": "Your order",
                    "text": "It is on its way.\n",
                    "html": "<p>It is on its way.</p>",
                    "attachments": [
                        {"filename": "invoice.txt", "content_type": "text/plain", "content": "VG90YWw6IDEwCg=="}
                    ],
                    "headers": {"X-Order": "1042"},
                    "tags": ["order"],
                    "metadata": {"order": "1042"},
                }
            ]
        },
    )

    text: Text | None = None
    headers: Annotated[dict[HeaderName, HeaderValue], Field(max_length=50), AfterValidator(_once)] | None = None
    tags: Annotated[list[Tag], Field(max_length=10)] | None = None
    metadata: Annotated[dict[Tag, Line], Field(max_length=20)] | None = None
    send_at: Moment | None = Field(None, description="not before, at most 30 days ahead; what is past is now")

    def draft(self) -> Draft:
        return self.draft_of(self.text, (self.headers or {}).items())

    def given(self) -> Given:
        labelled = self.tags or self.metadata
        labels = Labels(tags=tuple(dict.fromkeys(self.tags or ())), metadata=self.metadata or {}) if labelled else None
        return Given(labels=labels, send_at=self.send_at or 0.0)


class Recipient(BaseModel):
    """One of those who get it."""

    address: str
    status: Literal["queued", "scheduled", "captured"]


class Accepted(BaseModel):
    """On stable storage. `id` is what everything else calls it: GET /v1/messages/{id}."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "06p1q8v3c2e7k",
                    "message_id": "<06p1q8v3c2e7k@relay.internal>",
                    "status": "queued",
                    "recipients": [{"address": "ann@example.org", "status": "queued"}],
                }
            ]
        }
    )

    id: str
    message_id: str
    status: Literal["queued", "scheduled", "captured"] = Field(description="captured: there is no provider")
    recipients: list[Recipient]
