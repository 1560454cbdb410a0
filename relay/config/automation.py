"""Workflows as people write them: the one schema of the configuration file, of /v1/workflows and of what is stored.

Called by `schema` and by `workflows`. It judges a template's syntax, and what is known of its result beforehand; it
never renders one. No sentence here repeats a value: clients read them, too.
"""

from __future__ import annotations

import binascii
import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)

from relay.config import templates
from relay.config.section import Section, needed, option
from relay.config.types import CONTROL, is_mailbox, plain_text

T = TypeVar("T")

JUDGED = "judged"
"""The context of a document whose templates were judged when it was taken: to do so takes ten times as long as all the
rest, and memory for the engine.
"""

MOST_WORKFLOWS = 1_000
MOST_ACTIONS = 50
MOST_MAILBOXES = 100
MOST_ATTACHMENTS = 20
MOST_TEMPLATE = 64 << 10  # characters
MOST_CONDITION = 4_096
MOST_DOCUMENT = 256 << 10  # bytes of all its texts
MOST_NAME = 100
MOST_EVENT = 200

_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9 ._-]{{0,{MOST_NAME - 1}}}")
RESERVED = frozenset({"preview"})  # what /v1/workflows has under its own names
_MARKS = re.compile(r"\{[{%#]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_ENCODED_WORD = re.compile(r"=\?[^?]*\?[bq]\?", re.IGNORECASE)  # RFC 2047 2
_SEVERAL = frozenset(",;:")


def workflow_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            f"must be 1 to {MOST_NAME} letters, digits, blanks, dots, dashes and underscores, first a letter or digit"
        )
    if value in RESERVED:
        raise ValueError("is a word that the API uses itself: choose another name")
    return value


def _template(value: str, info: ValidationInfo) -> str:
    """Text of a mail: of any lines, without what no mail may hold (hazard H1)."""
    if _CONTROL.search(value):
        raise ValueError("has a control character or half a surrogate pair: only tabs and line ends may be in a text")
    if info.context != JUDGED and (problem := templates.problem(value)):
        raise ValueError(problem)
    return value


def _line(value: str) -> str:
    """What becomes part of a header. What a template makes is judged when it is made."""
    if not plain(value):
        return value
    if CONTROL.search(value.strip()):  # YAML's `>` puts a line end behind the last line
        raise ValueError("must be one line: a line end or another control character is in it")
    if _ENCODED_WORD.search(value):
        raise ValueError("has an encoded word (=?...?=): write the text itself, the relay encodes it")
    return value


def _mailbox(value: str) -> str:
    if plain(value) and not _one_mailbox(value.strip()):
        raise ValueError(
            "must be one mailbox, such as user@example.com or Name <user@example.com>; several stand in a list"
        )
    return value


def _one_mailbox(value: str) -> bool:
    """A list is none, though its last address alone would look like one with a long name."""
    name = value.rpartition("<")[0]
    several = "@" in name and not name.startswith('"') and not _SEVERAL.isdisjoint(name)
    return is_mailbox(value) and not several


def _base64(value: str) -> str:
    if plain(value):
        try:
            binascii.a2b_base64("".join(value.split()), strict_mode=True)
        except ValueError:
            raise ValueError("is not base64 (RFC 4648 4: A-Z a-z 0-9 + / and = at the end)") from None
    return value


def plain(text: str) -> bool:
    """True when a template renders to itself."""
    return not _MARKS.search(text)


def _condition(value: str, info: ValidationInfo) -> str:
    if info.context != JUDGED and (problem := templates.condition_problem(value)):
        raise ValueError(problem)
    return value


class _Alone(tuple[str, ...]):
    """One that was written without a list around it."""


def _one_or_many(value: Any, judge: ValidatorFunctionWrapHandler) -> tuple[str, ...]:
    many: tuple[str, ...] = judge((value,) if isinstance(value, str) else value)
    return _Alone(many) if isinstance(value, str) else many


def _as_written(many: tuple[str, ...]) -> str | list[str]:
    return many[0] if isinstance(many, _Alone) else list(many)


def _at_least_one(many: tuple[T, ...]) -> tuple[T, ...]:
    """After the entries: where one of them is wrong, that is all there is to say."""
    if not many:
        raise ValueError("must have at least one entry")
    return many


Name = Annotated[str, AfterValidator(workflow_name), Field(json_schema_extra={"pattern": f"^{_NAME.pattern}$"})]
EventName = Annotated[str, Field(max_length=MOST_EVENT), AfterValidator(plain_text)]
Condition = Annotated[str, Field(max_length=MOST_CONDITION), AfterValidator(_condition)]
Template = Annotated[str, Field(max_length=MOST_TEMPLATE), AfterValidator(_template)]
LineTemplate = Annotated[Template, AfterValidator(_line)]
MailboxTemplate = Annotated[LineTemplate, AfterValidator(_mailbox)]
Base64Template = Annotated[Template, AfterValidator(_base64)]
_ITEM = {"type": "string", "maxLength": MOST_TEMPLATE}
MailboxTemplates = Annotated[
    tuple[MailboxTemplate, ...],
    Field(max_length=MOST_MAILBOXES),
    WrapValidator(_one_or_many),
    PlainSerializer(_as_written),
    WithJsonSchema({"anyOf": [_ITEM, {"type": "array", "items": _ITEM, "maxItems": MOST_MAILBOXES}]}),
]


class Attachment(Section):
    """A file that goes with the mail. Its content is a template, too."""

    filename: LineTemplate = needed("its name", "welcome.txt")
    content: Template | None = option(None, "text; or content_base64", "Hello {{ user.username }}")
    content_base64: Base64Template | None = option(None, "bytes in base64", "{{ invoice.pdf }}")
    content_type: LineTemplate | None = option(None, "default: by its name", "text/plain")

    @model_validator(mode="after")
    def has_one_content(self) -> Attachment:
        if (self.content is None) == (self.content_base64 is None):
            raise ValueError("needs one of content and content_base64")
        return self


class MailData(Section):
    """The mail. All texts are templates (Jinja2), their variables the keys of the event's data."""

    to: Annotated[MailboxTemplates, AfterValidator(_at_least_one)] = needed("a mailbox, or a list", "{{ user.email }}")
    cc: MailboxTemplates = option((), "as to", ["hr@example.com"])
    bcc: MailboxTemplates = option((), "as to; in the envelope only", ["archive@example.com"])
    subject: LineTemplate = needed("one line", "Welcome")
    body: Template | None = option(None, "text; or html, or both", "Hello {{ user.username }}")
    html: Template | None = option(None, "HTML, in which values are escaped", "<p>Hello {{ user.username }}</p>")
    from_: MailboxTemplate | None = option(
        None, "default: the identity's, else sender", "Shop <shop@example.com>", alias="from"
    )
    reply_to: MailboxTemplate | None = option(None, "Reply-To", "help@example.com")
    identity: LineTemplate | None = option(None, "one of identities", "invoices")
    attachments: tuple[Attachment, ...] = option(
        (), "their contents", [{"filename": "terms.txt", "content": "The terms."}], max_length=MOST_ATTACHMENTS
    )

    @model_validator(mode="after")
    def has_text(self) -> MailData:
        if self.body is None and self.html is None:
            raise ValueError("needs body, or html, or both")
        return self


class Action(Section):
    """What is to be done; all there is to do is mail."""

    service: Literal["smtp.send_email"] = needed("the only one there is", "smtp.send_email")
    if_: Condition | None = option(None, "an expression; false: not this action", "user.newsletter", alias="if")
    data: MailData = needed("the mail: all texts are templates")


class Trigger(Section):
    type: Literal["event"] = needed("the only one there is", "event")
    event: EventName = needed("its name, as POST /v1/events has it", "user.created")


class Workflow(Section):
    """A rule: what mail an event causes."""

    name: Name | None = option(None, "unique; default: made of the event", "welcome")
    if_: Condition | None = option(None, "an expression over the event's data", "user.active", alias="if")
    trigger: Trigger | None = option(None, "missing: no event fires it, it is run by its name")
    actions: Annotated[tuple[Action, ...], Field(max_length=MOST_ACTIONS), AfterValidator(_at_least_one)] = needed(
        "each is one mail"
    )

    @model_validator(mode="before")
    @classmethod
    def is_not_too_large(cls, data: Any) -> Any:
        """Before any template in it is looked at: a few aliases in YAML can make a lot of them."""
        if _size(data) > MOST_DOCUMENT:
            raise ValueError(f"is larger than {MOST_DOCUMENT >> 10} KiB: make several workflows of it")
        return data

    @property
    def event(self) -> str:
        return self.trigger.event if self.trigger else ""


def _size(data: Any) -> int:
    """Bytes of all texts, one more for each value; no further than is needed to know that it is too large."""
    size, left = 0, [data]
    while left and size <= MOST_DOCUMENT:
        part = left.pop()
        size += 1
        if isinstance(part, str):
            size += len(part.encode(errors="surrogatepass"))
        elif isinstance(part, dict):
            left += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple):
            left += part
    return size
