"""Mailboxes as people write them, `user@example.com` or `Name <user@example.com>`, and as headers have them.

Used by the API and by composing. The address goes through `relay.smtp.address` and nothing else: what was judged is
what is sent (hazards L1, B10). It never guesses: what can be read in two ways is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

from relay.compose.words import LINE, line_problem, phrase
from relay.model import Reply
from relay.smtp.address import parse_path

MOST: int = 1000
"""Characters of a mailbox: a name, and an address at its limits."""
_LONGEST_NAME = 320
# Beside an address, in a name that nobody quoted: a list or a group, of which the last alone would get the mail.
_SEVERAL = frozenset(",;:")
_NAMED = re.compile(r'(?:"((?:[^"\\]|\\.)*)"|([^<>"]*[^<>" ])) *<([^<>]*)>')


class Mailbox(Struct, frozen=True):
    """Both were judged by `parse`. `name`: as people read it, not as headers have it."""

    address: str
    name: str = ""


def parse(text: str) -> Mailbox | str:
    """The mailbox, or why it is none, with the fix."""
    name, address = "", text.strip(" ")
    if problem := line_problem(text):
        return problem
    if address.endswith(">"):
        named = _NAMED.fullmatch(address)
        if named is None:
            return _bare(address[1:-1]) if address.startswith("<") else _SHAPE
        if named[2] and "@" in named[2] and not _SEVERAL.isdisjoint(named[2]):
            return _SHAPE
        name, address = _unquoted(named[1]) if named[1] is not None else named[2], named[3]
    found = _bare(address)
    if isinstance(found, str) or not name:
        return found
    if len(name) > _LONGEST_NAME:
        return f"has a name of more than {_LONGEST_NAME} characters"
    return Mailbox(found.address, name)


_SHAPE = 'is not one mailbox; write user@example.com, Name <user@example.com> or "Name, Inc." <user@example.com>'


def _unquoted(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name).strip(" ")


def _bare(address: str) -> Mailbox | str:
    if not address or "<" in address or ">" in address:
        return _SHAPE
    path = parse_path(b"<" + address.encode() + b">", utf8=True, null=False)
    return path.text[:1].lower() + path.text[1:] if isinstance(path, Reply) else Mailbox(path.address)


def shown(mailbox: Mailbox) -> str:
    """As a header has it. An address beyond ASCII stays as it is: such mail needs SMTPUTF8 (RFC 6532)."""
    return f"{phrase(mailbox.name)} <{mailbox.address}>" if mailbox.name else mailbox.address


def field(name: str, mailboxes: Sequence[Mailbox]) -> bytes:
    """From, To and the like, folded between mailboxes, with its line end."""
    lines = [f"{name}:"]
    for position, mailbox in enumerate(mailboxes, 1):
        word = f" {shown(mailbox)}" + ("," if position < len(mailboxes) else "")
        if position > 1 and len(lines[-1]) + len(word) > LINE:
            lines.append(word)
        else:
            lines[-1] += word
    return "\r\n".join(lines).encode() + b"\r\n"
