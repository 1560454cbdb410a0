"""Which reports a message's sender gets (bounce, delay warning, relayed), and the messages they become.

Called by settle (who gets one) and worker (make it). Sends nothing: a notice is queued and routed like mail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from relay.delivery.policy import BouncePolicy, DeliveryPolicy
from relay.model import Body, Envelope, Message, MessageId, Recipient, Source, Submission
from relay.smtp import dsn
from relay.smtp.data import stuff, unstuff
from relay.smtp.headers import IDENTITY, without

BOUNCE, DELAY, RELAYED = "bounce", "delay", "relayed"
LARGEST_RETURNED = 256 * 1024
"""Bytes of a message that a bounce returns whole when RET=FULL asks for it; of larger ones the headers."""

UNREPORTED = frozenset({"http", "event", "run", "notice"})
"""Kinds of Source whose mail gets no report: who handed it in was answered and can look; nobody bounces a bounce."""

_KEYWORD = {BOUNCE: "FAILURE", DELAY: "DELAY", RELAYED: "SUCCESS"}
_FORM: Mapping[str, Callable[[dsn.Report], bytes]] = {BOUNCE: dsn.failure, DELAY: dsn.delay, RELAYED: dsn.relayed}


class Fate(Struct, frozen=True, kw_only=True):
    """What a notice says about one recipient. `reply`: the last one, as text; `status`: "" to take it from there."""

    recipient: Recipient
    provider: str = ""
    reply: str = ""
    status: str = ""
    at: float = 0.0


class Notice(Struct, frozen=True, kw_only=True):
    """A report that is owed to the sender of `message`. `kind`: bounce | delay | relayed."""

    kind: str
    message: Message
    fates: tuple[Fate, ...]

    @property
    def whole(self) -> bool:
        """Whether the original is returned whole (RFC 3461 4.3), so that `compose` needs all of its body."""
        asked = self.message.envelope.ret.upper() == "FULL"
        return asked and self.kind == BOUNCE and self.message.size <= LARGEST_RETURNED


def reportable(message: Message, policy: BouncePolicy) -> bool:
    """Whether anybody gets reports about this message at all: nobody about `<>`, notices, and what came by HTTP."""
    return policy.send and bool(message.envelope.sender) and message.source.kind not in UNREPORTED


def wanted(kind: str, recipient: Recipient) -> bool:
    """RFC 3461 4.1. Without NOTIFY: bounces and warnings, no `relayed`."""
    asked = recipient.notify.upper().split(",") if recipient.notify else ["FAILURE", "DELAY"]
    return _KEYWORD[kind] in asked


def compose(
    notice: Notice, body: bytes, *, id: MessageId, policy: DeliveryPolicy, hosts: Mapping[str, str], now: float
) -> Submission:
    """The notice as a message of its own, with the null sender (RFC 5321 4.5.5).

    `body`: the original's in wire form, or its head if not `notice.whole`; b"" if it is lost. `hosts`: by provider.
    """
    message = notice.message
    to = policy.bounces.to or message.envelope.sender
    report = dsn.Report(
        id=id,
        message=message,
        hostname=policy.hostname,
        sender=policy.bounces.sender or f"postmaster@{policy.hostname}",
        to=to,
        now=now,
        fates=tuple(_fate(fate, hosts) for fate in notice.fates),
        original=_original(message, body),
        whole=notice.whole,
        retry_until=message.expires_at if notice.kind == DELAY else 0.0,
    )
    return _submission(report, stuff(_FORM[notice.kind](report)), now + policy.retry.give_up_after)


def _original(message: Message, body: bytes) -> bytes:
    """As it came in, but for the name of its identity: that is for us only, and a notice goes out."""
    content = message.prefix + unstuff(body)
    return content if message.identity is None else without(content, IDENTITY)


def _submission(report: dsn.Report, wire: bytes, expires_at: float) -> Submission:
    envelope = Envelope(
        sender="",
        recipients=(Recipient(address=report.to),),
        # 8-bit is declared when it is there, so that an upstream can say it cannot take it (RFC 6152).
        eight_bit=not wire.isascii(),
        utf8=not report.to.isascii(),
    )
    message = Message(
        id=report.id,
        envelope=envelope,
        prefix=b"",
        size=len(wire),
        source=Source(kind="notice"),
        received_at=report.now,
        expires_at=expires_at,
    )
    return Submission(message=message, body=Body(size=len(wire), data=wire))


def _fate(fate: Fate, hosts: Mapping[str, str]) -> dsn.Fate:
    return dsn.Fate(
        recipient=fate.recipient,
        reply=fate.reply,
        status=fate.status,
        host=hosts.get(fate.provider, ""),
        attempted_at=fate.at,
    )
