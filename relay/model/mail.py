"""A message and what came with it, as plain values.

Part of `relay.model`. Addresses are `str`, decoded once (ASCII, or UTF-8 under SMTPUTF8) from the bytes that policy
judged; `.encode()` gives back exactly those bytes, and these are what goes on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NewType

from msgspec import Struct, field

MessageId = NewType("MessageId", str)
"""Thirteen Crockford base-32 characters of a 63-bit integer that grows with time: `queued as <id>`."""


class Reply(Struct, frozen=True, kw_only=True):
    """An SMTP reply, ours or an upstream's. `enhanced` is "4.3.1" or "" (RFC 3463); `text` has no CR or LF.

    Code 0: there was no reply, and `text` says what happened instead.
    """

    code: int
    enhanced: str = ""
    text: str = ""

    def __str__(self) -> str:
        if self.code and self.enhanced and self.text:
            return f"{self.code} {self.enhanced} {self.text}"
        return " ".join(part for part in (str(self.code or ""), self.enhanced, self.text) if part)


class Recipient(Struct, frozen=True, kw_only=True):
    """One RCPT. `notify` is the NOTIFY value as sent ("" when absent), `orcpt` likewise (RFC 3461)."""

    address: str
    notify: str = ""
    orcpt: str = ""


class Envelope(Struct, frozen=True, kw_only=True):
    """What MAIL and RCPT said. The null sender is "". Recipients are unique by address, in the order given.

    `eight_bit`: BODY=8BITMIME was declared and the body has bytes above 127. `utf8`: SMTPUTF8 was declared and an
    address or a header needs it. `ret` and `envid`: RFC 3461, "" when absent.
    """

    sender: str
    recipients: tuple[Recipient, ...]
    eight_bit: bool = False
    utf8: bool = False
    ret: str = ""
    envid: str = ""


class Source(Struct, frozen=True, kw_only=True):
    """Where a message came in. `kind`: smtp | http | notice. `client`: an IP address, or "unix"."""

    kind: str
    listener: str = ""
    client: str = ""
    user: str = ""


class Body(Struct, frozen=True, kw_only=True):
    """A message as the client sent it, in wire form: CRLF line ends, dot-stuffed, the final dot not included.

    Exactly one of `data` and `path` is set; `size` counts bytes in wire form. It ends in CRLF or is empty. `crc`: the
    CRC-32 of what was written to the file, 0 when that is not known.
    """

    size: int
    data: bytes | None = None
    path: Path | None = None
    crc: int = 0


class Message(Struct, frozen=True, kw_only=True):
    """A message at rest. `prefix`: the header lines we put in front, CRLF. `size`: prefix + body, wire form."""

    id: MessageId
    envelope: Envelope
    prefix: bytes
    size: int
    source: Source
    received_at: float
    expires_at: float


class Submission(Struct, frozen=True, kw_only=True):
    """A message on its way into the spool. `headers`: lower-case names to first values, only those routes match on."""

    message: Message
    body: Body
    headers: Mapping[str, str] = field(default_factory=dict)
