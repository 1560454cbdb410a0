"""What operators manage, as plain values: providers, their limits, routes; and a shipment for one of them.

Part of `relay.model`. Made from the configuration (later also the store); a reload replaces them, nothing changes them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from msgspec import Struct

from relay.model.mail import Message, Recipient, Rewrite

INTEGRATIONS = "integration/"
"""How the names of reserved providers begin; nobody else's may."""


class Tls(enum.StrEnum):
    """How a connection to a provider is encrypted. Verified but for OPPORTUNISTIC."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """None: no limit. `connections`: at once; `recipients`: per transaction; `timezone`: for day and month, IANA name.

    `count`: "messages" or "recipients" is what minute, day and month count.
    """

    connections: int | None = None
    recipients: int | None = None
    per_minute: int | None = None
    per_day: int | None = None
    per_month: int | None = None
    count: str = "messages"
    timezone: str = "UTC"

    @property
    def metered(self) -> bool:
        """True when what is sent must be counted, durably, before it is sent."""
        return self.per_minute is not None or self.per_day is not None or self.per_month is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds. `connect`: TCP, TLS and banner, each; `command`: any reply; `data`: the body, and the dot's reply."""

    connect: float = 30.0
    command: float = 60.0
    data: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """An upstream as it is to be used now. Two that compare equal need no new connections.

    `public_only`: it was made over HTTP, and may not lead into the private networks around us (hazard H2).
    `reserved`: only for mail that names it (`Message.via`, a reroute); no route leads to it.
    """

    name: str
    host: str
    port: int
    tls: Tls = Tls.STARTTLS
    preset: str = ""
    ca_file: str = ""
    allow_plaintext_auth: bool = False
    username: str = ""
    password: str = field(default="", repr=False)
    auth: str = "auto"
    pipelining: str = "auto"
    priority: int = 1
    weight: int = 1
    active: bool = True
    public_only: bool = False
    reserved: bool = False
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Conditions of a route, all must hold; "" and () mean any. Addresses are shell globs, without regard to case.

    `client`: IP networks in CIDR form. `headers`: (lower-case name, glob) pairs.
    """

    listener: str = ""
    client: tuple[str, ...] = ()
    user: str = ""
    sender: str = ""
    recipient: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """First match wins, per recipient. `providers` empty: every active one."""

    match: Match = field(default_factory=Match)
    providers: tuple[str, ...] = ()
    rewrite: Rewrite | None = None


class Shipment(Struct, frozen=True, kw_only=True):
    """One transaction for one provider: what a Transport is given besides the body."""

    provider: Provider
    message: Message
    sender: str
    recipients: tuple[Recipient, ...]
    rewrite: Rewrite | None = None
