"""Rules that turn events into mail, registrations that get mail of workflow runs, and what came of them.

Part of `relay.model`. Texts of a rule are templates as they were written; nothing here renders or judges them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from relay.model.providers import Provider

Place = tuple[str | int, ...]
"""Where in a document: ("actions", 0, "data", "subject")."""


class Enclosure(Struct, frozen=True, kw_only=True):
    """An attachment to be: all texts are templates. `base64`: so the content is written, else it is text."""

    filename: str
    content: str
    content_type: str = ""
    base64: bool = False


class MailTemplate(Struct, frozen=True, kw_only=True):
    """The `data` of smtp.send_email. Every text is a template, each of `to`, `cc`, `bcc` renders to one mailbox.

    `sender`, `reply_to`, `identity`: "" for as configured. `text`, `html`: None when not written, one of them is.
    """

    to: tuple[str, ...]
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    sender: str = ""
    reply_to: str = ""
    identity: str = ""
    subject: str = ""
    text: str | None = None
    html: str | None = None
    attachments: tuple[Enclosure, ...] = ()


class Action(Struct, frozen=True, kw_only=True):
    """One mail to be. `service`: smtp.send_email. `condition`: an expression that must be true, "": always."""

    service: str
    mail: MailTemplate
    condition: str = ""


class Workflow(Struct, frozen=True, kw_only=True):
    """A rule. `event`: the name of those that fire it, "": only who runs it by its name. Names are unique.

    `origin`: "file" (read-only here) or "api". `version`: 1, and one more at each change. `document`: as it was
    written, JSON-able, without its name. `damaged`: why what is stored cannot be used, "" when it can.
    """

    name: str
    event: str
    actions: tuple[Action, ...]
    condition: str = ""
    origin: str = "file"
    version: int = 1
    changed_at: float = 0.0
    changed_by: str = ""
    document: Mapping[str, object] = {}
    damaged: str = ""


class Happening(Struct, frozen=True, kw_only=True):
    """Something that was told to the relay, and what it caused. `id`: as of a message, growing with time.

    `kind`: event | workflow (run by its name) | run (a workflow run, to its attachments). `name`: of the event or the
    workflow. `user`: who told it. `outcome`: JSON, as it was answered. What came with it is not kept.
    """

    id: str
    kind: str
    name: str
    at: float
    user: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """An integration set up once. `options`: as given, the password in clear. `provider`: its own server, reserved.

    `locked`: why its password cannot be decrypted, "" when it can.
    """

    id: int
    integration: str
    options: Mapping[str, str] = field(repr=False)
    provider: Provider
    created_at: float
    locked: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A registration that gets the mail of each run of a workflow, which is only a name. `options`: cc, or nothing."""

    id: int
    workflow: str
    registration: int
    options: Mapping[str, str]
    created_at: float
