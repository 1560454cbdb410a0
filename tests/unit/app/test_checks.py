"""Checks and test mails over a transport that answers what it is told, with a real dispatcher and books of quota."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from email import message_from_bytes
from random import Random

import pytest

from relay import ports
from relay.app.checks import ProviderChecks, own_sender
from relay.app.upkeep import AT_ONCE, IDLE, NEW_AT_ONCE, Upkeep, is_due
from relay.delivery.classify import NOBODY, outcome
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.policy import DeliveryPolicy
from relay.events import AttemptEnded, Event, ProviderRecovered, ProviderSuspended
from relay.model import DeliveryOutcome, Health, Limits, Phase, Provider, ProviderSettings, Registered, Reply
from relay.smtp.data import unstuff
from relay.spool.memory import MemorySpool
from relay.testing.transport import FakeTransport, says
from tests.registry import FakeRegistry

NOW = 1_800_000_000.0
DENIED = Reply(code=535, enhanced="5.7.8", text="Username and Password not accepted")
POLICY = DeliveryPolicy(hostname="relay.test")


def refusal(name: str, phase: Phase = Phase.AUTH, reply: Reply = DENIED) -> DeliveryOutcome:
    return outcome(NOBODY, name, "", phase, reply)


class World:
    def __init__(
        self,
        *settings: ProviderSettings,
        transport: FakeTransport | None = None,
        spool: type[MemorySpool] = MemorySpool,
        patience: float = 60.0,
    ) -> None:
        self.now = NOW
        self.ticks = 100.0
        self.events: list[Event] = []
        self.errors: list[BaseException] = []
        self.recovered = 0
        self.transport = transport or FakeTransport()
        self.registry = FakeRegistry()
        self.dispatcher = Dispatcher((), (), POLICY, rng=Random(1), observe=self.events.append)
        self.spool = spool(self.dispatcher.place, clock=lambda: self.now)
        self.checks = ProviderChecks(
            transport=self.transport,
            dispatcher=self.dispatcher,
            budget=self.spool,
            registry=self.registry,
            hostname="relay.test",
            observe=self.events.append,
            recovered=self._recovers,
            clock=lambda: self.now,
            monotonic=self._tick,
            patience=patience,
        )
        self.upkeep = Upkeep(
            dispatcher=self.dispatcher,
            checks=self.checks,
            registry=self.registry,
            maintain=self._maintain,
            count=self._maintain,
            clock=lambda: self.now,
            failed=self.errors.append,
        )
        for one in settings:
            self.registry._put(one, origin="api", default=False, now=NOW)
        self.apply()

    async def _maintain(self, now: float) -> None:
        """There is nothing to maintain."""

    def _recovers(self) -> None:
        self.recovered += 1

    def _tick(self) -> float:
        self.ticks += 0.25
        return self.ticks

    def apply(self, limits: Limits | None = None) -> None:
        if limits is not None:
            known = self.registry.known
            self.registry.known = {
                id: replace(one, provider=replace(one.provider, limits=limits)) for id, one in known.items()
            }
        providers = [one.provider for one in self.registry.providers()]
        self.dispatcher.replace(providers, (), POLICY, now=self.now)

    @property
    def one(self) -> Registered:
        return self.registry.providers()[0]

    async def used(self, period: str) -> int:
        return sum(usage.periods.get(period, 0) for usage in await self.spool.usage(self.now))


SETTINGS = ProviderSettings(name="gmail", host="smtp.example.com", username="me@example.com", password="canary-12")


@pytest.fixture
def world() -> World:
    return World(SETTINGS)


# Checks.


async def test_a_check_that_finds_all_well(world):
    assert await world.checks.check(world.one) == Health(healthy=True, checked_at=NOW)
    assert world.transport.probed == ["gmail"]
    assert world.one.health == Health(healthy=True, checked_at=NOW)


async def test_a_refused_account_is_told_with_cause_and_fix_and_gets_no_mail(world):
    world.transport.sick["gmail"] = refusal("gmail")
    health = await world.checks.check(world.one)
    assert health.healthy is False
    assert health.detail.startswith("535 5.7.8 Username and Password not accepted; user name or password is wrong")
    assert world.one.health == health
    (status,) = world.dispatcher.statuses(NOW)
    assert status.suspended
    assert status.detail == health.detail


async def test_a_check_of_what_was_changed_meanwhile_says_nothing_about_its_successor(world):
    before = world.one
    world.transport.sick["gmail"] = refusal("gmail")
    await world.registry.change(before.id, replace(SETTINGS, password="new"), default=False, now=NOW)
    world.apply()
    assert (await world.checks.check(before)).healthy is False
    assert world.one.health == Health()
    assert not world.dispatcher.statuses(NOW)[0].suspended


class Slow(FakeTransport):
    """Its probes wait for `gate` as its mails do."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def probe(self, provider: Provider) -> DeliveryOutcome | None:
        found = await super().probe(provider)
        await self.gate.wait()
        return found


async def test_a_provider_that_does_not_answer_is_not_waited_for():
    world = World(SETTINGS, transport=Slow(), patience=0.05)
    health = await world.checks.check(world.one)
    assert "within 0.05 s: is host or port wrong?" in health.detail


async def test_a_locked_one_is_not_asked(world):
    locked = replace(world.one, locked="its password is of another key")
    assert (await world.checks.check(locked)).detail == "its password is of another key"
    assert (await world.checks.test(locked, "a@example.com")).error == "its password is of another key"
    assert world.transport.probed == []
    assert world.transport.shipments == []


# Test mails.


async def test_a_test_mail_is_a_real_one(world):
    tested = await world.checks.test(world.one, "you@example.org")
    assert tested == ports.Tested(seconds=0.25, message_id="smtp_1800000000")
    (shipment,), (body,) = world.transport.shipments, world.transport.bodies
    assert (shipment.sender, [to.address for to in shipment.recipients]) == ("me@example.com", ["you@example.org"])
    mail = message_from_bytes(shipment.message.prefix + unstuff(body.data))
    assert mail["Subject"] == "Test email from gmail"
    assert (mail["From"], mail["To"]) == ("me@example.com", "you@example.org")
    assert mail["Message-ID"] == "<smtp_1800000000@relay.test>"
    assert mail["Date"]
    assert shipment.message.size == len(shipment.message.prefix) + body.size
    (event,) = world.events
    assert isinstance(event, AttemptEnded)
    assert (event.message, event.provider, event.seconds) == ("smtp_1800000000", "gmail", 0.25)


async def test_its_ids_are_unique_within_a_second(world):
    ids = [(await world.checks.test(world.one, "you@example.org")).message_id for _ in range(3)]
    assert ids == ["smtp_1800000000", "smtp_1800000001", "smtp_1800000002"]


@pytest.mark.parametrize(
    ("settings", "sender"),
    [
        ({"from_email": "shop@example.com", "from_name": "Shop, Inc."}, '"Shop, Inc." <shop@example.com>'),
        ({}, "me@example.com"),
        ({"username": "apikey"}, "relay@relay.test"),
        ({"username": ""}, "relay@relay.test"),
    ],
)
async def test_who_it_is_from(settings, sender):
    world = World(replace(SETTINGS, **settings))
    await world.checks.test(world.one, "you@example.org")
    mail = message_from_bytes(unstuff(world.transport.bodies[0].data))
    assert mail["From"] == sender
    assert world.transport.shipments[0].sender == own_sender(world.one.settings, "relay.test").address


async def test_H1_a_name_cannot_add_a_header():
    world = World(replace(SETTINGS, name="Grüße an =?alle?=", from_name="Ä", from_email="a@example.com"))
    await world.checks.test(world.one, "you@example.org")
    mail = message_from_bytes(unstuff(world.transport.bodies[0].data))
    assert set(mail) <= {"From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"} | {
        "Content-Transfer-Encoding"
    }


async def test_what_the_provider_says_is_told_with_the_fix(world):
    world.transport.answers["gmail"] = says(Phase.AUTH, 535, "5.7.8", "Username and Password not accepted")
    tested = await world.checks.test(world.one, "you@example.org")
    assert tested.error.startswith("SMTP Error: 535 5.7.8 Username and Password not accepted; user name or password")
    assert tested.message_id == ""
    assert world.one.health.healthy is False
    assert [type(event) for event in world.events] == [ProviderSuspended, AttemptEnded]


async def test_a_refused_recipient_does_not_make_the_provider_ill(world):
    world.transport.answers["gmail"] = says(Phase.RCPT, 550, "5.1.1", "no such user")
    tested = await world.checks.test(world.one, "nobody@example.org")
    assert "check the address" in tested.error
    assert world.one.health == Health()


@pytest.mark.parametrize("phase", [Phase.AUTH, Phase.CONNECT])
async def test_a_mail_that_is_taken_recovers_what_was_out(world, phase):
    reply = DENIED if phase is Phase.AUTH else Reply(code=421, enhanced="4.4.1", text="refused")
    for _ in range(3):
        world.dispatcher.probed(world.one.provider, refusal("gmail", phase, reply), NOW)
    assert world.dispatcher.statuses(NOW)[0].out
    assert (await world.checks.test(world.one, "you@example.org")).error == ""
    assert not world.dispatcher.statuses(NOW)[0].out
    assert world.one.health.healthy is True
    assert world.recovered == 1
    assert any(isinstance(event, ProviderRecovered) for event in world.events)


async def test_it_counts_against_the_limits_and_says_which_is_gone():
    world = World(SETTINGS)
    world.apply(Limits(per_day=2, per_month=10))
    for _ in range(2):
        assert (await world.checks.test(world.one, "you@example.org")).error == ""
    tested = await world.checks.test(world.one, "you@example.org")
    assert "limit of 2 a day reached; mail goes again at 2027-01-16T00:00:00Z; raise daily_limit" in tested.error
    assert len(world.transport.shipments) == 2
    assert await world.used("day:2027-01-15") == 2
    assert await world.used("month:2027-01") == 2


async def test_what_was_not_taken_is_given_back():
    world = World(SETTINGS)
    world.apply(Limits(per_day=1))
    world.transport.answers["gmail"] = says(Phase.RCPT, 550, "5.1.1", "no such user")
    await world.checks.test(world.one, "nobody@example.org")
    assert await world.used("day:2027-01-15") == 0
    del world.transport.answers["gmail"]
    assert (await world.checks.test(world.one, "you@example.org")).error == ""


async def test_a_mail_nobody_answers_about_counts_as_spent_and_is_not_waited_for():
    world = World(SETTINGS, transport=Slow(), patience=0.05)
    world.apply(Limits(per_day=1))
    tested = await world.checks.test(world.one, "you@example.org")
    assert "it may have been delivered" in tested.error
    assert await world.used("day:2027-01-15") == 1
    assert world.dispatcher.statuses(NOW)[0].in_flight == 0


async def test_a_request_that_is_cut_off_leaves_the_books_in_order():
    world = World(SETTINGS, transport=Slow())
    world.apply(Limits(per_day=5))
    task = asyncio.create_task(world.checks.test(world.one, "you@example.org"))
    await until(lambda: world.transport.shipments)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.dispatcher.statuses(NOW)[0].in_flight == 0
    assert await world.used("day:2027-01-15") == 1


async def test_nothing_is_sent_that_cannot_be_recorded():
    class Broken(MemorySpool):
        async def reserve(self, wanted: object) -> bool:
            return False

    world = World(SETTINGS, spool=Broken)
    world.apply(Limits(per_day=5))
    assert "see /readyz" in (await world.checks.test(world.one, "you@example.org")).error
    assert world.transport.shipments == []
    assert world.dispatcher.statuses(NOW)[0].in_flight == 0
    assert world.dispatcher.statuses(NOW)[0].quota == {"day": 5}


async def test_one_that_was_removed_meanwhile(world):
    before = world.one
    world.registry.known.clear()
    world.apply()
    assert "try again" in (await world.checks.test(before, "you@example.org")).error


# By the clock.


def running(world: World) -> asyncio.Task[None]:
    return asyncio.create_task(world.upkeep.run())


async def until(met) -> None:
    async with asyncio.timeout(5):
        while not met():  # noqa: ASYNC110 - what it waits for is a view, not an event
            await asyncio.sleep(0.001)


async def test_one_that_was_made_by_hand_is_checked_by_itself(world):
    task = running(world)
    await until(lambda: world.one.health.healthy)
    assert world.transport.probed == ["gmail"]
    task.cancel()
    assert world.errors == []


async def test_a_wrong_password_shows_and_the_right_one_recovers_by_itself(world):
    world.transport.sick["gmail"] = refusal("gmail")
    task = running(world)
    await until(lambda: world.one.health.healthy is False)
    del world.transport.sick["gmail"]
    await world.registry.change(world.one.id, replace(SETTINGS, password="right"), default=False, now=NOW)
    world.apply()
    await until(lambda: world.one.health.healthy is True)
    assert not world.dispatcher.statuses(NOW)[0].out
    task.cancel()


async def test_what_is_said_to_be_mended_is_probed_at_once(world):
    world.transport.sick["gmail"] = refusal("gmail")
    await world.checks.check(world.one)
    assert world.dispatcher.probes_due(NOW) == []
    world.checks.soon("gmail")
    world.checks.soon("unknown")
    assert world.dispatcher.probes_due(NOW) == [world.one.provider]


async def test_what_delivery_found_out_is_kept(world):
    await world.registry.checked("gmail", Health(healthy=True, checked_at=NOW))
    world.dispatcher.learned("gmail", [refusal("gmail")], NOW)
    task = running(world)
    await until(lambda: world.one.health.healthy is False)
    assert world.one.health.detail.startswith("535 5.7.8")
    assert world.transport.probed == [], "the dispatcher says when it is probed"
    task.cancel()


async def test_those_that_answer_nothing_keep_no_others_waiting():
    """Who was never heard of goes first, the newest before others; then who was not heard of for longest."""
    world = World(*(replace(SETTINGS, name=f"p{number}") for number in range(12)))
    known = world.registry.known
    for id, one in known.items():
        heard = None if id > 10 else NOW - 1000 - id
        known[id] = replace(one, health=Health(healthy=False, checked_at=heard), updated_at=NOW + id)
    await world.upkeep.look(NOW)
    assert world.upkeep._checking == {"p11", "p10", "p9", "p8"}


async def test_a_new_one_does_not_wait_for_those_that_answer_nothing():
    slow = Slow()
    world = World(*(replace(SETTINGS, name=f"p{number}") for number in range(6)), transport=slow)
    known = world.registry.known
    for id, one in known.items():
        known[id] = replace(one, health=Health(healthy=False, checked_at=None if id == 6 else NOW - 1000))
    new, known[6] = known[6], replace(known[6], health=Health(healthy=False, checked_at=NOW))
    await world.upkeep.look(NOW)
    assert len(world.upkeep._checking) == AT_ONCE
    known[6] = new
    await world.upkeep.look(NOW)
    assert world.upkeep._checking >= {"p5"}
    slow.gate.set()


async def test_many_new_ones_are_no_storm():
    slow = Slow()
    world = World(*(replace(SETTINGS, name=f"p{number}") for number in range(20)), transport=slow)
    await world.upkeep.look(NOW)
    await world.upkeep.look(NOW)
    await asyncio.sleep(0)
    assert len(slow.probed) == NEW_AT_ONCE
    slow.gate.set()
    while len(slow.probed) < 20:
        await asyncio.sleep(0)
        await world.upkeep.look(NOW)
    assert len(set(slow.probed)) == 20


def test_who_is_checked_by_the_clock(world):
    one, (status,) = world.one, world.dispatcher.statuses(NOW)
    checked = replace(one, health=Health(healthy=True, checked_at=NOW - IDLE + 1))
    of_file = replace(one, origin="file")
    inactive = replace(one, provider=replace(one.provider, active=False))
    assert is_due(one, status, NOW, NOW)
    assert not is_due(checked, status, NOW, NOW)
    assert is_due(checked, status, NOW + 1, NOW), "idle"
    assert is_due(checked, status, NOW - 2 * IDLE, NOW), "the clock was set back"
    assert not is_due(of_file, status, NOW + IDLE - 1, NOW)
    assert is_due(of_file, status, NOW + IDLE, NOW)
    assert not is_due(inactive, status, NOW, NOW)
    assert not is_due(replace(one, locked="x"), status, NOW, NOW)
    assert not is_due(one, None, NOW, NOW), "not in force yet"


# A server that nobody uses yet.


STRANGER = Provider(name="integration/0", host="smtp.example.org", port=587, username="u", password="canary-13")


async def test_a_server_that_is_well_is_verified_and_nobody_told(world):
    assert await world.checks.verify(STRANGER) is None
    assert world.transport.probed == ["integration/0"]
    assert (world.recovered, world.events) == (0, [])


async def test_H8_a_server_that_refuses_the_account_is_told_of_with_cause_and_fix(world):
    world.transport.sick["integration/0"] = refusal("integration/0")
    trouble = await world.checks.verify(STRANGER)
    assert trouble is not None
    assert trouble.phase is Phase.AUTH
    assert "Username and Password not accepted" in trouble.detail
    assert "correct them" in trouble.detail
    assert "canary" not in repr(trouble)
    assert world.one.health == Health()
    assert world.events == []


async def test_a_server_that_is_to_be_verified_is_not_tried_again_by_itself(world):
    world.transport.sick["integration/0"] = refusal(
        "integration/0", reply=Reply(code=454, enhanced="4.7.0", text="Temporary failure")
    )
    trouble = await world.checks.verify(STRANGER)
    assert trouble is not None
    assert "try again; if this lasts" in trouble.detail
    assert "by itself" not in trouble.detail


async def test_verifying_a_silent_server_ends():
    late = World(SETTINGS, transport=Slow(), patience=0.01)
    trouble = await late.checks.verify(STRANGER)
    assert trouble is not None
    assert (trouble.phase, "is host or port wrong?" in trouble.detail) == (Phase.CONNECT, True)
