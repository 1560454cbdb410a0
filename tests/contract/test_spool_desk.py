"""The desk: people see every message in exactly one state, and what they do to it holds."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from relay.events import MessageEnded
from relay.model import Appetite, Lease, Message, State, TimelineEvent
from relay.ports import Filter
from tests.contract.spools import Hands, attempt, delivered, each_to_its_own, finished, owes, to_lane

WAITING = ("queued", "deferred", "scheduled")


async def message_in(hands: Hands, state: str) -> Message:
    """One message in that state."""
    hands.lane = to_lane("default:1")
    if state == "captured":
        hands.lane = to_lane("default:1", state=State.CAPTURED)
    if state == "scheduled":
        hands.lane = to_lane("default:1", state=State.SCHEDULED, due_at=hands.now + 500)
    message = await hands.accept()
    if state in ("sending", "deferred", "held", "accepted"):
        lease = await claimed(hands, message)
        owed = replace(lease.entry.owed, tries=1, due_at=hands.now + 500, avoid=("p",), reason="451 later")
        if state == "accepted":
            await hands.settle(delivered(lease))
        elif state != "sending":
            await hands.settle(owes(lease, replace(owed, state=State(state)), events=(attempt(lease),)))
    return message


async def claimed(hands: Hands, message: Message) -> Lease:
    (lease,) = [lease for lease in await hands.claim() if lease.entry.message.id == message.id]
    return lease


@pytest.mark.parametrize("state", ["queued", "sending", "deferred", "scheduled", "held", "captured", "accepted"])
async def test_every_state_is_shown_found_and_counted(hands: Hands, state: str) -> None:
    message = await message_in(hands, state)
    assert await hands.state(message) is State(state)
    for other in State:
        page = await hands.spool.find(Filter(states=(other,)), limit=10)
        assert [shown.id for shown in page.data] == ([message.id] if other.value == state else [])
    stats = await hands.spool.stats()
    assert {name: n for name, n in stats.states.items() if n} == {state: 1}


async def test_a_message_shows_where_it_came_from_and_why_it_waits(hands: Hands) -> None:
    message = await message_in(hands, "deferred")
    shown = await hands.spool.show(message.id)
    assert shown is not None
    assert (shown.sender, shown.size, shown.received_at) == ("a@example.com", message.size, message.received_at)
    assert (shown.source, shown.expires_at) == ("smtp internal 127.0.0.1", message.expires_at)
    (recipient,) = shown.recipients
    assert recipient.lane == "default:1"
    assert (recipient.address, recipient.provider, recipient.reason) == ("b@example.org", "p", "451 later")
    assert (recipient.tries, recipient.due_at) == (1, hands.now + 500)
    assert [event.kind for event in shown.timeline] == ["attempt"]


@pytest.mark.parametrize("text", ["", "nonsense", "0" * 13, "z" * 13, "x" * 5000])
async def test_an_id_of_nothing_shows_nothing(hands: Hands, text: str) -> None:
    await hands.accept()
    assert await hands.spool.show(text) is None
    assert (await hands.spool.find(Filter(id=text or "nobody"), limit=5)).data == ()


async def test_an_id_may_be_typed_in_capitals(hands: Hands) -> None:
    message = await hands.accept()
    shown = await hands.spool.show(message.id.upper())
    assert shown is not None and shown.id == message.id


async def test_pages_follow_each_other_by_id(hands: Hands) -> None:
    messages = [await hands.accept() for _ in range(5)]
    first = await hands.spool.find(Filter(), limit=2)
    second = await hands.spool.find(Filter(), limit=2, after=first.data[-1].id)
    third = await hands.spool.find(Filter(), limit=2, after=second.data[-1].id)
    assert [shown.id for page in (first, second, third) for shown in page.data] == [m.id for m in messages]
    assert (first.has_more, second.has_more, third.has_more) == (True, True, False)


async def test_history_is_listed_when_asked_for(hands: Hands) -> None:
    ended = await message_in(hands, "accepted")
    live = await message_in(hands, "queued")
    assert [m.id for m in (await hands.spool.find(Filter(), limit=5)).data] == [live.id]
    assert [m.id for m in (await hands.spool.find(Filter(ended=True), limit=5)).data] == [ended.id, live.id]
    page = await hands.spool.find(Filter(ended=True), limit=1)
    assert page.has_more and [m.id for m in page.data] == [ended.id]
    assert [m.id for m in (await hands.spool.find(Filter(states=(State.ACCEPTED,)), limit=5)).data] == [ended.id]


@pytest.mark.parametrize("ended", [False, True])
async def test_filters(hands: Hands, ended: bool) -> None:
    one = await hands.accept("Bob@Example.org", "c@x", sender="crm+17@billing.example.com")
    hands.now += 10
    two = await hands.accept("d@example.net", sender="")
    if ended:
        await hands.settle(*[delivered(lease) for lease in await hands.claim()])

    async def found(**where: object) -> list[str]:
        page = await hands.spool.find(Filter(ended=True, **where), limit=9)  # type: ignore[arg-type]
        return [{one.id: "one", two.id: "two"}[shown.id] for shown in page.data]

    assert await found(sender="*@BILLING.example.com") == ["one"]
    assert await found(sender="crm+1?@*") == ["one"]
    assert await found(sender="crm@*") == []
    assert await found(recipient="bob@example.org") == ["one"]
    assert await found(recipient="*@example.*") == ["one", "two"]
    assert await found(recipient="[!b-c]*") == ["two"]
    assert await found(older=hands.now) == ["one"]
    assert await found(id=two.id) == ["two"]
    assert await found(provider="p") == (["one", "two"] if ended else [])
    assert await found(provider="q") == []


async def test_a_provider_is_found_by_what_it_was_asked(hands: Hands) -> None:
    await message_in(hands, "deferred")
    other = await message_in(hands, "queued")
    await hands.spool.act("reroute", Filter(id=other.id), hands.now, provider="q")
    assert len((await hands.spool.find(Filter(provider="p"), limit=5)).data) == 1
    assert [shown.id for shown in (await hands.spool.find(Filter(provider="q"), limit=5)).data] == [other.id]


ALLOWED = {
    "hold": {"queued": "held", "deferred": "held", "scheduled": "held"},
    "release": {"held": "deferred", "captured": "queued"},
    "retry": {"queued": "queued", "deferred": "deferred", "scheduled": "queued", "held": "deferred"},
    "reroute": {"queued": "queued", "deferred": "deferred", "scheduled": "scheduled", "held": "deferred"},
    "cancel": dict.fromkeys((*WAITING, "held", "captured"), "cancelled"),
}


@pytest.mark.parametrize("action", ALLOWED)
@pytest.mark.parametrize("state", [*WAITING, "held", "captured"])
async def test_what_an_action_does_to_a_state(hands: Hands, action: str, state: str) -> None:
    message = await message_in(hands, state)
    acted = await hands.spool.act(action, Filter(id=message.id), hands.now, provider="q")
    after = ALLOWED[action].get(state)
    assert acted.changed == ((message.id,) if after else ())
    assert set(acted.skipped) == (set() if after else {message.id})
    assert await hands.state(message) is State(after or state)
    claimable = after in ("queued", "deferred") or (after is None and state == "queued")
    leases = await hands.claim()
    assert len(leases) == claimable
    if claimable and action == "reroute":
        assert (leases[0].entry.owed.pin, leases[0].entry.owed.avoid) == ("q", ())
    if claimable and after == "deferred":
        assert leases[0].entry.owed.tries == 1, "tries are kept"


@pytest.mark.parametrize("action", ALLOWED)
async def test_a_dry_run_only_says_what_it_would_do(hands: Hands, action: str) -> None:
    states = ("deferred", "held", "captured", "queued")
    messages = {state: await message_in(hands, state) for state in states}
    acted = await hands.spool.act(action, Filter(), hands.now, provider="q", dry_run=True)
    assert set(acted.changed) == {messages[state].id for state in ALLOWED[action] if state in messages}
    assert set(acted.changed) | set(acted.skipped) == {message.id for message in messages.values()}
    for state, message in messages.items():
        assert await hands.state(message) is State(state)


async def test_an_action_is_in_the_timeline(hands: Hands) -> None:
    message = await message_in(hands, "queued")
    for action in ("hold", "release", "cancel"):
        await hands.spool.act(action, Filter(id=message.id), hands.now)
    shown = await hands.spool.show(message.id)
    assert shown is not None
    assert [(event.kind, event.at) for event in shown.timeline] == [
        (kind, hands.now) for kind in ("held", "released", "cancelled")
    ]
    assert [e.state for e in hands.events if isinstance(e, MessageEnded)] == ["cancelled"]
    assert (await hands.spool.stats()).live_bytes == 0


async def test_an_action_reaches_many(hands: Hands) -> None:
    messages = [await hands.accept() for _ in range(450)]
    acted = await hands.spool.act("hold", Filter(recipient="b@*"), hands.now)
    assert acted.changed == tuple(message.id for message in messages)
    assert await hands.claim() == []
    await hands.spool.act("release", Filter(states=(State.HELD,)), hands.now)
    assert len(await hands.claim()) == 450


@pytest.mark.parametrize(("action", "after"), [("hold", State.HELD), ("cancel", State.CANCELLED)])
async def test_while_sending_an_action_waits_for_the_attempt(hands: Hands, action: str, after: State) -> None:
    message = await message_in(hands, "sending")
    (acted,) = (await hands.spool.act(action, Filter(id=message.id), hands.now)).changed
    assert acted == message.id
    assert await hands.state(message) is State.SENDING


@pytest.mark.parametrize(("action", "after"), [("hold", State.HELD), ("cancel", State.CANCELLED)])
async def test_the_attempt_ends_and_the_wish_is_done(hands: Hands, action: str, after: State) -> None:
    message = await hands.accept("b@x", "c@x")
    lease = await hands.one()
    await hands.spool.act(action, Filter(id=message.id), hands.now)
    await hands.settle(owes(lease, lease.entry.owed))
    assert await hands.state(message) is after
    assert await hands.claim() == []
    shown = await hands.spool.show(message.id)
    assert shown is not None
    assert {r.reason for r in shown.recipients} == ({"held by an operator"} if action == "hold" else {""})


async def test_what_was_delivered_meanwhile_is_delivered(hands: Hands) -> None:
    message = await hands.accept()
    lease = await hands.one()
    await hands.spool.act("cancel", Filter(id=message.id), hands.now)
    await hands.settle(delivered(lease))
    assert await hands.state(message) is State.ACCEPTED


@pytest.mark.parametrize("action", ["release", "retry", "reroute"])
async def test_other_actions_leave_what_is_being_sent(hands: Hands, action: str) -> None:
    message = await message_in(hands, "sending")
    acted = await hands.spool.act(action, Filter(), hands.now, provider="q")
    assert acted.changed == () and acted.skipped == {message.id: "is being sent"}


async def test_part_of_a_message_may_be_held(hands: Hands) -> None:
    hands.lane = each_to_its_own
    message = await hands.accept("b@x", "c@x")
    first, second = await hands.claim()
    await hands.settle(owes(first, first.entry.owed))
    await hands.spool.act("hold", Filter(id=message.id), hands.now)
    shown = await hands.spool.show(message.id)
    assert shown is not None and [r.state for r in shown.recipients] == [State.HELD, State.SENDING]
    await hands.settle(delivered(second))
    assert await hands.state(message) is State.HELD
    await hands.spool.act("cancel", Filter(id=message.id), hands.now)
    assert await hands.state(message) is State.ACCEPTED


async def test_an_action_there_is_none_of(hands: Hands) -> None:
    for action, provider in (("explode", ""), ("reroute", "")):
        with pytest.raises(ValueError, match=r"action|provider"):
            await hands.spool.act(action, Filter(), hands.now, provider=provider)


async def test_stats_of_a_mixed_queue(hands: Hands) -> None:
    await message_in(hands, "captured")
    hands.now += 5
    first = await message_in(hands, "deferred")
    hands.now += 5
    await message_in(hands, "queued")
    hands.lane = each_to_its_own
    mixed = await hands.accept("b@x", "c@x")
    leases = [lease for lease in await hands.claim() if lease.entry.message.id == mixed.id]
    await hands.settle(finished(leases[0], State.FAILED))
    stats = await hands.spool.stats()
    assert {name: n for name, n in stats.states.items() if n} == {"captured": 1, "deferred": 1, "sending": 2}
    assert stats.oldest == first.received_at
    assert (stats.healthy, stats.free_bytes) == (True, hands.free - stats.live_bytes)


async def test_a_note_on_a_held_message_stays(hands: Hands) -> None:
    message = await hands.accept()
    lease = await hands.one()
    event = TimelineEvent(at=hands.now, kind="held", detail="third internal error")
    await hands.settle(owes(lease, replace(lease.entry.owed, state=State.HELD, reason="crashed"), events=(event,)))
    shown = await hands.spool.show(message.id)
    assert shown is not None and shown.timeline == (event,)
    assert shown.recipients[0].reason == "crashed"


async def test_rerouted_mail_leaves_a_lane_that_has_no_room(hands: Hands) -> None:
    message = await message_in(hands, "deferred")
    await hands.spool.act("reroute", Filter(id=message.id), hands.now, provider="q")
    (lease,) = await hands.claim(Appetite(total=10, room={"default": 0}))
    assert (lease.entry.message.id, lease.entry.owed.pin) == (message.id, "q")


@pytest.mark.parametrize("first", ["act", "settle"])
@pytest.mark.parametrize(("action", "after"), [("hold", State.HELD), ("cancel", State.CANCELLED)])
async def test_an_action_and_the_end_of_the_attempt_may_cross(
    hands: Hands, first: str, action: str, after: State
) -> None:
    message = await hands.accept()
    lease = await hands.one()
    acting = hands.spool.act(action, Filter(id=message.id), hands.now)
    settling = hands.settle(owes(lease, replace(lease.entry.owed, tries=1, state=State.DEFERRED)))
    await asyncio.gather(*((acting, settling) if first == "act" else (settling, acting)))
    assert await hands.state(message) is after


async def test_an_action_ends_while_mail_keeps_coming(hands: Hands) -> None:
    for _ in range(300):
        await hands.accept()
    acting = asyncio.ensure_future(hands.spool.act("hold", Filter(), hands.now))
    while not acting.done():
        await asyncio.gather(*[hands.accept() for _ in range(50)])
    assert len((await acting).changed) >= 300
