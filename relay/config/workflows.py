"""Workflows in all their shapes: a document, what is judged of it, and what the relay works with.

Called by `build` for the configuration file, by /v1/workflows, and by the store for what it kept. Pure; whoever asks
knows which names are taken.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

from relay import model
from relay.config.automation import JUDGED, MOST_NAME, RESERVED, Action, Attachment, EventName, MailData, Name, Workflow

__all__ = ["EventName", "Name", "Unreadable", "Workflow", "document", "from_yaml", "name_for", "parse", "workflow"]

_MOST_SAID = 300  # characters: a sentence may have a key of the client's in it


def parse(document: Any, *, judged: bool = False) -> Workflow:
    """`judged`: its templates were, when it was taken. Raises pydantic.ValidationError."""
    return Workflow.model_validate(document, context=JUDGED if judged else None)


def document(given: Workflow) -> dict[str, Any]:
    """JSON-able, as it was written, without its name. `parse` makes the same of it."""
    return given.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"name"})


def workflow(
    given: Workflow,
    *,
    name: str,
    origin: str = "file",
    version: int = 1,
    changed_at: float = 0.0,
    changed_by: str = "",
) -> model.Workflow:
    return model.Workflow(
        name=name,
        event=given.event,
        actions=tuple(map(_action, given.actions)),
        condition=given.if_ or "",
        origin=origin,
        version=version,
        changed_at=changed_at,
        changed_by=changed_by,
        document=document(given),
    )


def _action(given: Action) -> model.Action:
    return model.Action(service=given.service, mail=_mail(given.data), condition=given.if_ or "")


def _mail(given: MailData) -> model.MailTemplate:
    return model.MailTemplate(
        to=_lines(given.to),
        cc=_lines(given.cc),
        bcc=_lines(given.bcc),
        sender=_line(given.from_),
        reply_to=_line(given.reply_to),
        identity=_line(given.identity),
        subject=_line(given.subject),
        text=given.body,
        html=given.html,
        attachments=tuple(map(_enclosure, given.attachments)),
    )


def _enclosure(given: Attachment) -> model.Enclosure:
    encoded = given.content_base64 is not None
    return model.Enclosure(
        filename=_line(given.filename),
        content=(given.content_base64 if encoded else given.content) or "",
        content_type=_line(given.content_type),
        base64=encoded,
    )


def _line(given: str | None) -> str:
    """YAML's `>` puts a line end behind the last line, which nobody means to stand in a header."""
    return given.strip() if given else ""


def _lines(given: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_line, given))


def name_for(event: str, taken: Container[str]) -> str:
    """A name for a workflow that has none: its event's, or `workflow`, and a number if that is taken."""
    stem = re.sub(r"[^A-Za-z0-9 ._-]", "-", event)
    stem = re.sub(r"^[^A-Za-z0-9]+", "", stem)[:MOST_NAME].rstrip() or "workflow"
    name, number = stem, 1
    while name in taken or name in RESERVED:
        number += 1
        name = f"{stem[: MOST_NAME - len(str(number)) - 1]}-{number}"
    return name


class Unreadable(ValueError):
    """A body is no YAML that we take. The text says line, column and what to do."""


def from_yaml(text: str) -> Any:
    """Every scalar is text or None, as in the configuration file; `${NAME}` is text (hazard H4). Raises Unreadable."""
    from relay.config.problems import ConfigError  # loaded here: all of the configuration comes with them
    from relay.config.reader import read_value

    try:
        return read_value(text, "")
    except ConfigError as error:
        first = error.problems[0]
        raise Unreadable(f"line {first.line}, column {first.column}: {first.message[:_MOST_SAID]}") from None
