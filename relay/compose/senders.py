"""Who composed mail is from: named by the request, an identity, the configuration, the default provider, or us.

Called once for a message, at acceptance. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field

from relay.model import Identity, Rewrite
from relay.smtp.headers import mailbox

LARGEST: Final = 35 * 1024 * 1024
MOST: Final = 1000
"""Bytes of a message and recipients, where no listener says."""


class House(Struct, frozen=True, kw_only=True):
    """What composing needs to know of this relay now; a reload makes another.

    `sender`: the configured one, None: there is none. `fallback`: of the default provider, else `relay@<hostname>`.
    `max_message_size`: bytes. `give_up_after`: seconds from acceptance, or from `send_at`, to expiry. `wanted`:
    lower-case names of headers that routes match on.
    """

    hostname: str
    fallback: Identity
    sender: Identity | None = None
    identities: Mapping[str, Identity] = field(default_factory=dict)
    max_message_size: int = LARGEST
    max_recipients: int = MOST
    give_up_after: float = 5 * 86400.0
    wanted: frozenset[str] = frozenset()


class UnknownIdentity(Exception):
    """No identity has this name; the text names it and those there are, `problem` only those."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"identity {name[:80]!a} {problem}")
        self.problem = problem


def sender_of(house: House, identity: str = "") -> Identity:
    """The sender of mail that names none itself. Raises UnknownIdentity."""
    return named(house.identities, identity) if identity else house.sender or house.fallback


def named(identities: Mapping[str, Identity], name: str) -> Identity:
    """Raises UnknownIdentity."""
    found = identities.get(name)
    if found is None:
        known = ", ".join(sorted(identities)) or "there is none; add it under identities in the configuration"
        raise UnknownIdentity(name, f"is not one of: {known}")
    return found


def applied(identity: Identity) -> Rewrite:
    """What it changes in a message that was written elsewhere; the envelope's sender is for the caller to set."""
    name = identity.name
    if '"' in name or "\\" in name:
        name = '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'
    header_from = f"{name} <{identity.address}>" if name else identity.address
    return Rewrite(header_from=header_from, reply_to=identity.reply_to)


def needs_utf8(identity: Identity) -> bool:
    """Whether mail sent as it cannot go without SMTPUTF8 (RFC 6531 3.1): an address is not ASCII. Names are encoded."""
    return not identity.address.isascii() or not mailbox(identity.reply_to).isascii()
