"""A mail as somebody says it, before it is one; and which headers are not theirs to say.

Made by the API and by whatever else composes mail, read by `message`. It never encodes anything.
"""

from __future__ import annotations

import re
from binascii import a2b_base64

from msgspec import Struct

from relay.compose.mailboxes import Mailbox
from relay.compose.words import line_problem

OCTETS = "application/octet-stream"


class Attachment(Struct, frozen=True, kw_only=True):
    """`content_type`: "type/subtype" or with "; charset=…". `content_id`: what the HTML calls it, `cid:<content_id>`.

    `inline`: shown where it stands, or by the HTML, instead of offered as a file.
    """

    filename: str
    content: bytes
    content_type: str = OCTETS
    content_id: str = ""
    inline: bool = False


class Draft(Struct, frozen=True, kw_only=True):
    """`sender`: who it is from, None: as `senders` says. `text`, `html`: either, both (the same mail twice) or none.

    `headers`: further ones, by name, each allowed by `header_problem` and `value_problem`.
    """

    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    sender: Mailbox | None = None
    reply_to: tuple[Mailbox, ...] = ()
    identity: str = ""
    subject: str = ""
    text: str | None = None
    html: str | None = None
    attachments: tuple[Attachment, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


def effort(draft: Draft) -> int:
    """Of writing it, in characters of text: one of a header or of a file's name takes about as long as 64 of them."""
    people = sum([len(mailbox.name) for mailbox in (*draft.to, *draft.cc, *draft.reply_to)])
    headers = sum([len(value) for _, value in draft.headers]) + len(draft.subject)
    files = sum([len(attachment.filename) for attachment in draft.attachments])
    return len(draft.text or "") + len(draft.html or "") + 64 * (people + headers + files)


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,75}")
_TYPE = re.compile(
    r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}(?:; ?charset=[a-z0-9_.:+-]{1,40})?"
)
_CONTENT_ID = re.compile(r"[A-Za-z0-9._+@-]{1,128}")

_WRITTEN = "the relay writes it"
_MIME = "the relay writes it; use text, html and attachments"
_TRACE = "only mail servers write it"

# Header to what is to be done instead. What ends in "-" stands for all that begin so.
OWNED = {
    "from": "use the field from",
    "sender": "use the field from",
    "to": "use the field to",
    "cc": "use the field cc",
    "bcc": "use the field bcc",
    "reply-to": "use the field reply_to",
    "subject": "use the field subject",
    "date": _WRITTEN + ", at send_at if that is given",
    "message-id": _WRITTEN + "; the answer names it",
    "mime-version": _MIME,
    "content-": _MIME,
    "received": _TRACE,
    "received-": _TRACE,
    "return-path": _TRACE,
    "delivered-to": _TRACE,
    "x-original-to": _TRACE,
    "resent-": _TRACE,
    "authentication-results": _TRACE,
    "arc-": _TRACE,
    "dkim-": "whoever signs the mail writes it",
    "domainkey-": "whoever signs the mail writes it",
    "x-relay-identity": "use the field identity",
    "x-relay-": "the relay keeps these names for itself",
}
_STARTS = tuple(name for name in OWNED if name.endswith("-"))


def header_problem(name: str) -> str:
    """Why a further header may not have this name, with the fix; "" when it may."""
    if not _NAME.fullmatch(name):
        return "is no name of a header: up to 76 letters, digits, hyphens, dots and underscores"
    lower = name.lower()
    fix = OWNED.get(lower) or next((OWNED[start] for start in _STARTS if lower.startswith(start)), "")
    return f"may not be set: {fix}" if fix else ""


def value_problem(value: str) -> str:
    """Why a further header may not say this, "" when it may."""
    return line_problem(value) or ("" if value.strip(" ") else "is empty; leave the header out")


def filename_problem(name: str) -> str:
    if "/" in name or "\\" in name:
        return "has a slash; write the name alone, without folders"
    return line_problem(name) or ("" if name.strip(" .") else "is no name; write one such as invoice.pdf")


def content_type_problem(kind: str) -> str:
    """Parts that are messages themselves would have to be parsed and written anew."""
    if not _TYPE.fullmatch(kind.lower()):
        return "is no media type such as application/pdf or text/csv; charset=utf-8"
    if kind.lower().startswith(("multipart/", "message/")):
        return f"is that of a message or of its parts; leave content_type out, it is {OCTETS} then"
    return ""


NO_BASE64 = "is not base64 (RFC 4648 4: A-Z a-z 0-9 + / and = at the end)"


def from_base64(text: str) -> bytes | None:
    """The content of a file, in lines or not; None: it is no base64, with nothing else in it."""
    try:
        return a2b_base64(text.replace("\r", "").replace("\n", "") if "\n" in text else text, strict_mode=True)
    except ValueError:  # binascii's own, or it is not ASCII
        return None


def content_id_problem(id: str) -> str:
    return "" if _CONTENT_ID.fullmatch(id) else "is no content id: letters, digits and . _ + @ -, without < and >"
