"""Frozen data that crosses borders between the rooms of the relay.

Every layer may import this; it imports nothing of ours and does nothing. Addresses are `str`, decoded once (ASCII, or
UTF-8 under SMTPUTF8) from the bytes that policy judged; `.encode()` gives back exactly those bytes, and these are what
goes on the wire. Times are seconds since the epoch as `float`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NewType

MessageId = NewType("MessageId", str)
"""Thirteen Crockford base-32 characters of a 63-bit integer that grows with time: `queued as <id>`."""


class State(enum.StrEnum):
    """What a recipient (and an entry) is in. A message shows the first of its recipients' states in this order."""

    QUEUED = "queued"
    SENDING = "sending"
    DEFERRED = "deferred"
    SCHEDULED = "scheduled"
    HELD = "held"
    CAPTURED = "captured"
    ACCEPTED = "accepted"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


ENDED = frozenset({State.ACCEPTED, State.FAILED, State.EXPIRED, State.CANCELLED})


class Verdict(enum.StrEnum):
    """What became of one recipient in one attempt."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    REJECTED = "rejected"


class Fault(enum.StrEnum):
    """Whose fault a verdict other than ACCEPTED is. UNCERTAIN: the body was sent, the answer was lost."""

    NONE = "none"
    RECIPIENT = "recipient"
    MESSAGE = "message"
    PROVIDER = "provider"
    QUOTA = "quota"
    UNCERTAIN = "uncertain"


class Phase(enum.StrEnum):
    """Where in the conversation with an upstream it happened."""

    CONNECT = "connect"
    TLS = "tls"
    BANNER = "banner"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    DOT = "dot"
    IDLE = "idle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An SMTP reply, ours or an upstream's. `enhanced` is "4.3.1" or "" (RFC 3463); `text` has no CR or LF.

    Code 0: there was no reply, and `text` says what happened instead.
    """

    code: int
    enhanced: str = ""
    text: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code or ""), self.enhanced, self.text) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One RCPT. `notify` is the NOTIFY value as sent ("" when absent), `orcpt` likewise (RFC 3461)."""

    address: str
    notify: str = ""
    orcpt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a message came in. `kind`: smtp | http | notice. `client`: an IP address, or "unix"."""

    kind: str
    listener: str = ""
    client: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A message as the client sent it, in wire form: CRLF line ends, dot-stuffed, the final dot not included.

    Exactly one of `data` and `path` is set; `size` counts bytes in wire form. It ends in CRLF or is empty.
    """

    size: int
    data: bytes | None = None
    path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message at rest. `prefix`: the header lines we put in front, CRLF. `size`: prefix + body, wire form."""

    id: MessageId
    envelope: Envelope
    prefix: bytes
    size: int
    source: Source
    received_at: float
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A message on its way into the spool. `headers`: lower-case names to first values, only those routes match on."""

    message: Message
    body: Body
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Berth:
    """Where part of a new message lies in the queue: these recipients, in this lane, in this state.

    `ready`: it may go to a worker at once if nothing older is due in its lane ("born leased"). `deadline`: as in Owed.
    `due_at`: not before (scheduled mail), 0: at once.
    """

    lane: str
    recipients: tuple[Recipient, ...]
    state: State = State.QUEUED
    ready: bool = True
    deadline: float = 0.0
    due_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """The moving part of a queue entry: who is still owed the message, and under what conditions.

    `lane`: "<route key>:<source bucket>". `tries`: attempts that counted. `since`: when this round became ready, the
    clock of the 60 s a throttled provider is waited for. `due_at`: not before. `deadline`: when a warning or the expiry
    is next to be judged, whatever the lane does. `avoid`: providers that failed it in this round. `refused`: providers
    that refused it for good, not asked again while another one remains. `pin`: the only provider it may go to
    (reroute, UNCERTAIN), unless that no longer exists. `reason`: why it waits, for people. `warned`: the delay warning
    went out. `crashes`: internal errors while it was handled.
    """

    recipients: tuple[Recipient, ...]
    lane: str
    state: State = State.QUEUED
    tries: int = 0
    since: float = 0.0
    due_at: float = 0.0
    deadline: float = 0.0
    avoid: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    pin: str = ""
    reason: str = ""
    warned: bool = False
    crashes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueEntry:
    """One row of the queue: a message and part of what is owed of it."""

    id: int
    message: Message
    owed: Owed


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """An entry that belongs to one worker. The token fences every later write about it."""

    token: int
    entry: QueueEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Appetite:
    """What a worker can take now: `total` leases; of a route key named in `room` at most so many, others freely."""

    total: int
    room: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOutcome:
    """What became of one recipient in one attempt at one provider.

    `phase`: where it was decided. `elsewhere`: another provider may be tried (classification table).
    `retry_after`: seconds the upstream, or the table, asked us to wait, None: our own back-off.
    `suspend`: the provider refuses our account; no mail to it until it is repaired.
    `signal`: what else the reply teaches: throttled | day | month (quota gone) | split (too many recipients) |
    size (too large) | dsn (ACCEPTED, and the DSN parameters went on to the upstream); "" nothing.
    """

    recipient: Recipient
    verdict: Verdict
    fault: Fault
    provider: str
    reply: Reply
    phase: Phase
    retry_after: float | None = None
    elsewhere: bool = False
    suspend: bool = False
    signal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Quota taken at a provider before it is spent. `periods`: calendar keys, "day:2026-11-21", "month:2026-11"."""

    id: int
    provider: str
    amount: int
    at: float
    periods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """How a reservation ended: `taken` of it was used (0 gives all back), known at `at`."""

    reservation: Reservation
    taken: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a provider has used. `minute`: (time, amount) of the last 60 s; `periods`: calendar key to amount."""

    provider: str
    minute: tuple[tuple[float, int], ...] = ()
    periods: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEvent:
    """One thing that happened to a message, kept with it. `kind`: attempt, parked, held, bounced, warned, retried …"""

    at: float
    kind: str
    provider: str = ""
    recipients: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A recipient that left the queue for good, and how: ACCEPTED, FAILED, EXPIRED or CANCELLED."""

    recipient: Recipient
    state: State
    provider: str = ""
    reply: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """A lease consumed and replaced, in one transaction.

    Conservation: the recipients of the lease are exactly those of `ended` and `remainders` together.
    `notices`: bounces and warnings, submissions of their own. `events`: added to the message's timeline.
    """

    token: int
    ended: tuple[Ended, ...] = ()
    remainders: tuple[Owed, ...] = ()
    notices: tuple[Submission, ...] = ()
    usage: tuple[Spent, ...] = ()
    events: tuple[TimelineEvent, ...] = ()


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
    """An upstream as it is to be used now. Two that compare equal need no new connections."""

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
class Rewrite:
    """What a route changes. "" leaves a thing alone. `reply_to`: an address, or "" to keep what is there."""

    envelope_from: str = ""
    header_from: str = ""
    reply_to: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """First match wins, per recipient. `providers` empty: every active one."""

    match: Match = field(default_factory=Match)
    providers: tuple[str, ...] = ()
    rewrite: Rewrite | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """One transaction for one provider: what a Transport is given besides the body."""

    provider: Provider
    message: Message
    sender: str
    recipients: tuple[Recipient, ...]
    rewrite: Rewrite | None = None
