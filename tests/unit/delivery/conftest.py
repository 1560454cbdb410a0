"""Builders shared by the tests of delivery: everything has a sensible default, a test names what it is about."""

from __future__ import annotations

from random import Random

import pytest

from relay.delivery.attempt import Attempt, Send, Tried
from relay.delivery.classify import accepted, outcome
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.ledger import Setting
from relay.delivery.policy import BouncePolicy, DeliveryPolicy
from relay.events import Event
from relay.model import (
    Body,
    DeliveryOutcome,
    Envelope,
    Lease,
    Limits,
    Message,
    MessageId,
    Owed,
    Phase,
    Provider,
    QueueEntry,
    Recipient,
    Reply,
    Route,
    Source,
    Submission,
)

NOW = 1_800_000_000.0
OK = Reply(code=250, enhanced="2.0.0", text="Ok")


class Make:
    now = NOW
    ok = OK

    def provider(self, name: str = "primary", *, priority: int = 1, limits: Limits | None = None, **more: object):
        fields = {"host": f"{name}.example", "port": 587, "limits": limits or Limits()} | more
        return Provider(name=name, priority=priority, **fields)  # type: ignore[arg-type]

    def recipients(self, *addresses: str | Recipient) -> tuple[Recipient, ...]:
        return tuple(a if isinstance(a, Recipient) else Recipient(address=a) for a in addresses or ("b@example.org",))

    def message(
        self,
        *to: str | Recipient,
        sender: str = "a@example.com",
        size: int = 1000,
        id: str = "m1",
        source: Source | None = None,
        received_at: float = NOW,
        ret: str = "",
    ) -> Message:
        return Message(
            id=MessageId(id),
            envelope=Envelope(sender=sender, recipients=self.recipients(*to), ret=ret),
            prefix=b"Received: from app\r\n",
            size=size,
            source=source or Source(kind="smtp", listener="internal", client="10.1.2.3"),
            received_at=received_at,
            expires_at=received_at + 5 * 86400.0,
        )

    def submission(self, message: Message | None = None, **headers: str) -> Submission:
        return Submission(message=message or self.message(), body=Body(size=0, data=b""), headers=headers)

    def lease(self, message: Message | None = None, **owed: object) -> Lease:
        message = message or self.message()
        fields = {"recipients": message.envelope.recipients, "lane": "default:1", "since": message.received_at} | owed
        return Lease(token=7, entry=QueueEntry(id=1, message=message, owed=Owed(**fields)))  # type: ignore[arg-type]

    def attempt(self, message: Message | None = None, **owed: object) -> Attempt:
        return Attempt.begin(self.lease(message, **owed).entry)

    def dispatcher(
        self,
        *providers: Provider,
        routes: tuple[Route, ...] = (),
        policy: DeliveryPolicy | None = None,
        seen: list[Event] | None = None,
        capture: bool = False,
    ) -> Dispatcher:
        observe = seen.append if seen is not None else lambda event: None
        return Dispatcher(
            providers, routes, policy or DeliveryPolicy(), rng=Random(1), observe=observe, capture=capture
        )

    def setting(self, *, now: float = NOW, uptime: float = 1e6, bounces: BouncePolicy | None = None, **policy: object):
        given = DeliveryPolicy(bounces=bounces or BouncePolicy(), **policy)  # type: ignore[arg-type]
        return Setting(policy=given, now=now, uptime=uptime, rng=Random(1))

    def took(self, recipient: str | Recipient = "b@example.org", provider: str = "primary", *, dsn: bool = False):
        return accepted(self.recipients(recipient)[0], provider, OK, dsn=dsn)

    def said(
        self,
        code: int,
        phase: Phase,
        recipient: str | Recipient = "b@example.org",
        *,
        provider: str = "primary",
        enhanced: str = "",
        text: str = "",
        preset: str = "",
    ) -> DeliveryOutcome:
        reply = Reply(code=code, enhanced=enhanced, text=text)
        return outcome(self.recipients(recipient)[0], provider, preset, phase, reply)

    def tried(self, *outcomes: DeliveryOutcome, alone: bool = False, lane: str = "default:1") -> Tried:
        send = Send(
            settings=self.provider(outcomes[0].provider),
            recipients=tuple(o.recipient for o in outcomes),
            sender="a@example.com",
            lane=lane,
            size=1000,
            alone=alone,
        )
        return Tried(send=send, outcomes=outcomes)


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()
