"""What one listener is told: plain frozen values, made from the configuration.

`app` makes them, `service` and `server` read them; nothing here opens, resolves or reads a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from relay.model import Identity

LOOPBACK = ("127.0.0.0/8", "::1/128")


class ListenerError(Exception):
    """A listener cannot start as told. The text is one sentence with cause and fix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long and how often a client may try us. Seconds unless said otherwise.

    `command`: for one whole command line. `data`: between two bytes of a message, and at least `rate` bytes a second
    in every `window`. `handshake`: TLS. `linger`: for a client we hung up on to close its side. `settle`: for the rest
    of a line that has a bare LF.
    `junk`: commands that bring no mail forward (RFC 5321 4.5.4.2 allows any number, a loop is not use); beyond
    `soft` refusals each costs `slow` seconds more. `failures`: AUTH refusals before we hang up; each is answered
    after `auth_delay`, doubling with the failures of that client, to at most 16 times.
    """

    command: float = 300.0  # RFC 5321 4.5.3.2.7: at least five minutes
    data: float = 300.0
    handshake: float = 30.0
    rate: float = 64.0
    window: float = 180.0  # RFC 5321 4.5.3.2.5: a pause of three minutes within DATA is legal
    linger: float = 5.0
    settle: float = 0.25
    junk: int = 100
    soft: int = 20
    slow: float = 0.25
    failures: int = 3
    auth_delay: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One listener. `address`: "127.0.0.1:2525", "[::1]:2525", "unix:/path" or "fd:NAME" (systemd).

    `allow`: networks, () for loopback only. `tls`: none | starttls | implicit.
    `auth`: none | optional | required | any. Sizes in bytes of content. `line_endings`: normalize | reject.
    `wanted`: lower-case names of headers that routes match on. `give_up_after`: seconds from acceptance to expiry.
    `identities`: that mail can be sent as, by name; `identity`: which one if a message names none, "" for none.
    """

    name: str
    address: str
    hostname: str
    allow: tuple[IPv4Network | IPv6Network, ...] = ()
    tls: str = "none"
    certfile: str = ""
    keyfile: str = ""
    auth: str = "none"
    max_message_size: int = 35 * 1024 * 1024
    max_recipients: int = 1000
    max_connections: int = 1000
    max_connections_per_client: int = 50
    line_endings: str = "normalize"
    wanted: frozenset[str] = frozenset()
    give_up_after: float = 5 * 86400.0
    identities: Mapping[str, Identity] = field(default_factory=dict)
    identity: str = ""
    patience: Patience = field(default_factory=Patience)
