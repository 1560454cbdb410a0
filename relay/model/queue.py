"""The queue as plain values: states, what is owed, leases, outcomes, settlements, quota.

Part of `relay.model`. Times are seconds since the epoch as `float`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from msgspec import Struct, field

from relay.model.mail import Message, Recipient, Reply, Rewrite, Submission


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


class Berth(Struct, frozen=True, kw_only=True):
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


class Owed(Struct, frozen=True, kw_only=True):
    """The moving part of a queue entry: who is still owed the message, and under what conditions.

    `lane`: "<route key>:<source bucket>", of the pin if there is one. `tries`: attempts that counted. `since`: when
    this round became ready, the clock of the 60 s a throttled provider is waited for. `due_at`: not before.
    `deadline`: when a warning or the expiry is next to be judged, whatever the lane does. `avoid`: providers that
    failed it in this round. `refused`: providers that refused it for good, not asked again while another one
    remains. `pin`: the only provider it may go to (reroute, UNCERTAIN), unless that no longer exists. `reason`: why
    it waits, for people. `warned`: the delay warning went out. `crashes`: internal errors while it was handled.
    `begun`: of mail that was scheduled, when it was first due; what is late is counted from there. 0: when it came.
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
    begun: float = 0.0


class QueueEntry(Struct, frozen=True, kw_only=True):
    """One row of the queue: a message and part of what is owed of it."""

    id: int
    message: Message
    owed: Owed


class Lease(Struct, frozen=True, kw_only=True):
    """An entry that belongs to one worker. The token fences every later write about it."""

    token: int
    entry: QueueEntry


class Appetite(Struct, frozen=True, kw_only=True):
    """What a worker can take now: `total` leases; of a route key named in `room` at most so many, others freely."""

    total: int
    room: Mapping[str, int] = field(default_factory=dict)


class DeliveryOutcome(Struct, frozen=True, kw_only=True):
    """What became of one recipient in one attempt at one provider.

    `phase`: where it was decided. `elsewhere`: another provider may be tried (classification table).
    `retry_after`: seconds the upstream, or the table, asked us to wait, None: our own back-off.
    `suspend`: the provider refuses our account; no mail to it until it is repaired.
    `signal`: what else the reply teaches: throttled | day | month (quota gone) | split (too many recipients) |
    size (too large) | dsn (ACCEPTED, and the DSN parameters went on to the upstream); "" nothing.
    `abreast`: ACCEPTED on a connection that carries so many messages at once, 0: no word of that.
    `conversation`: what was said, trimmed and without secrets: "C: MAIL FROM:<a@example.org>", "S: 250 2.1.0 Ok"; of
    mail that went the usual way the short form of `smtp.transcript`.
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
    abreast: int = 0
    conversation: tuple[str, ...] = ()


class Reservation(Struct, frozen=True, kw_only=True):
    """Quota taken at a provider before it is spent. `periods`: calendar keys, "day:2026-11-21", "month:2026-11"."""

    id: int
    provider: str
    amount: int
    at: float
    periods: tuple[str, ...] = ()


class Spent(Struct, frozen=True, kw_only=True):
    """How a reservation ended: `taken` of it was used (0 gives all back), known at `at`."""

    reservation: Reservation
    taken: int
    at: float


class Usage(Struct, frozen=True, kw_only=True):
    """What a provider has used. `minute`: (time, amount) of the last 60 s; `periods`: calendar key to amount."""

    provider: str
    minute: tuple[tuple[float, int], ...] = ()
    periods: Mapping[str, int] = field(default_factory=dict)


NO_ROUTE = -1
"""In place of the index of a route: none matched."""


class TimelineEvent(Struct, frozen=True, kw_only=True):
    """One thing that happened to a message, kept with it.

    `kind`: attempt, failover, parked, held, bounced, warned, retried … `conversation`: of an attempt, as in
    DeliveryOutcome. `rule`: index of the route that led to an attempt, or NO_ROUTE; None: not known, or told by
    the event before. `rewrite`: what it changed.
    """

    at: float
    kind: str
    provider: str = ""
    recipients: tuple[str, ...] = ()
    detail: str = ""
    conversation: tuple[str, ...] = ()
    rule: int | None = None
    rewrite: Rewrite | None = None


class Ended(Struct, frozen=True, kw_only=True):
    """A recipient that left the queue for good, and how: ACCEPTED, FAILED, EXPIRED or CANCELLED."""

    recipient: Recipient
    state: State
    provider: str = ""
    reply: str = ""


class Settlement(Struct, frozen=True, kw_only=True):
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
