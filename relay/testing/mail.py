"""Messages and shipments for tests, with everything a test does not care about filled in.

Tests of upstream, worker and users' own set-ups call it. It makes data only.
"""

from __future__ import annotations

from collections.abc import Sequence

from relay.model import Body, Envelope, Message, MessageId, Provider, Recipient, Rewrite, Shipment, Source

PREFIX = b"Received: from app.example\r\n\tby relay.example with ESMTP id 0;\r\n\tSat, 21 Nov 2026 09:20:00 +0000\r\n"


def body_of(wire: bytes = b"Subject: hello\r\n\r\nHello.\r\n") -> Body:
    """`wire`: in wire form (CRLF, dot-stuffed, without the final dot)."""
    return Body(size=len(wire), data=wire)


def shipment_to(
    provider: Provider,
    *recipients: str | Recipient,
    sender: str = "a@example.com",
    prefix: bytes = PREFIX,
    eight_bit: bool = False,
    utf8: bool = False,
    ret: str = "",
    envid: str = "",
    rewrite: Rewrite | None = None,
) -> Shipment:
    """Recipients default to one."""
    to = _recipients(recipients or ("b@example.org",))
    envelope = Envelope(sender=sender, recipients=to, eight_bit=eight_bit, utf8=utf8, ret=ret, envid=envid)
    message = Message(
        id=MessageId("0000000000000"),
        envelope=envelope,
        prefix=prefix,
        size=len(prefix),
        source=Source(kind="smtp"),
        received_at=0.0,
        expires_at=432_000.0,
    )
    return Shipment(provider=provider, message=message, sender=sender, recipients=to, rewrite=rewrite)


def _recipients(given: Sequence[str | Recipient]) -> tuple[Recipient, ...]:
    return tuple(Recipient(address=each) if isinstance(each, str) else each for each in given)
