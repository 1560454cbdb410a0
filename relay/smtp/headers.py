"""The header section (RFC 5322) in wire form: what it says, the lines we put in front, and configured rewriting.

Listener and API scan it and build the prefix of a message with it; the upstream rewrites. It never re-serialises what
is there: fields nobody asked to change keep their bytes.
"""

from __future__ import annotations

import re
from base64 import b64encode
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from msgspec import Struct

HEAD: Final = 262_144
"""As much of a message as is worth giving to `scan`, in bytes: of a longer section nobody sees the rest."""

IDENTITY: Final = "X-Relay-Identity"
"""The field in which a sender names the identity the message is to be sent as. It never goes out."""

_FIRST_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")
_IS_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:|>?From ")  # an mbox line in front is odd, but headers follow it
# White space before the colon is obsolete and legal to read (RFC 5322 4.5.8).
_SPACED = re.compile(rb"(\r\n[!-9;-~]+)[ \t]+:")
_TELLING = re.compile(rb"\r\n(received|message-id|date|x-relay-identity)[ \t]*:")
_FOLD = re.compile(rb"\r\n(?=[ \t])")
_FIELD = IDENTITY.lower()
_IDENTITY = frozenset({_FIELD})


class HeadFacts(Struct, frozen=True):
    """`received`: how many such fields. `non_ascii`: the section has bytes above 127. `values`: wanted name to value.

    `identity`: the value of the first IDENTITY field.

    `headerless`: the first line is not a header, so what we put in front must end in an empty line, or it would swallow
    the first line of the text.

    Of a section that does not end within HEAD bytes the rest may hold anything: then what cannot be ruled out is true.
    A second Message-ID or Date would break a valid message (RFC 5322 3.6), a missing one breaks none.
    """

    received: int
    has_message_id: bool
    has_date: bool
    non_ascii: bool
    values: dict[str, str]
    headerless: bool
    identity: str | None = None


def scan(head: bytes, wanted: frozenset[str] = frozenset()) -> HeadFacts:
    """Facts about the section `head` begins with. `wanted`: lower-case names; of each the first value, unfolded."""
    if not head or head.startswith(b"\r\n"):
        return HeadFacts(0, False, False, False, {}, False)
    if not _IS_FIELD.match(head):
        return HeadFacts(0, False, False, False, {}, True)
    section = b"\r\n" + head[: _end(head)]
    names = _TELLING.findall(section.lower())
    unseen = endless(head)
    return HeadFacts(
        names.count(b"received"),
        unseen or b"message-id" in names,
        unseen or b"date" in names,
        unseen or not section.isascii(),
        _values(section, wanted) if wanted else {},
        False,
        _values(section, _IDENTITY).get(_FIELD, "") if b"x-relay-identity" in names else None,
    )


def endless(head: bytes) -> bool:
    """Whether the header section goes on behind what is worth giving to `scan`."""
    return len(head) >= HEAD and b"\r\n\r\n" not in head and not head.startswith(b"\r\n")


def _end(head: bytes) -> int:
    """Where the header section ends: after the CRLF of its last field."""
    if head.startswith(b"\r\n"):
        return 0
    found = head.find(b"\r\n\r\n")
    return found + 2 if found >= 0 else len(head)


def _values(section: bytes, wanted: frozenset[str]) -> dict[str, str]:
    section = _SPACED.sub(rb"\1:", section)
    lower = section.lower()
    values: dict[str, str] = {}
    for name in wanted:
        key = b"\r\n" + name.encode() + b":"
        start = lower.find(key)
        if start >= 0:
            start += len(key)
            end = section.find(b"\r\n", start)
            while section[end + 2 : end + 3] in (b" ", b"\t"):
                end = section.find(b"\r\n", end + 2)
            raw = _FOLD.sub(b"", section[start : end if end >= 0 else None])
            values[name] = raw.decode("utf-8", "replace").strip()
    return values


# What we put in front.


@lru_cache(maxsize=8)
def _date(second: int) -> str:
    at = datetime.fromtimestamp(second, UTC)
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[at.weekday()]
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[at.month - 1]
    return f"{day}, {at.day} {month} {at.year:04} {at.hour:02}:{at.minute:02}:{at.second:02} +0000"


def rfc5322_date(now: float) -> str:
    """`Sat, 21 Nov 2026 09:20:00 +0000`, whatever the locale (RFC 5322 3.3)."""
    return _date(int(now))


def date_header(now: float) -> bytes:
    return f"Date: {_date(int(now))}\r\n".encode()


def message_id_header(id: str, hostname: str) -> bytes:
    return f"Message-ID: <{id}@{_word(hostname)}>\r\n".encode()


def protocol(*, extended: bool, tls: bool, auth: bool, utf8: bool) -> str:
    """The `with` word of Received: RFC 3848, and RFC 6531 4.3 for SMTPUTF8."""
    if not extended:
        return "SMTP"
    return ("UTF8SMTP" if utf8 else "ESMTP") + ("S" if tls else "") + ("A" if auth else "")


def received_line(
    *, helo: str, client: str, hostname: str, protocol: str, id: str, recipient: str, now: float
) -> bytes:
    """Our trace field (RFC 5321 4.4). `client`: an IP address, or words such as "unix".

    `recipient`: the only one, or "" when there are several: they must not learn of each other.
    """
    by = f"Received: from {_word(helo)} ({_client(client)})\r\n\tby {_word(hostname)} with {protocol} id {id}"
    target = "" if not recipient or _BREAKING.search(recipient) else f"\r\n\tfor <{recipient}>"
    return f"{by}{target};\r\n\t{_date(int(now))}\r\n".encode()


_BREAKING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNWORDLY = re.compile(r"[^A-Za-z0-9._:\[\]-]")
_UNCLIENTLY = re.compile(r"[^A-Za-z0-9._: -]")


@lru_cache(maxsize=512)
def _word(name: str) -> str:
    """A HELO or host name that can do no harm in a header, whatever the client said."""
    return _UNWORDLY.sub("?", name)[:255] or "unknown"


@lru_cache(maxsize=512)
def _client(client: str) -> str:
    try:
        address = ip_address(client)
    except ValueError:
        return _UNCLIENTLY.sub("?", client)[:64] or "unknown"
    return f"[{address}]" if address.version == 4 else f"[IPv6:{_UNCLIENTLY.sub('?', str(address))}]"


# Rewriting.


def rewrite(head: bytes, *, header_from: str = "", reply_to: str = "") -> bytes:
    """`head` with From and Reply-To replaced; "" leaves one alone. Give it prefix and body, up to HEAD, in one piece.

    Each becomes one field where its first one was, or behind the first line of the section, our Received, if there was
    none. Values are `Name <user@example.com>` or an address; names are encoded as needed (RFC 2047).
    """
    for name, value in (("From", header_from), ("Reply-To", reply_to)):
        if value:
            head = _replaced(head, name, f"{name}: ".encode() + mailbox(value) + b"\r\n")
    return head


@lru_cache(maxsize=64)
def _fields(name: str) -> re.Pattern[bytes]:
    return re.compile(
        rb"^" + re.escape(name.encode()) + rb"[ \t]*:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", re.IGNORECASE | re.MULTILINE
    )


def without(head: bytes, name: str) -> bytes:
    """`head` without any field of this name."""
    end = _end(head)
    return _fields(name).sub(b"", head[:end]) + head[end:]


def _replaced(head: bytes, name: str, line: bytes) -> bytes:
    end = _end(head)
    section, fields = head[:end], _fields(name)
    old = fields.search(section)
    if old:
        return section[: old.start()] + line + fields.sub(b"", section[old.end() :]) + head[end:]
    first = _FIRST_FIELD.match(section)
    at = first.end() if first else 0
    return head[:at] + line + (b"" if first or head.startswith(b"\r\n") else b"\r\n") + head[at:]


def mailbox(value: str) -> bytes:
    value = _BREAKING.sub(" ", value).strip()
    name, angle, address = value.rpartition("<")
    name = re.sub(r'\\(["\\])', r"\1", name.strip().removeprefix('"').removesuffix('"'))
    if not angle or not name:
        return value.encode()
    return _phrase(name) + b" <" + address.encode()


def _phrase(name: str) -> bytes:
    """A display name (RFC 5322 3.2.5): plain words, a quoted string, or encoded words (RFC 2047 section 5)."""
    if re.fullmatch(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+", name) and "=?" not in name:
        return name.encode()
    if name.isascii() and "=?" not in name:
        return b'"' + re.sub(r'(["\\])', r"\\\1", name).encode() + b'"'
    words, word = [], b""
    for char in name:
        if len(word) + len(char.encode()) > 45:  # 75 characters a word, less =?utf-8?b??=, in base64
            words.append(word)
            word = b""
        word += char.encode()
    return b"\r\n ".join(b"=?utf-8?b?" + b64encode(w) + b"?=" for w in (*words, word))
