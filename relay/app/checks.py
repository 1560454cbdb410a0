"""Asking a provider how it is: a probe, or a real mail to somebody.

Called by the API for people and by `upkeep` by the clock. What is found goes to the dispatcher and the registry. It is
bounded in time, never queues anything and never raises for what a provider did.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from msgspec import Struct

from relay.db.errors import StorageFailed, StorageFull
from relay.delivery import hints
from relay.delivery.attempt import Send
from relay.delivery.classify import NOBODY, outcome
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.explain import moment
from relay.delivery.provider import Obstacle
from relay.events import AttemptEnded, Observer
from relay.model import (
    Body,
    DeliveryOutcome,
    Envelope,
    Fault,
    Health,
    Identity,
    Message,
    MessageId,
    Phase,
    Provider,
    ProviderSettings,
    Recipient,
    Registered,
    Reply,
    Shipment,
    Source,
    Verdict,
)
from relay.ports import Budget, Clock, Registry, Tested, Transport, Trouble
from relay.smtp.address import parse_path

PATIENCE = 50.0
"""Seconds for a whole check or test mail: less than the clients of the API wait."""

_CHANGED = "the provider was changed or removed meanwhile: try again"
_GIVEN_BACK = "nothing was sent: the provider was just changed, or the relay is shutting down; try again"
_UNRECORDED = "the spool cannot record what is spent of its limits: see /readyz"
# Kind of an obstacle to the limit's name in the API and in Limits.
_LIMITS = {
    "day": ("daily_limit", "per_day"),
    "month": ("monthly_limit", "per_month"),
    "minute": ("rate_limit_per_minute", "per_minute"),
}


class ProviderChecks:
    """Implements ports.Checks. `recovered`: called when a provider was found well, since mail may move now.

    `clock` is wall time, `monotonic` never goes back; `patience` as PATIENCE.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        dispatcher: Dispatcher,
        budget: Budget,
        registry: Registry,
        hostname: str,
        observe: Observer,
        recovered: Callable[[], None],
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
        patience: float = PATIENCE,
    ) -> None:
        self._transport = transport
        self._dispatcher = dispatcher
        self._budget = budget
        self._registry = registry
        self._hostname = hostname
        self._observe = observe
        self._recovered = recovered
        self._clock = clock
        self._monotonic = monotonic
        self._patience = patience
        self._last_id = 0

    # A probe.

    async def check(self, provider: Registered) -> Health:
        if provider.locked:
            health = Health(healthy=False, checked_at=self._clock(), detail=provider.locked)
            await self._registry.checked(provider.settings.name, health)
            return health
        return await self.probe(provider.provider)

    async def probe(self, provider: Provider) -> Health:
        """Connect, EHLO, TLS, AUTH, QUIT."""
        return await self._learned(provider, await self._probed(provider))

    async def verify(self, provider: Provider) -> Trouble | None:
        found = await self._probed(provider)
        if found is None:
            return None
        return Trouble(phase=found.phase, detail=hints.explained(found.reply, hints.once(hints.hint(found))))

    async def _probed(self, provider: Provider) -> DeliveryOutcome | None:
        try:
            async with asyncio.timeout(self._patience):
                return await self._transport.probe(provider)
        except TimeoutError:
            return outcome(NOBODY, provider.name, provider.preset, Phase.CONNECT, self._late(provider))

    async def _learned(self, provider: Provider, found: DeliveryOutcome | None) -> Health:
        """None: it is well. What an older version of it answered says nothing about the one there is now."""
        now = self._clock()
        health = Health(healthy=found is None, checked_at=now, detail=_detail(found) if found else "")
        self._dispatcher.probed(provider, found, now)
        if any(one.provider == provider for one in self._registry.providers()):
            with contextlib.suppress(StorageFull, StorageFailed):  # people and the dispatcher know all the same
                await self._registry.checked(provider.name, health)
        self._recovered()
        return health

    def soon(self, name: str) -> None:
        self._dispatcher.hurry(name, self._clock())

    # A mail.

    async def test(self, provider: Registered, recipient: str) -> Tested:
        if provider.locked:
            return Tested(seconds=0.0, error=provider.locked)
        mail = self._compose(provider.settings, recipient)
        now, message = self._clock(), mail.message
        to = message.envelope.recipients[0]
        step = self._dispatcher.begin(provider.provider, message.envelope.sender, to, message.size, now)
        if not isinstance(step, Send):
            return Tested(seconds=0.0, error=_spent(step, provider.provider) if step else _CHANGED)
        if not await self._reserved(step):
            return Tested(seconds=0.0, error=_UNRECORDED)
        return await self._send(step, mail)

    async def _reserved(self, send: Send) -> bool:
        """What it will spend of a limit is on stable storage. Else nothing is sent, and nothing spent."""
        durable = False
        try:
            durable = send.reservation is None or await self._budget.reserve((send.reservation,))
        finally:
            if not durable:
                self._dispatcher.finished(send, (), self._clock())
        return durable

    async def _send(self, send: Send, mail: TestMail) -> Tested:
        """Whatever happens the dispatcher gets its place back, and what may have been taken counts as spent."""
        began, message = self._monotonic(), mail.message
        found = self._unknown(send)
        try:
            async with asyncio.timeout(self._patience):
                shipment = Shipment(
                    provider=send.settings, message=message, sender=send.sender, recipients=send.recipients
                )
                found = next(iter(await self._transport.send(shipment, mail.body)), None) or _stopping(send)
        except TimeoutError:
            pass
        finally:
            seconds = self._monotonic() - began
            tried = self._dispatcher.finished(send, (found,), self._clock())
            self._observe(
                AttemptEnded(
                    message=message.id,
                    sender=send.sender,
                    provider=send.provider,
                    outcomes=tried.outcomes,
                    seconds=seconds,
                    delay=seconds,
                )
            )
            if tried.spent is not None:
                await asyncio.shield(self._budget.spend((tried.spent,)))
        return await self._result(send, found, message.id, seconds)

    async def _result(self, send: Send, found: DeliveryOutcome, id: MessageId, seconds: float) -> Tested:
        """A mail that was taken proves that the provider is well; one refused for its own sake proves nothing."""
        if found.verdict is Verdict.ACCEPTED:
            await self._learned(send.settings, None)
            return Tested(seconds=seconds, message_id=id)
        detail = _detail(found)
        if found.fault is Fault.PROVIDER:
            health = Health(healthy=False, checked_at=self._clock(), detail=detail)
            with contextlib.suppress(StorageFull, StorageFailed):
                await self._registry.checked(send.provider, health)
        return Tested(seconds=seconds, error=f"SMTP Error: {detail}")

    def _unknown(self, send: Send) -> DeliveryOutcome:
        """What became of it if nobody says: perhaps it was taken."""
        provider = send.settings
        return outcome(send.recipients[0], provider.name, provider.preset, Phase.DOT, self._late(provider, code=0))

    def _late(self, provider: Provider, code: int = 421) -> Reply:
        where = f"{provider.host} port {provider.port}"
        text = f"{where} did not come to an end within {self._patience:g} s: is host or port wrong?"
        return Reply(code=code, enhanced="4.4.2" if code else "", text=text)

    def _compose(self, settings: ProviderSettings, recipient: str) -> TestMail:
        """Loaded here: a relay whose providers nobody tests needs none of it."""
        from relay.compose.draft import Draft
        from relay.compose.mailboxes import Mailbox
        from relay.compose.message import Unfit, compose
        from relay.compose.senders import House

        now, id = self._clock(), self._new_id()
        house = House(hostname=self._hostname, fallback=own_sender(settings, self._hostname))
        text = f"This is a test of the provider {settings.name}.\n\nIt was sent by the relay {self._hostname}.\n"
        draft = Draft(to=(Mailbox(recipient),), subject=f"Test email from {settings.name}", text=text)
        made = compose(draft, house, id=id, client="unix", now=now)
        if isinstance(made, Unfit):
            raise AssertionError(f"a test mail that is none: {made.problem}")
        data = b"".join(made.wire())
        return TestMail(
            message=_message(id, made.envelope, made.prefix, len(data), now), body=Body(size=len(data), data=data)
        )

    def _new_id(self) -> MessageId:
        """The second it was sent in, or the next one that is free."""
        self._last_id = max(self._last_id + 1, int(self._clock()))
        return MessageId(f"smtp_{self._last_id}")


class TestMail(Struct, frozen=True, kw_only=True):
    message: Message
    body: Body


def _message(id: MessageId, envelope: Envelope, prefix: bytes, size: int, now: float) -> Message:
    return Message(
        id=id,
        envelope=envelope,
        prefix=prefix,
        size=len(prefix) + size,
        source=Source(kind="http"),
        received_at=now,
        expires_at=now + PATIENCE,
    )


def _detail(found: DeliveryOutcome) -> str:
    """Cause and fix."""
    return hints.explained(found.reply, hints.hint(found))


def own_sender(settings: ProviderSettings, hostname: str) -> Identity:
    """Whom mail through this provider is best from: what was set, else its user name if that is an address, else us."""
    if settings.from_email or is_address(settings.username):
        address = settings.from_email or settings.username
        return Identity(address=address, name=settings.from_name, reply_to=settings.reply_to)
    return Identity(address=f"relay@{hostname}")


def is_address(text: str) -> bool:
    return not isinstance(parse_path(f"<{text}>".encode(errors="replace"), utf8=True, null=False), Reply)


def _stopping(send: Send) -> DeliveryOutcome:
    """The transport gave it back: the relay ends, or the provider is another by now."""
    provider, reply = send.settings, Reply(code=421, enhanced="4.3.2", text=_GIVEN_BACK)
    return outcome(Recipient(address=""), provider.name, provider.preset, Phase.CONNECT, reply)


def _spent(obstacle: Obstacle, provider: Provider) -> str:
    """Which limit, when it is over, and whose it is to raise."""
    name, ours = _LIMITS[obstacle.kind]
    whose = f"raise {name} to send sooner" if getattr(provider.limits, ours) else "the provider itself says so"
    return f"{obstacle.reason}; mail goes again at {moment(obstacle.until)}; {whose}"
