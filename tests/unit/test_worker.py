"""The worker over the memory spool: what is sent where, and what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from random import Random

import pytest
from msgspec.structs import replace

from relay.api.operations.queue import Operations
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.explain import moment
from relay.delivery.policy import DeliveryPolicy, Uncertain
from relay.delivery.retry import RetryPolicy
from relay.events import AttemptEnded, EntryCrashed, Event, FailedOver, MessageParked, NoticeFailed, NoticeQueued
from relay.model import (
    Appetite,
    Body,
    DeliveryOutcome,
    Envelope,
    Fault,
    Lease,
    Limits,
    Match,
    Message,
    MessageId,
    Phase,
    Provider,
    Recipient,
    Reservation,
    Route,
    Shipment,
    Source,
    State,
    Submission,
    Verdict,
)
from relay.ports import MessageView
from relay.spool.memory import MemorySpool
from relay.testing.transport import FakeTransport, says, takes
from relay.worker import Delivery, Worker

MOVING = (State.QUEUED, State.SENDING)
NOW = 1_800_000_000.0
HELLO = b"Subject: x\r\n\r\nHello\r\n"
QUICK = RetryPolicy(first=30.0)


def provider(name: str, priority: int = 1, **more: object) -> Provider:
    return Provider(name=name, host=f"{name}.example", port=25, priority=priority, **more)  # type: ignore[arg-type]


class Desk:
    """A worker with everything around it, on a clock the test turns."""

    def __init__(
        self,
        providers: list[Provider],
        routes: tuple[Route, ...] = (),
        spool: type[MemorySpool] = MemorySpool,
        **policy: object,
    ) -> None:
        self.now = NOW
        self.events: list[Event] = []
        self.transport = FakeTransport()
        self.providers = {one.name: one for one in providers}
        self.dispatcher = Dispatcher(
            providers,
            routes,
            DeliveryPolicy(hostname="relay.example", retry=QUICK, **policy),  # type: ignore[arg-type]
            rng=Random(1),
            observe=self.events.append,
        )
        self.spool = spool(self.dispatcher.place, clock=lambda: self.now)
        self.worker = Worker(
            Delivery(
                work=self.spool,
                budget=self.spool,
                transport=self.transport,
                dispatcher=self.dispatcher,
                providers=lambda: self.providers,
                new_id=self.spool.new_id,
                clock=lambda: self.now,
                uptime=lambda: 1e6,
                rng=Random(1),
                observe=self.events.append,
            )
        )

    async def accept(
        self, *to: str, sender: str = "a@example.com", body: bytes = b"Subject: x\r\n\r\nHello\r\n"
    ) -> str:
        id = self.spool.new_id(self.now)
        message = Message(
            id=id,
            envelope=Envelope(sender=sender, recipients=tuple(Recipient(address=address) for address in to)),
            prefix=b"Received: from app\r\n",
            size=len(body),
            source=Source(kind="smtp", listener="internal", client="127.0.0.1"),
            received_at=self.now,
            expires_at=self.now + 5 * 86400,
        )
        assert await self.spool.accept([Submission(message=message, body=Body(size=len(body), data=body))]) is None
        return id

    async def show(self, message: str) -> MessageView:
        view = await self.spool.show(message)
        assert view is not None
        return view

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not met():  # noqa: ASYNC110 - what it waits for is a view, not an event
                await asyncio.sleep(0.001)

    async def settled(self, message: str) -> MessageView:
        """The message once nobody is sending it."""
        async with asyncio.timeout(5):
            while (view := await self.show(message)).state in MOVING:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        return view

    def sent(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(s.provider.name, tuple(r.address for r in s.recipients)) for s in self.transport.shipments]

    def seen(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@contextlib.asynccontextmanager
async def running(desk: Desk) -> AsyncIterator[Desk]:
    task = asyncio.create_task(desk.worker.run())
    try:
        yield desk
    finally:
        await desk.worker.drain(1.0)
        await asyncio.wait_for(task, 5)


async def test_mail_is_handed_over_and_becomes_history():
    async with running(Desk([provider("one")])) as desk:
        id = await desk.accept("b@example.org", "c@example.org")
        view = await desk.settled(id)
        assert view.state is State.ACCEPTED
        assert desk.sent() == [("one", ("b@example.org", "c@example.org"))]
        assert desk.transport.bodies[0].data == b"Subject: x\r\n\r\nHello\r\n"
        [attempt] = desk.seen(AttemptEnded)
        assert attempt.message == id and len(attempt.outcomes) == 2


async def test_a_provider_that_fails_is_failed_over_at_once_and_counted_once():
    async with running(Desk([provider("one"), provider("two", 2)])) as desk:
        desk.transport.answers["one"] = says(Phase.CONNECT, 0, text="connection refused")
        view = await desk.settled(await desk.accept("b@example.org", "c@example.org"))
        assert view.state is State.ACCEPTED
        assert [name for name, _ in desk.sent()] == ["one", "two"]
        [over] = desk.seen(FailedOver)
        assert (over.origin, over.target) == ("one", "two")


async def test_F3_one_delivered_one_retried_one_bounced():
    answers = {"c@example.org": says(Phase.RCPT, 450, "4.2.1", "later"), "d@example.org": says(Phase.RCPT, 550)}

    def answer(shipment: Shipment, recipient: Recipient) -> DeliveryOutcome:
        return answers.get(recipient.address, takes)(shipment, recipient)

    async with running(Desk([provider("one")])) as desk:
        desk.transport.answers["one"] = answer
        id = await desk.accept("b@example.org", "c@example.org", "d@example.org")
        await desk.until(lambda: len(desk.transport.shipments) == 2)  # the mail, and the bounce
        view = await desk.settled(id)
        states = {recipient.address: recipient.state for recipient in view.recipients}
        assert states == {
            "b@example.org": State.ACCEPTED,
            "c@example.org": State.DEFERRED,
            "d@example.org": State.FAILED,
        }
        bounce = desk.transport.shipments[1]
        assert bounce.sender == "" and bounce.recipients[0].address == "a@example.com"
        assert [event.kind for event in desk.seen(NoticeQueued)] == ["bounce"]
        desk.transport.answers["one"] = takes
        desk.now += 31
        desk.spool.wake()
        await desk.until(lambda: desk.sent()[-1] == ("one", ("c@example.org",)))


async def test_what_waits_is_said_to_wait_until_its_next_attempt():
    async with running(Desk([provider("one")])) as desk:
        desk.transport.answers["one"] = says(Phase.CONNECT, 0, text="connection refused")
        view = await desk.settled(await desk.accept("b@example.org"))
        [parked] = desk.seen(MessageParked)
        assert parked.until == view.recipients[0].due_at
        assert parked.until > desk.now


async def test_E2_no_bounce_for_the_null_sender():
    async with running(Desk([provider("one")])) as desk:
        desk.transport.answers["one"] = says(Phase.RCPT, 550, "5.1.1", "no such user")
        view = await desk.settled(await desk.accept("b@example.org", sender=""))
        assert view.state is State.FAILED
        assert len(desk.transport.shipments) == 1 and not desk.seen(NoticeQueued)


async def test_E2_a_notice_that_is_refused_ends_with_an_error_and_no_other_notice():
    async with running(Desk([provider("one")])) as desk:
        desk.transport.answers["one"] = says(Phase.RCPT, 550, "5.1.1", "no such user")
        await desk.accept("b@example.org")
        await desk.until(lambda: bool(desk.seen(NoticeFailed)))
        [queued] = desk.seen(NoticeQueued)
        [lost] = desk.seen(NoticeFailed)
        assert (lost.notice, lost.reply) == (queued.notice, "550 5.1.1 no such user")
        assert len(desk.transport.shipments) == 2


async def test_a_split_message_is_one_failover():
    async with running(Desk([provider("one"), provider("two", 2, limits=Limits(recipients=1))])) as desk:
        desk.transport.answers["one"] = says(Phase.MAIL, 421, text="closing")
        for _ in range(3):  # opens the circuit of the first
            await desk.settled(await desk.accept("b@example.org"))
        before = len(desk.seen(FailedOver))
        view = await desk.settled(await desk.accept("b@example.org", "c@example.org", "d@example.org"))
        assert view.state is State.ACCEPTED
        assert len(desk.seen(FailedOver)) == before + 1


async def test_a_notice_that_cannot_be_made_keeps_what_was_delivered_and_tries_the_rest_again():
    class Torn(MemorySpool):
        bodies = 0

        async def body(self, message: MessageId) -> Body | None:
            self.bodies += 1
            if self.bodies == 2:  # the first is for sending, the second for the bounce
                raise RuntimeError
            return await super().body(message)

    def answer(shipment: Shipment, recipient: Recipient) -> DeliveryOutcome:
        refused = recipient.address == "c@example.org"
        return (says(Phase.RCPT, 550, "5.1.1", "no such user") if refused else takes)(shipment, recipient)

    async with running(Desk([provider("one")], spool=Torn)) as desk:
        desk.transport.answers["one"] = answer
        id = await desk.accept("b@example.org", "c@example.org")
        await desk.until(lambda: len(desk.seen(EntryCrashed)) == 1)
        view = await desk.settled(id)
        states = {recipient.address: recipient.state for recipient in view.recipients}
        assert states == {"b@example.org": State.ACCEPTED, "c@example.org": State.DEFERRED}
        desk.now += 60
        desk.spool.wake()
        await desk.until(lambda: len(desk.seen(NoticeQueued)) == 1)
        assert (await desk.settled(id)).state is State.ACCEPTED
        assert [to for _, to in desk.sent()][:2] == [("b@example.org", "c@example.org"), ("c@example.org",)]


async def test_recipients_beyond_the_limit_go_in_a_transaction_of_their_own():
    async with running(Desk([provider("one", limits=Limits(recipients=2))])) as desk:
        view = await desk.settled(await desk.accept("b@example.org", "c@example.org", "d@example.org"))
        assert view.state is State.ACCEPTED
        assert [to for _, to in desk.sent()] == [("b@example.org", "c@example.org"), ("d@example.org",)]


async def test_quota_is_reserved_before_and_spent_after():
    async with running(Desk([provider("one", limits=Limits(per_day=2))])) as desk:
        ids = [await desk.accept(f"{n}@example.org") for n in range(3)]
        await desk.settled(ids[0])
        await desk.settled(ids[1])
        [used] = await desk.spool.usage(desk.now)
        assert set(used.periods.values()) == {2}  # the day and the month
        assert len(desk.transport.shipments) == 2
        assert (await desk.show(ids[2])).state in (State.QUEUED, State.DEFERRED)


async def test_routes_see_headers_at_every_attempt():
    routes = (Route(match=Match(headers=(("x-app", "crm"),)), providers=("two",)),)
    async with running(Desk([provider("one"), provider("two", 2)], routes)) as desk:
        await desk.settled(await desk.accept("b@example.org", body=b"X-App: CRM\r\n\r\nHello\r\n"))
        await desk.settled(await desk.accept("c@example.org"))
        assert [name for name, _ in desk.sent()] == ["two", "one"]


async def test_an_exception_keeps_the_mail_and_holds_it_the_third_time():
    def broken(shipment: Shipment, recipient: Recipient) -> DeliveryOutcome:
        raise RuntimeError("secret in the text")

    async with running(Desk([provider("one")])) as desk:
        desk.transport.answers["one"] = broken
        id = await desk.accept("b@example.org")
        for crashes in (1, 2, 3):
            await desk.until(lambda crashes=crashes: len(desk.seen(EntryCrashed)) == crashes)
            await desk.settled(id)
            desk.now += 3600
            desk.spool.wake()
        view = await desk.show(id)
        assert view.state is State.HELD
        assert "RuntimeError" in view.recipients[0].reason and "secret" not in view.recipients[0].reason
        assert [event.held for event in desk.seen(EntryCrashed)] == [False, False, True]
        status = desk.dispatcher.statuses(desk.now)[0]
        assert status.in_flight == 0


@pytest.mark.parametrize(("policy", "state"), [(Uncertain.RETRY_SAME, State.DEFERRED), (Uncertain.HOLD, State.HELD)])
async def test_F2_an_answer_lost_after_the_dot(policy: Uncertain, state: State):
    def lost(shipment: Shipment, recipient: Recipient) -> DeliveryOutcome:
        given = says(Phase.DOT, 0, text="connection lost")(shipment, recipient)
        return replace(given, verdict=Verdict.DEFERRED, fault=Fault.UNCERTAIN)

    async with running(Desk([provider("one"), provider("two", 2)], uncertain=policy)) as desk:
        desk.transport.answers["one"] = lost
        view = await desk.settled(await desk.accept("b@example.org"))
        assert view.state is state
        assert [name for name, _ in desk.sent()] == ["one"]


async def test_what_a_crash_had_reserved_is_given_back():
    def broken(shipment: Shipment, recipient: Recipient) -> DeliveryOutcome:
        raise RuntimeError

    async with running(Desk([provider("one", limits=Limits(per_day=1))])) as desk:
        desk.transport.answers["one"] = broken
        id = await desk.accept("b@example.org")
        await desk.until(lambda: len(desk.seen(EntryCrashed)) == 1)
        desk.transport.answers["one"] = takes
        desk.now += 60
        desk.spool.wake()
        await desk.until(lambda: len(desk.transport.shipments) == 2)
        assert (await desk.settled(id)).state is State.ACCEPTED


async def test_nothing_is_sent_that_cannot_be_counted():
    class Forgetful(MemorySpool):
        broken = True

        async def reserve(self, wanted: Sequence[Reservation]) -> bool:
            return False if self.broken else await super().reserve(wanted)

    desk = Desk([provider("one", limits=Limits(per_day=5))], spool=Forgetful)
    async with running(desk):
        id = await desk.accept("b@example.org")
        view = await desk.settled(id)
        assert view.state is State.DEFERRED and "limit" in view.recipients[0].reason
        assert not desk.transport.shipments and not desk.seen(EntryCrashed)
        Forgetful.broken = False
        desk.now += 2
        desk.spool.wake()
        await desk.until(lambda: len(desk.transport.shipments) == 1)


async def test_G5_what_was_claimed_before_the_disk_failed_is_not_sent():
    class Failing(MemorySpool):
        broken = False

        async def body(self, message: MessageId) -> Body | None:
            self.broken = True
            return await super().body(message)

        def can_settle(self) -> bool:
            return not self.broken

    desk = Desk([provider("one")], spool=Failing)
    async with running(desk):
        view = await desk.settled(await desk.accept("b@example.org"))
        assert view.state is State.DEFERRED and not desk.transport.shipments
        assert desk.dispatcher.statuses(desk.now)[0].in_flight == 0


async def test_drain_lets_what_is_being_sent_finish_and_takes_no_more():
    desk = Desk([provider("one")])
    desk.transport.gate = asyncio.Event()
    task = asyncio.create_task(desk.worker.run())
    id = await desk.accept("b@example.org")
    await desk.until(lambda: len(desk.transport.shipments) == 1)
    drained = asyncio.create_task(desk.worker.drain(5.0))
    await asyncio.wait_for(task, 5)
    later = await desk.accept("c@example.org")
    desk.transport.gate.set()
    await drained
    assert (await desk.show(id)).state is State.ACCEPTED
    assert (await desk.show(later)).state is State.QUEUED


async def test_G8_what_is_chosen_while_draining_is_as_it_was():
    """It was about to be sent: it waits again, untried, and what was reserved for it is given back."""

    class Slow(MemorySpool):
        gate = asyncio.Event()
        asked = asyncio.Event()

        async def reserve(self, wanted: Sequence[Reservation]) -> bool:
            self.asked.set()
            await self.gate.wait()
            return await super().reserve(wanted)

    desk = Desk([provider("one", limits=Limits(per_day=5))], spool=Slow)
    task = asyncio.create_task(desk.worker.run())
    id = await desk.accept("b@example.org", "c@example.org")
    await Slow.asked.wait()
    drained = asyncio.create_task(desk.worker.drain(5.0))
    await asyncio.sleep(0)
    Slow.gate.set()
    await drained
    await asyncio.wait_for(task, 5)
    view = await desk.show(id)
    assert [(one.state, one.tries, one.due_at) for one in view.recipients] == [(State.QUEUED, 0, NOW)] * 2
    assert not desk.transport.shipments and not desk.seen(AttemptEnded)
    (usage,) = await desk.spool.usage(desk.now)
    assert set(usage.periods.values()) == {0} and not usage.minute


async def test_G8_what_is_claimed_while_draining_is_not_sent():
    """Nobody would wait for its answer, and the next start would send it again."""

    class Slow(MemorySpool):
        gate = asyncio.Event()
        asked = asyncio.Event()

        async def claim(self, appetite: Appetite, now: float) -> Sequence[Lease]:
            leases = await super().claim(appetite, now)
            if leases:
                self.asked.set()
                await self.gate.wait()
            return leases

    desk = Desk([provider("one")], spool=Slow)
    task = asyncio.create_task(desk.worker.run())
    await desk.accept("b@example.org")
    await Slow.asked.wait()
    await desk.worker.drain(5.0)
    Slow.gate.set()
    await asyncio.wait_for(task, 5)
    assert not desk.worker._tasks and not desk.transport.shipments


async def test_no_more_is_claimed_than_there_is_room_for_while_headers_are_read():
    class Slow(MemorySpool):
        gate = asyncio.Event()
        most = 0

        async def claim(self, appetite: Appetite, now: float) -> Sequence[Lease]:
            leases = await super().claim(appetite, now)
            self.most = max(self.most, len(self._leases))
            return leases

        async def body(self, message: MessageId) -> Body | None:
            await self.gate.wait()
            return await super().body(message)

    routes = (Route(match=Match(headers=(("x-app", "crm"),)), providers=("one",)),)
    desk = Desk([provider("one", limits=Limits(connections=1))], routes, spool=Slow)
    ids = [await desk.accept(f"{n}@example.org") for n in range(20)]
    async with running(desk):
        await desk.until(lambda: len(desk.spool._leases) > 0)
        Slow.gate.set()
        for id in ids:
            assert (await desk.settled(id)).state is State.ACCEPTED
        assert desk.spool.most <= 3  # type: ignore[attr-defined]


async def test_mail_leaves_a_lane_that_does_not_move_when_its_route_is_repaired():
    """Another route still leads to the provider that is out, so its lane still exists."""

    def routes(first: str) -> tuple[Route, ...]:
        chosen = Route(match=Match(recipient="b@*"), providers=(first,))
        return (chosen, Route(match=Match(recipient="c@*"), providers=("one",)))

    desk = Desk([provider("one", active=False), provider("two")], routes("one"))
    async with running(desk):
        ids = [await desk.accept("b@example.org"), await desk.accept("c@example.org")]
        desk.dispatcher.replace(desk.providers.values(), routes("two"), desk.dispatcher.policy, now=desk.now)
        desk.spool.wake()
        assert (await desk.settled(ids[0])).state is State.ACCEPTED
        assert desk.sent() == [("two", ("b@example.org",))]
        assert "one: not active" in desk.dispatcher.why((await desk.show(ids[1])).recipients[0].lane, desk.now)


async def test_a_provider_that_a_reload_takes_away_after_the_choice_is_no_crash():
    """The mail goes to another, and what was reserved at the one that went is given back."""

    class Reloads(MemorySpool):
        async def reserve(self, wanted: Sequence[Reservation]) -> bool:
            desk.providers.pop("one", None)
            desk.dispatcher.replace(desk.providers.values(), (), desk.dispatcher.policy, now=desk.now)
            return await super().reserve(wanted)

    desk = Desk([provider("one", limits=Limits(per_day=5)), provider("two", 2)], spool=Reloads)
    async with running(desk):
        view = await desk.settled(await desk.accept("b@example.org"))
        assert view.state is State.ACCEPTED
        assert [name for name, _ in desk.sent()] == ["two"]
        assert not desk.seen(EntryCrashed)
        assert [sum(used.periods.values()) for used in await desk.spool.usage(desk.now)] == [0]


async def test_a_lost_body_is_held_and_says_so():
    class Damaged(MemorySpool):
        async def body(self, message: MessageId) -> Body | None:
            return None

    desk = Desk([provider("one")], spool=Damaged)
    async with running(desk):
        view = await desk.settled(await desk.accept("b@example.org"))
        assert view.state is State.HELD
        assert "body" in view.recipients[0].reason
        assert desk.dispatcher.statuses(desk.now)[0].in_flight == 0


async def test_F9_limits_of_5_a_day_stop_the_sixth_and_say_when_it_will_go() -> None:
    """As people see it in the queue, and then it does go."""
    tomorrow = NOW - NOW % 86400 + 86400
    async with running(Desk([provider("p", limits=Limits(per_day=5))])) as desk:
        desk.now = tomorrow - 3600
        first = [await desk.accept(f"b{n}@x") for n in range(5)]
        assert {(await desk.settled(id)).state for id in first} == {State.ACCEPTED}
        sixth = await desk.accept("b6@x")
        queue = Operations(
            desk=desk.spool,
            explanations=desk.dispatcher,
            providers=lambda: ("p",),
            observe=desk.events.append,
            clock=lambda: desk.now,
        )
        shown = await queue.show(sixth)
        reason = shown["reason"]
        assert shown["state"] == "queued"
        assert reason == f"p: limit of 5 a day reached; goes at {moment(tomorrow)}"
        assert (await queue.list({}))["data"][0]["reason"] == reason
        desk.now = tomorrow - 1
        desk.spool.wake()
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(desk.sent()) == 5
        desk.now = tomorrow
        desk.spool.wake()
        await desk.until(lambda: len(desk.sent()) == 6)
        assert (await desk.settled(sixth)).state is State.ACCEPTED
