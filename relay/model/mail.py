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
    """Where a message came in. `kind`: smtp | http | event | run | notice. `client`: an IP address, or "unix"."""

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


class Rewrite(Struct, frozen=True, kw_only=True):
    """What is changed on the way. "" leaves a thing alone. `reply_to`: an address, or "" to keep what is there."""

    envelope_from: str = ""
    header_from: str = ""
    reply_to: str = ""


class Identity(Struct, frozen=True, kw_only=True):
    """A sender that mail may be sent as, by name. `reply_to`: a mailbox, "" for none."""

    address: str
    name: str = ""
    reply_to: str = ""


class Labels(Struct, frozen=True, kw_only=True):
    """What its sender wrote on a message for later: found and shown by the API, never sent."""

    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


class Message(Struct, frozen=True, kw_only=True):
    """A message at rest. `prefix`: the header lines we put in front, CRLF. `size`: prefix + body, wire form.

    `identity`: what the identity it was handed in under changes, fixed at acceptance; a route's rewrite goes over it.
    `via`: the only provider it may go to, whatever routes say and whether or not there is one; "" for most mail.
    """

    id: MessageId
    envelope: Envelope
    prefix: bytes
    size: int
    source: Source
    received_at: float
    expires_at: float
    labels: Labels | None = None
    identity: Rewrite | None = None
    via: str = ""


class Claim(Struct, frozen=True, kw_only=True):
    """An idempotency key in use: of `owner` (a token, a user), for the request with this `digest`.

    `answer`: what that request was answered, JSON. It is kept from the moment its messages are.
    """

    owner: str
    key: str
    digest: str
    answer: str
    at: float


class Submission(Struct, frozen=True, kw_only=True):
    """A message on its way into the spool. `headers`: lower-case names to first values, only those routes match on.

    `due_at`: not to be sent before, 0: at once.
    """

    message: Message
    body: Body
    headers: Mapping[str, str] = field(default_factory=dict)
    due_at: float = 0.0
