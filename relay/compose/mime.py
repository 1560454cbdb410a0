"""The content of a mail: its MIME headers, its parts and their encoding, by the standard library's `email`.

Called by `message`. Plain ASCII text, which is most mail, is written directly, 100 times as fast; a test compares both.
Attachments are not encoded here: 30 MB of them would lie in memory four times. It never sees a header of ours.
"""

from __future__ import annotations

import re
import secrets
from binascii import b2a_base64
from collections.abc import Iterator, Mapping
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

from msgspec import Struct

from relay.compose.draft import Attachment, Draft
from relay.compose.words import LONGEST

# RFC 2045: what is not ASCII is encoded, so that a provider needs no 8BITMIME for it.
_POLICY = SMTP.clone(cte_type="7bit")
_STEP = 57 * 4096
_LINE_ENDS = re.compile(r"\r\n?|\n")
_TEXT = 'Content-Type: text/%s; charset="utf-8"\r\nContent-Transfer-Encoding: 7bit\r\n\r\n%s'


class Encoded(Struct, frozen=True):
    """Bytes that stand in a mail in base64, without the last line end."""

    content: bytes

    def __len__(self) -> int:
        whole, rest = divmod(len(self.content), 57)
        if not self.content:
            return 0
        return whole * 78 + (4 * -(-rest // 3) + 2 if rest else 0) - 2

    def pieces(self) -> Iterator[bytes]:
        for start in range(0, len(self.content), _STEP):
            text = b2a_base64(self.content[start : start + _STEP], newline=False)
            lines = b"\r\n".join([text[at : at + 76] for at in range(0, len(text), 76)])
            yield b"\r\n" + lines if start else lines


Piece = bytes | Encoded


def is_plain(draft: Draft) -> bool:
    """`plain` can write it."""
    texts = [text for text in (draft.text, draft.html) if text is not None]
    return not draft.attachments and all(text.isascii() and _longest(text) <= LONGEST for text in texts)


def _longest(text: str) -> int:
    """Characters of the longest line, its end counted or not. A regular expression took a third of the whole relay."""
    return len(max(text.split("\n"), key=len))


def plain(draft: Draft, boundary: str) -> bytes:
    """A mail of ASCII text, HTML or both, from its MIME-Version on, with CRLF. The boundary must be in neither."""
    if draft.html is None:
        return b"MIME-Version: 1.0\r\n" + _part("plain", draft.text or "")
    if draft.text is None:
        return b"MIME-Version: 1.0\r\n" + _part("html", draft.html)
    head = f'MIME-Version: 1.0\r\nContent-Type: multipart/alternative;\r\n boundary="{boundary}"\r\n\r\n'.encode()
    line = b"--" + boundary.encode()
    text, html = _part("plain", draft.text), _part("html", draft.html)
    return b"%s%s\r\n%s\r\n%s\r\n%s\r\n%s--\r\n" % (head, line, text, line, html, line)


def _part(subtype: str, text: str) -> bytes:
    lines = _LINE_ENDS.sub("\r\n", text) if "\n" in text or "\r" in text else text
    return (_TEXT % (subtype, lines if lines.endswith("\r\n") else lines + "\r\n")).encode()


def tree(draft: Draft) -> list[Piece]:
    """Any mail, from its MIME-Version on: bytes with CRLF, and between them what is in base64."""
    message = EmailMessage(policy=_POLICY)
    _write_texts(message, draft)
    html = message.get_body(("html",))
    stand_ins: dict[bytes, Attachment] = {}
    rest: list[bytes] = []
    for attachment in draft.attachments:
        stand_in = secrets.token_bytes(30)
        stand_ins[stand_in] = attachment
        if html is not None and attachment.inline and attachment.content_id:
            html.add_related(stand_in, **_described(attachment))
        else:
            rest.append(stand_in)
    for stand_in in rest:  # last: they make another message around the one with the HTML
        message.add_attachment(stand_in, **_described(stand_ins[stand_in]))
    return _split(message.as_bytes(), stand_ins)


def _write_texts(message: EmailMessage, draft: Draft) -> None:
    if draft.text is not None or draft.html is None:
        message.set_content(draft.text or "")
        if draft.html is not None:
            message.add_alternative(draft.html, subtype="html")
    else:
        message.set_content(draft.html, subtype="html")


def _described(attachment: Attachment) -> dict[str, Any]:
    kind, _, charset = attachment.content_type.lower().partition(";")
    maintype, _, subtype = kind.partition("/")
    return {
        "maintype": maintype,
        "subtype": subtype,
        "disposition": "inline" if attachment.inline else "attachment",
        "filename": attachment.filename,
        "cid": f"<{attachment.content_id}>" if attachment.content_id else None,
        "params": {"charset": charset.partition("=")[2]} if charset else None,
    }


def _split(written: bytes, stand_ins: Mapping[bytes, Attachment]) -> list[Piece]:
    """Each attachment in the place of what stands in for it."""
    if not stand_ins:
        return [written]
    places = {b2a_base64(stand_in, newline=False): attachment for stand_in, attachment in stand_ins.items()}
    cuts = re.split(b"(" + b"|".join(map(re.escape, places)) + b")", written)
    return [Encoded(places[cut].content) if cut in places else cut for cut in cuts]
