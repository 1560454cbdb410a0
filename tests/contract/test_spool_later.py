"""Mail for later, as the dispatcher lays it down: scheduled, never early, sent when due or when somebody says so."""

from __future__ import annotations

from random import Random

import pytest
from msgspec.structs import replace

from relay.delivery.dispatcher import Dispatcher
from relay.delivery.policy import DeliveryPolicy
from relay.events import nobody
from relay.model import Message, Provider, State
from relay.ports import Filter
from tests.contract.spools import Hands, delivered, owes

LATER = 3 * 86400.0
WARN_AFTER = DeliveryPolicy().retry.warn_after


def dispatcher(*, capture: bool = False) -> Dispatcher:
    providers = () if capture else (Provider(name="p", host="p.example", port=25),)
    return Dispatcher(providers, (), DeliveryPolicy(), rng=Random(1), observe=nobody, capture=capture)


@pytest.fixture
def later(hands: Hands) -> Hands:
    """A spool whose mail is placed as in a relay with one provider."""
    hands.lane = lambda submission: list(dispatcher().place(submission))
    return hands


async def schedule(hands: Hands, seconds: float = LATER, *recipients: str) -> Message:
    submission = hands.submission(*recipients)
    due_at = hands.now + seconds
    message = replace(submission.message, expires_at=due_at + 5 * 86400)
    assert await hands.spool.accept([replace(submission, message=message, due_at=due_at)]) is None
    return message


async def test_mail_for_later_is_scheduled_and_not_sent_before(later: Hands) -> None:
    message = await schedule(later)
    for _ in range(2):
        assert await later.claim() == []
        assert await later.state(message) is State.SCHEDULED
        shown = await later.spool.show(message.id)
        assert shown is not None and shown.recipients[0].due_at == message.received_at + LATER
        assert (await later.spool.stats()).states[State.SCHEDULED] == 1
        later.now += LATER - 0.5
    later.now = message.received_at + LATER
    lease = await later.one()
    assert (lease.entry.owed.state, lease.entry.message) == (State.QUEUED, message)
    await later.settle(delivered(lease))
    assert await later.state(message) is State.ACCEPTED


async def test_mail_for_later_keeps_no_other_waiting(later: Hands) -> None:
    await schedule(later)
    now = await later.accept()
    assert (await later.one()).entry.message.id == now.id


@pytest.mark.parametrize("seconds", [0.0, -5.0])
async def test_a_time_that_has_come_is_at_once(later: Hands, seconds: float) -> None:
    message = await schedule(later, seconds)
    assert (await later.one()).entry.message.id == message.id


async def test_mail_for_later_survives_a_restart(later: Hands) -> None:
    message = await schedule(later)
    await later.reopen()
    if later.kind == "memory":
        return
    await later.spool.maintain(later.now)
    assert await later.claim() == []
    assert await later.state(message) is State.SCHEDULED
    later.now += LATER
    assert (await later.one()).entry.message.id == message.id


async def test_what_comes_due_while_the_relay_is_down_is_sent_at_the_start(later: Hands) -> None:
    message = await schedule(later)
    if later.kind == "memory":
        return
    await later.spool.close()
    later.now += LATER + 60
    await later.open()
    assert (await later.one()).entry.message.id == message.id


@pytest.mark.parametrize("path", [("retry",), ("hold", "retry")])
async def test_somebody_may_send_it_now(later: Hands, path: tuple[str, ...]) -> None:
    message = await schedule(later)
    later.now += 60
    for action in path:
        acted = await later.spool.act(action, Filter(id=message.id), later.now)
        assert acted.changed == (message.id,)
    lease = await later.one()
    assert lease.entry.message.id == message.id
    assert lease.entry.owed.begun == later.now, "its clocks run from now on"


async def test_held_and_released_it_is_for_later_again(later: Hands) -> None:
    message = await schedule(later)
    for action in ("hold", "release"):
        await later.spool.act(action, Filter(id=message.id), later.now)
    assert await later.state(message) is State.SCHEDULED
    assert await later.claim() == []
    later.now += LATER
    assert (await later.one()).entry.message.id == message.id


async def test_held_until_its_time_has_passed_it_goes_when_released(later: Hands) -> None:
    message = await schedule(later)
    await later.spool.act("hold", Filter(id=message.id), later.now)
    later.now += LATER
    await later.spool.act("release", Filter(id=message.id), later.now)
    assert (await later.one()).entry.message.id == message.id


async def test_rerouted_it_goes_the_other_way_at_its_own_time(later: Hands) -> None:
    message = await schedule(later)
    await later.spool.act("reroute", Filter(id=message.id), later.now, provider="q")
    assert await later.claim() == []
    assert await later.state(message) is State.SCHEDULED
    later.now += LATER
    assert (await later.one()).entry.owed.pin == "q"


async def test_what_is_late_is_counted_from_the_time_it_was_due(later: Hands) -> None:
    message = await schedule(later)
    later.now += LATER
    lease = await later.one()
    assert lease.entry.owed.begun == later.now
    assert lease.entry.owed.deadline == later.now + WARN_AFTER
    await later.settle(owes(lease, replace(lease.entry.owed, state=State.DEFERRED, tries=1, due_at=later.now + 30)))
    await later.reopen()
    if later.kind == "memory":
        return
    later.now += 30
    again = await later.one()
    assert (again.entry.message, again.entry.owed.begun) == (message, message.received_at + LATER)


async def test_what_expires_before_it_is_due_is_not_sent_early(later: Hands) -> None:
    submission = later.submission()
    message = replace(submission.message, expires_at=later.now + 100)
    await later.spool.accept([replace(submission, message=message, due_at=later.now + 500)])
    later.now += 200
    assert await later.claim() == []
    later.now += 300
    assert (await later.one()).entry.message.id == message.id


async def test_with_no_provider_it_is_captured(hands: Hands) -> None:
    hands.lane = lambda submission: list(dispatcher(capture=True).place(submission))
    message = await schedule(hands)
    assert await hands.state(message) is State.CAPTURED
    hands.now += LATER
    assert await hands.claim() == []
    await hands.spool.act("release", Filter(id=message.id), hands.now)
    assert (await hands.one()).entry.message.id == message.id
