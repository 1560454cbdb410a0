"""The Protocols between the layers: who may ask what of whom.

Each room asks for the narrowest port it needs; `app` hands in what implements it. Nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct, field

from relay.model import (
    Account,
    Appetite,
    Attached,
    Berth,
    Body,
    Claim,
    Counts,
    DeliveryOutcome,
    Happening,
    Health,
    Labels,
    Lease,
    MessageId,
    Phase,
    Provider,
    ProviderSettings,
    Registered,
    Registration,
    Reply,
    Reservation,
    Rewrite,
    Scope,
    Settlement,
    Shipment,
    Spent,
    State,
    Submission,
    TimelineEvent,
    Token,
    Usage,
    Workflow,
)

Placement = Callable[[Submission], Sequence[Berth]]
"""Which lanes a new message lies in. Pure and fast; given to the spool by `app`, it is the dispatcher's."""

Clock = Callable[[], float]
"""Seconds since the epoch."""

CLAIMED = Reply(code=451, enhanced="4.3.0", text="The idempotency key is in use")
"""What `Intake.accept` answers when a message came with a key that is in use; `Intake.claimed` says by what."""


class BodyWriter(Protocol):
    """Collects one body in wire form; what exceeds 256 KiB goes to a file while it arrives."""

    size: int

    def feed(self, data: bytes) -> bool:
        """Add bytes. True: call `drain` before feeding more."""

    async def drain(self) -> None:
        """Write what has piled up to the file. OSError (disk full, EIO) is the caller's 452 or 451."""

    async def finish(self) -> Body:
        """The whole body; a file is fsynced and so is its folder. OSError as for `drain`.

        Unless `feed` asked for a `drain` at least once it has nothing to do with a disk: it neither waits nor fails.
        """

    async def discard(self) -> None:
        """Forget the body, remove the file. Safe at any time, twice, and after `finish` if nothing accepted it."""


class Intake(Protocol):
    """The way into the spool: listener, api, automation."""

    def new_id(self, now: float) -> MessageId:
        """An id larger than any before, also over restarts and clock steps."""

    def admits(self, size: int) -> Reply | None:
        """None, or why a message of so many bytes (0: unknown) is refused now: 452 4.3.1 full, 451 4.3.0 unhealthy."""

    def writer(self, message: MessageId) -> BodyWriter: ...

    def accept(
        self, batch: Sequence[Submission], *, claim: Claim | None = None, happening: Happening | None = None
    ) -> Awaitable[Reply | None]:
        """None: every one is on stable storage, and so are the claim and what happened; also where no message is, since
        what happened may cause none. A Reply: nothing is, and this is what to tell the client, CLAIMED if it is about
        the key. A future is best: the listener needs no task to wait for one.
        """

    async def claimed(self, owner: str, key: str) -> Claim | None:
        """The idempotency key as it was used within 24 h by a message that was accepted. Raises StorageFailed (`db`)
        when that cannot be read: it is not to be taken for a new one then.
        """


class Work(Protocol):
    """The worker's side of the spool."""

    async def claim(self, appetite: Appetite, now: float) -> Sequence[Lease]:
        """Due entries, round-robin over the lanes that have room, oldest first; and any whose deadline has passed."""

    async def body(self, message: MessageId) -> Body | None:
        """None: it is gone or damaged, which the worker makes a held entry, not an exception."""

    async def settle(self, done: Sequence[Settlement]) -> Collection[int]:
        """Durable on return; the tokens honoured. A token that owns nothing changes nothing."""

    def can_settle(self) -> bool:
        """False once storage failed: what is sent now could not be recorded, and would be sent again."""

    async def wait(self, seconds: float) -> None:
        """Return when something may be claimable, at the latest after so many seconds."""

    def wake(self) -> None:
        """Make `wait` return: there is room again for what could not be claimed before."""


class Happenings(Protocol):
    """The record of events and workflow runs, kept as long and as many as the history of messages."""

    async def happenings(self, *, limit: int, after: str = "", name: str = "") -> tuple[Sequence[Happening], bool]:
        """Newest first, and whether there are more. `after`: the last id of the page before. `name`: exactly."""

    async def happening(self, id: str) -> Happening | None: ...


class Budget(Protocol):
    """Limits shared by all processes of one spool, durable over restarts."""

    async def usage(self, now: float) -> Sequence[Usage]:
        """What counts still. What was reserved and never settled when a process died counts as spent now."""

    async def reserve(self, wanted: Sequence[Reservation]) -> bool:
        """Durable on return; False when storage failed. `Settlement.usage` ends each reservation."""

    async def spend(self, done: Sequence[Spent]) -> bool:
        """End reservations that no settlement belongs to. Durable on return; False when storage failed."""


class Transport(Protocol):
    """A kind of upstream. Never raises for what an upstream did."""

    async def send(self, shipment: Shipment, body: Body) -> Sequence[DeliveryOutcome]:
        """Exactly one outcome for each recipient of the shipment; after `hold` or `replace` perhaps none: not sent."""

    async def probe(self, provider: Provider) -> DeliveryOutcome | None:
        """Connect, EHLO, STARTTLS, AUTH, QUIT. None: all well; else what went wrong (its recipient is empty)."""

    async def replace(self, providers: Sequence[Provider]) -> None:
        """Live reload: connections of providers that changed or went are closed once idle."""

    def hold(self) -> None:
        """The relay stops: finish what is on the wire, begin nothing more."""

    def connections(self) -> Mapping[str, int]:
        """Open connections by provider name."""

    async def close(self) -> None:
        """QUIT on all idle connections, close the rest."""


# The desk: people looking at the queue and acting on it.


class Filter(Struct, frozen=True, kw_only=True):
    """Which messages. "" and None mean any. Addresses are globs without regard to case; `older`: received before.

    `tag`: exactly. `text`: part of the id, the sender, a recipient or a tag, without regard to case.
    """

    id: str = ""
    sender: str = ""
    recipient: str = ""
    provider: str = ""
    states: tuple[State, ...] = ()
    older: float | None = None
    ended: bool = False
    tag: str = ""
    text: str = ""


class RecipientView(Struct, frozen=True, kw_only=True):
    """One recipient's state. `reason`: why it waits, or the last reply. `lane`: of its entry, if that waits."""

    address: str
    state: State
    provider: str = ""
    reason: str = ""
    tries: int = 0
    due_at: float | None = None
    lane: str = ""


class MessageView(Struct, frozen=True, kw_only=True):
    """A message as people see it. `timeline` is filled by `show` only. `identity`: as in Message."""

    id: MessageId
    state: State
    sender: str
    recipients: tuple[RecipientView, ...]
    size: int
    source: str
    received_at: float
    ended_at: float | None = None
    expires_at: float | None = None
    labels: Labels | None = None
    identity: Rewrite | None = None
    timeline: tuple[TimelineEvent, ...] = ()


class Page(Struct, frozen=True, kw_only=True):
    data: tuple[MessageView, ...]
    has_more: bool


class Acted(Struct, frozen=True, kw_only=True):
    """`changed`: messages the action changed (or would, on a dry run). `skipped`: id to why not."""

    changed: tuple[MessageId, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)


class QueueStats(Struct, frozen=True, kw_only=True):
    """`states`: messages by state. `oldest`: received_at of the oldest not ended, not captured. Sizes in bytes."""

    states: Mapping[str, int]
    oldest: float | None
    live_bytes: int
    max_bytes: int
    free_bytes: int
    healthy: bool
    detail: str = ""


class Desk(Protocol):
    async def find(self, where: Filter, *, limit: int, after: str = "") -> Page:
        """Oldest first, by id. `after`: the last id of the page before. `where.ended`: history too."""

    async def show(self, message: str) -> MessageView | None: ...

    async def act(self, action: str, where: Filter, now: float, *, provider: str = "", dry_run: bool = False) -> Acted:
        """hold | release | retry | reroute | cancel. On a message being sent, hold and cancel act after the attempt."""

    async def stats(self) -> QueueStats: ...


# What people manage. All that is written is durable on return; StorageFull and StorageFailed of `db` say it is not.


class NameTaken(Exception):
    """Names are unique over what the file and the API made."""


class ReadOnly(Exception):
    """It stands in the configuration file and is changed there."""


class Registry(Protocol):
    """Providers of the file and of the API; of those that were removed only that there were some is known."""

    def providers(self) -> Sequence[Registered]:
        """By id."""

    def find(self, id: int) -> Registered | None: ...

    def empty(self) -> bool:
        """No provider exists nor ever did: the relay captures."""

    async def add(self, settings: ProviderSettings, *, default: bool, now: float) -> Registered:
        """Raises NameTaken."""

    async def change(self, id: int, settings: ProviderSettings, *, default: bool, now: float) -> Registered:
        """All of it replaced. Raises LookupError, NameTaken, ReadOnly; `default` and activity may change anywhere."""

    async def remove(self, id: int, now: float) -> None:
        """Its name is free again. Raises LookupError, ReadOnly."""

    async def checked(self, name: str, health: Health) -> None:
        """A check or a delivery told something new of its health."""

    def counts(self, id: int, now: float) -> Counts: ...

    async def rotate(self) -> int:
        """A new encryption key, everything re-encrypted; how many secrets. The old key is gone afterwards."""


class Workflows(Protocol):
    """Rules of the file and of the API. Answers from memory. `document`: as in model.Workflow, already validated."""

    def all(self) -> Sequence[Workflow]:
        """Those of the file first, in its order, then the others by age."""

    def find(self, name: str) -> Workflow | None: ...

    def listening(self, event: str) -> Sequence[Workflow]:
        """Those that an event of this name fires, in the order of `all`, damaged ones too."""

    async def add(self, name: str, document: Mapping[str, object], who: str, now: float) -> Workflow:
        """`name` "": one is made, of its event. Raises NameTaken, TooMany."""

    async def change(
        self, name: str, document: Mapping[str, object], who: str, now: float, *, version: int | None = None
    ) -> Workflow:
        """All of it replaced by a new version. Raises LookupError, ReadOnly; Outdated when it is not at `version`."""

    async def remove(self, name: str) -> None:
        """Its name is free again, its versions are gone. Raises LookupError, ReadOnly."""

    async def versions(self, name: str) -> Sequence[Workflow]:
        """What it was, newest first, at most a hundred. Raises LookupError. Of the file there is only what is."""


class TooMany(Exception):
    """There may be no more of these; the text says how many there are."""


class Outdated(Exception):
    """Somebody else changed it meanwhile. `version`: what it is at."""

    def __init__(self, version: int) -> None:
        super().__init__(f"it is at version {version}")
        self.version = version


class Integrations(Protocol):
    """Registrations and what they are attached to. Answers from memory; whoever changes something applies it."""

    def registrations(self) -> Sequence[Registration]:
        """By id. A number is never given twice."""

    def registration(self, id: int) -> Registration | None: ...

    async def register(self, integration: str, options: Mapping[str, str], now: float) -> Registration:
        """Raises TooMany."""

    async def unregister(self, id: int) -> int:
        """And its attachments; how many those were. Raises LookupError."""

    def attachments(self, workflow: str = "") -> Sequence[Attached]:
        """By id; "": of every workflow."""

    async def attach(self, workflow: str, registration: int, options: Mapping[str, str], now: float) -> Attached:
        """Raises LookupError when there is no such registration, TooMany."""

    async def detach(self, id: int) -> None:
        """Raises LookupError."""


class Busy(Exception):
    """Too many passwords are being judged, or this one was wrong too often. `seconds`: come back then."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"come back in {seconds:g} s")
        self.seconds = seconds


class Accounts(Protocol):
    """Users and tokens of the file and of the API."""

    def nobody(self) -> bool:
        """There is neither a user nor a token: the API is open to loopback."""

    async def authenticate(self, name: str, password: bytes, client: str) -> Account | None:
        """Who it is, None if the password is wrong or nobody has the name: both take as long. Raises Busy."""

    def bearer(self, secret: str, now: float) -> Token | None:
        """Whose token this is; None: nobody's, or it is revoked, or has expired."""

    def users(self) -> Sequence[Account]: ...

    async def add_user(self, name: str, password: bytes, scopes: Collection[Scope], now: float) -> Account:
        """Raises NameTaken."""

    async def remove_user(self, name: str) -> None:
        """And the sessions of that user. Raises LookupError, ReadOnly."""

    def tokens(self, now: float) -> Sequence[Token]:
        """Those that operators made, expired ones too, without sessions."""

    async def issue(
        self, name: str, scopes: Collection[Scope], now: float, *, user: str = "", seconds: float | None = None
    ) -> tuple[Token, str]:
        """A new token and its secret, which is not kept. Raises NameTaken for one that an operator names."""

    async def revoke(self, id: int) -> None:
        """Raises LookupError."""


class Tested(Struct, frozen=True, kw_only=True):
    """How a test mail went. `message_id`: "smtp_…", when it was taken. `error`: else, with cause and fix."""

    seconds: float
    message_id: str = ""
    error: str = ""


class Checks(Protocol):
    """Asking a provider, now, at the request of a person. Bounded in time."""

    async def check(self, provider: Registered) -> Health:
        """Connect, TLS, AUTH. What is found is kept, and the dispatcher told."""

    async def test(self, provider: Registered, recipient: str) -> Tested:
        """Send it a real mail, which counts against its limits; it is never queued."""

    async def verify(self, provider: Provider) -> Trouble | None:
        """As `check`, of one that does not exist yet: nothing is kept, nobody told. None: all is well."""

    def soon(self, name: str) -> None:
        """If it is out, it is probed within a second: somebody says that it is mended."""


class Trouble(Struct, frozen=True, kw_only=True):
    """Why a server that nobody uses yet cannot be used. `phase`: how far it came. `detail`: cause and fix."""

    phase: Phase
    detail: str


class Explain(Protocol):
    """The dispatcher's answer to "why": plain JSON-able data, see `relay.delivery.explain`."""

    def explain(self, *, sender: str, recipient: str, size: int, client: str, now: float) -> Mapping[str, Any]: ...

    def why(self, lane: str, now: float) -> str:
        """Why nothing of this lane moves, or "" when it can."""
