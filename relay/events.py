"""What happened, as frozen values. The rooms emit them; logs and metrics are observers at the edge.

Whoever does something calls its `Observer` with one of these; an observer never raises and never waits.
No event carries a secret, a subject or content.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from relay.model import DeliveryOutcome, MessageId, Reply, Source


class ConnectionOpened(Struct, frozen=True, kw_only=True):
    listener: str


class ConnectionClosed(Struct, frozen=True, kw_only=True):
    listener: str


class CommandRejected(Struct, frozen=True, kw_only=True):
    """A client was refused something. `reason` is one of a fixed, small set of words (it becomes a metric label)."""

    listener: str
    client: str
    reason: str
    reply: Reply


class MessageAccepted(Struct, frozen=True, kw_only=True):
    """A message is on stable storage. `seconds`: from its MAIL command (or request) to that moment."""

    message: MessageId
    source: Source
    sender: str
    recipients: tuple[str, ...]
    size: int
    seconds: float
    captured: bool = False


class AttemptEnded(Struct, frozen=True, kw_only=True):
    """One transaction with one provider is over. `seconds`: its length; `delay`: since the message was to go."""

    message: MessageId
    sender: str
    provider: str
    outcomes: tuple[DeliveryOutcome, ...]
    seconds: float
    delay: float


class FailedOver(Struct, frozen=True, kw_only=True):
    """A provider was chosen although one ordered before it exists, because that one failed or is out."""

    message: MessageId
    origin: str
    target: str
    reason: str


class MessageParked(Struct, frozen=True, kw_only=True):
    """A message waits because no provider is usable, or for an operator. Once per park, with the reason."""

    message: MessageId
    reason: str
    until: float


class MessageEnded(Struct, frozen=True, kw_only=True):
    """The last recipient of a message left the queue. `state`: as in model.State."""

    message: MessageId
    state: str


class NoticeQueued(Struct, frozen=True, kw_only=True):
    """A bounce, a delay warning or a relayed report was queued about a message. `kind`: bounce | delay | relayed."""

    message: MessageId
    notice: MessageId
    kind: str


class NoticeFailed(Struct, frozen=True, kw_only=True):
    """A notice could not be delivered. It makes no notice of its own (hazard E2), so people must hear of it."""

    notice: MessageId
    reply: str


class EntryCrashed(Struct, frozen=True, kw_only=True):
    """An exception while an entry was handled: a bug. Of `error` only class and place may be shown, never its text."""

    message: MessageId
    error: Exception
    held: bool


class CircuitChanged(Struct, frozen=True, kw_only=True):
    """`state`: closed | open | half_open. `reply`: what opened it."""

    provider: str
    state: str
    reply: Reply | None
    until: float


class ProviderSuspended(Struct, frozen=True, kw_only=True):
    """The provider refuses our account. No mail until it is repaired; nothing bounces. Next probe at `until`."""

    provider: str
    reply: Reply
    until: float


class ProviderRecovered(Struct, frozen=True, kw_only=True):
    provider: str


class Committed(Struct, frozen=True, kw_only=True):
    """The spool made one transaction of `operations` durable in `seconds`."""

    operations: int
    seconds: float


class SpoolFailed(Struct, frozen=True, kw_only=True):
    """Storage failed and the spool no longer accepts (hazard G5). `error` names cause and fix."""

    error: str


class ConfigurationReloaded(Struct, frozen=True, kw_only=True):
    """`errors` empty: in force. `restart`: names of settings that changed but need a restart."""

    errors: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()


class Changed(Struct, frozen=True, kw_only=True):
    """Audit: `who` did `what` ("provider added", "queue hold") to `target`. Never a secret; who is "control" on the
    control socket, "loopback" while nobody needs a token, else the name of the user or token.
    """

    who: str
    what: str
    target: str


class LoginFailed(Struct, frozen=True, kw_only=True):
    """Somebody gave a wrong password or token over HTTP. `user`: as given, "" for a token."""

    client: str
    user: str


class EventTold(Struct, frozen=True, kw_only=True):
    """A Happening was kept, and the messages it made. `id`, `kind`, `name`, `user`: of it. `failed`: for each mail that
    came to nothing whose it was ("welcome actions.0.data.to"), and why: names of variables, never their values.
    """

    id: str
    kind: str
    name: str
    user: str
    messages: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()


Event = (
    ConnectionOpened
    | ConnectionClosed
    | CommandRejected
    | MessageAccepted
    | AttemptEnded
    | FailedOver
    | MessageParked
    | MessageEnded
    | NoticeQueued
    | NoticeFailed
    | EntryCrashed
    | CircuitChanged
    | ProviderSuspended
    | ProviderRecovered
    | Committed
    | SpoolFailed
    | ConfigurationReloaded
    | Changed
    | LoginFailed
    | EventTold
)
Observer = Callable[[Event], None]


def nobody(event: Event) -> None:
    """The observer that does not look."""
