"""Mail that names its provider: it goes there or waits, whatever routes, modes and failures say."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import Phase as Stage
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from relay.delivery.attempt import Attempt, Park, Send
from relay.delivery.notices import UNREPORTED, reportable
from relay.delivery.order import LONGEST_PARK
from relay.delivery.policy import BouncePolicy, DeliveryPolicy, Uncertain
from relay.delivery.retry import warn_at
from relay.delivery.router import pin_key
from relay.delivery.settle import settle
from relay.model import Phase, Reply, Rewrite, Route, Source, State

MINE = "integration/3"
GONE = f"{MINE} no longer exists: reroute or cancel it"
DAY = 86400.0


def reserved(make, name: str = MINE, **more):
    return make.provider(name, reserved=True, **more)


def naming(make, *to: str, via: str = MINE, **more):
    return replace(make.message(*to, **more), via=via)


def attempt(make, via: str = MINE, **owed):
    return make.attempt(naming(make, via=via), **owed)


def placed(dispatcher, make, message=None, **more):
    (berth,) = dispatcher.place(replace(make.submission(message or naming(make)), **more))
    return berth


def key(lane: str) -> str:
    return lane.partition(":")[0]


def reload(dispatcher, make, *providers, routes=(), capture=False) -> None:
    dispatcher.replace(providers, routes, DeliveryPolicy(), now=make.now, capture=capture)


def outcome(dispatcher, make, step: Send, said, **owed):
    """What is settled of an attempt that this was the answer to."""
    lease = make.lease(naming(make), lane=step.lane, **owed)
    tried = dispatcher.finished(step, [said], make.now)
    after = Attempt.begin(lease.entry).after(tried)
    park = dispatcher.choose(after, make.now) if after else None
    assert not isinstance(park, Send), "it went elsewhere"
    return settle(lease, [tried], park, make.setting(uncertain=dispatcher.policy.uncertain)).settlement


class TestWhereItGoes:
    routes = (Route(providers=("primary",), rewrite=Rewrite(envelope_from="bounce@x.example")),)

    def test_to_the_provider_it_names_and_unchanged_by_routes(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(), reserved(make), routes=self.routes)
        send = dispatcher.choose(attempt(make), make.now)

        assert (send.provider, send.rewrite, send.sender, send.rule) == (MINE, None, "a@example.com", None)
        assert (send.alone, send.failed_over_from) == (True, "")

    def test_all_of_it_lies_in_the_lane_of_that_provider(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(), reserved(make), routes=self.routes)
        berth = placed(dispatcher, make, naming(make, "b@o", "c@o"))
        send = dispatcher.choose(attempt(make), make.now)

        assert key(berth.lane) == pin_key(MINE)
        assert (berth.lane, len(berth.recipients)) == (send.lane, 2)
        assert (berth.state, berth.ready) == (State.QUEUED, True)
        assert berth.deadline == warn_at(make.now, DeliveryPolicy().retry)

    def test_also_where_that_is_no_reserved_one(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(), make.provider("backup", priority=2))

        assert dispatcher.choose(attempt(make, "backup"), make.now).provider == "backup"

    def test_an_operator_may_send_it_elsewhere_while_there_is_that(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(), reserved(make))

        assert dispatcher.choose(attempt(make, pin="primary"), make.now).provider == "primary"
        assert dispatcher.choose(attempt(make, pin="removed"), make.now).provider == MINE

    def test_scheduled_mail_waits_in_its_lane(self, make) -> None:
        berth = placed(make.dispatcher(reserved(make)), make, due_at=make.now + DAY)

        assert (berth.state, berth.ready, key(berth.lane)) == (State.SCHEDULED, False, pin_key(MINE))

    def test_no_other_mail_moves_by_it(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(), reserved(make))
        for _ in range(3):
            dispatcher.learned("primary", [make.said(0, Phase.CONNECT)], make.now)

        assert isinstance(dispatcher.choose(make.attempt(), make.now), Park)
        assert isinstance(dispatcher.choose(attempt(make), make.now), Send)


class TestReserved:
    @pytest.mark.parametrize("providers", [(), (MINE,), (MINE, "primary")])
    def test_no_route_leads_there(self, make, providers) -> None:
        routes = (Route(providers=providers, rewrite=Rewrite(envelope_from="x@y")),) if providers else ()
        dispatcher = make.dispatcher(make.provider(priority=2), reserved(make, priority=1), routes=routes)
        step = dispatcher.choose(make.attempt(), make.now)

        assert step.provider == "primary" if "primary" in providers or not providers else isinstance(step, Park)
        asked = dispatcher.explain(sender="a@x", recipient="b@o", size=0, client="", now=make.now)
        assert MINE not in [one["name"] for one in asked["providers"]]

    def test_a_route_to_every_provider_means_the_others(self, make) -> None:
        routes = (Route(rewrite=Rewrite(envelope_from="x@y")),)
        dispatcher = make.dispatcher(make.provider(priority=2), reserved(make, priority=1), routes=routes)
        send = dispatcher.choose(make.attempt(), make.now)

        assert (send.provider, send.alone) == ("primary", True)

    def test_an_operator_may_send_any_mail_there(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(), reserved(make))

        assert dispatcher.choose(make.attempt(pin=MINE), make.now).provider == MINE

    def test_while_there_are_no_others_mail_is_captured_but_not_what_names_one(self, make) -> None:
        dispatcher = make.dispatcher(reserved(make), capture=True)
        (other,) = dispatcher.place(make.submission())
        mine = placed(dispatcher, make)

        assert (other.state, mine.state, mine.ready) == (State.CAPTURED, State.QUEUED, True)
        assert dispatcher.choose(attempt(make), make.now).provider == MINE
        assert "no provider exists" in dispatcher.why(other.lane, make.now)
        assert dispatcher.why(mine.lane, make.now) == ""


class TestGone:
    def test_it_waits_and_says_why(self, make) -> None:
        dispatcher = make.dispatcher(make.provider())
        park = dispatcher.choose(attempt(make), make.now)
        lease = make.lease(naming(make), lane=f"{pin_key(MINE)}:1")
        settlement = settle(lease, [], park, make.setting()).settlement
        (owed,) = settlement.remainders

        assert (park.until, park.reason, owed.reason) == (make.now + LONGEST_PARK, GONE, GONE)
        assert (owed.state, owed.tries, owed.lane) == (State.DEFERRED, 0, park.lane)
        assert [event.detail for event in settlement.events] == [GONE]

    @pytest.mark.parametrize("capture", [False, True])
    def test_new_mail_for_it_is_taken_and_its_lane_says_why(self, make, capture) -> None:
        dispatcher = make.dispatcher(*(() if capture else (make.provider(),)), capture=capture)
        berth = placed(dispatcher, make)

        assert (berth.state, berth.ready) == (State.QUEUED, False)
        assert berth.deadline == warn_at(make.now, DeliveryPolicy().retry)
        assert dispatcher.why(berth.lane, make.now) == GONE
        assert berth.lane == dispatcher.choose(attempt(make), make.now).lane

    def test_its_lane_costs_nothing_until_there_is_one_again(self, make) -> None:
        dispatcher = make.dispatcher(make.provider())
        lane = dispatcher.choose(attempt(make), make.now).lane

        assert dispatcher.appetite(make.now).room[key(lane)] == 0
        reload(dispatcher, make, make.provider())
        assert dispatcher.appetite(make.now).room[key(lane)] == 0
        reload(dispatcher, make, make.provider(), reserved(make))
        assert key(lane) not in dispatcher.appetite(make.now).room, "whoever waits there is asked anew"
        assert dispatcher.why(lane, make.now) == ""
        assert dispatcher.choose(attempt(make), make.now).provider == MINE

    def test_other_mail_that_was_sent_there_goes_by_its_route_again(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(), reserved(make))
        lane = dispatcher.choose(make.attempt(pin=MINE), make.now).lane
        reload(dispatcher, make, make.provider())
        dispatcher.choose(attempt(make), make.now)

        assert key(lane) not in dispatcher.appetite(make.now).room
        assert dispatcher.choose(make.attempt(pin=MINE), make.now).provider == "primary"

    def test_an_operator_may_send_it_elsewhere(self, make) -> None:
        dispatcher = make.dispatcher(make.provider())

        assert dispatcher.choose(attempt(make, pin="primary"), make.now).provider == "primary"

    def test_it_is_warned_of_and_expires_like_any_other(self, make) -> None:
        dispatcher = make.dispatcher(make.provider())
        old = naming(make, received_at=make.now - 6 * DAY)
        lease = make.lease(old)
        park = dispatcher.choose(Attempt.begin(lease.entry), make.now)
        settlement = settle(lease, [], park, make.setting()).settlement

        assert [(end.state, end.reply) for end in settlement.ended] == [(State.EXPIRED, GONE)]


class TestFailures:
    @pytest.mark.parametrize("uncertain", Uncertain)
    def test_F2_an_answer_that_was_lost_moves_it_nowhere(self, make, uncertain) -> None:
        policy = DeliveryPolicy(uncertain=uncertain)
        dispatcher = make.dispatcher(make.provider(), reserved(make), policy=policy)
        send = dispatcher.choose(attempt(make), make.now)
        said = make.said(0, Phase.DOT, provider=MINE, text="connection lost")
        (owed,) = outcome(dispatcher, make, send, said).remainders
        again = dispatcher.choose(attempt(make, pin=owed.pin, avoid=owed.avoid), make.now + 3600)

        assert owed.state is (State.HELD if uncertain is Uncertain.HOLD else State.DEFERRED)
        assert (owed.lane, again.provider) == (send.lane, MINE)

    @pytest.mark.parametrize(("code", "phase"), [(0, Phase.CONNECT), (535, Phase.AUTH), (451, Phase.MAIL)])
    def test_a_provider_that_fails_is_waited_for(self, make, code, phase) -> None:
        dispatcher = make.dispatcher(make.provider(), reserved(make))
        send = dispatcher.choose(attempt(make), make.now)
        settlement = outcome(dispatcher, make, send, make.said(code, phase, provider=MINE))

        assert [(owed.state, owed.lane) for owed in settlement.remainders] == [(State.DEFERRED, send.lane)]

    def test_a_refusal_is_final_there_being_no_other(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(), reserved(make))
        send = dispatcher.choose(attempt(make), make.now)
        settlement = outcome(dispatcher, make, send, make.said(550, Phase.MAIL, provider=MINE))

        assert [end.state for end in settlement.ended] == [State.FAILED]

    def test_its_lane_says_what_is_wrong_with_it(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(), reserved(make))
        lane = placed(dispatcher, make).lane
        dispatcher.learned(MINE, [make.said(535, Phase.AUTH, provider=MINE, text="bad password")], make.now)

        assert f"{MINE}: suspended" in dispatcher.why(lane, make.now)
        reload(dispatcher, make, make.provider(), reserved(make, active=False))
        assert f"{MINE}: not active" in dispatcher.why(lane, make.now)
        assert isinstance(dispatcher.choose(attempt(make), make.now), Park)


STEPS = st.lists(
    st.tuples(st.sampled_from(["primary", MINE, "integration/4"]), st.sampled_from(["add", "remove", "break", "mail"])),
    max_size=30,
)


@given(steps=STEPS, seed=st.integers(0, 10**6))
@settings(max_examples=50, deadline=None, phases=[Stage.explicit, Stage.reuse, Stage.generate])
def test_H12_whatever_comes_and_goes_it_goes_there_or_nowhere(make, steps, seed) -> None:
    """And never waits in a lane without room while its provider can be used."""
    dispatcher, there = make.dispatcher(), {}
    lanes: dict[str, str] = {}
    rng = Random(seed)
    for name, step in steps:
        if step == "add":
            there[name] = make.provider(name, reserved=name != "primary", weight=rng.randrange(1, 9))
        elif step == "remove":
            there.pop(name, None)
        elif step == "break":
            dispatcher.learned(name, [make.said(535, Phase.AUTH, provider=name)], make.now)
        if step != "mail":
            reload(dispatcher, make, *there.values(), capture="primary" not in there)
            continue
        lanes[name] = placed(dispatcher, make, naming(make, via=name)).lane
        chosen = dispatcher.choose(attempt(make, name, avoid=("primary",)[: rng.randrange(2)]), make.now)
        if isinstance(chosen, Send):
            assert chosen.provider == name
            dispatcher.finished(chosen, [make.took(provider=name)], make.now)
        else:
            assert chosen.lane == lanes[name]
        room = dispatcher.appetite(make.now).room
        for via, lane in lanes.items():
            usable = via in there and not any(s.reason for s in dispatcher.statuses(make.now) if s.name == via)
            assert room.get(key(lane), 1) > 0 or not usable
            assert (dispatcher.why(lane, make.now) == f"{via} no longer exists: reroute or cancel it") is (
                key(lane) in room and via not in there
            )


@pytest.mark.parametrize("kind", ["http", "event", "run", "notice"])
def test_nobody_is_sent_a_report_of_what_they_can_look_up(make, kind) -> None:
    message = make.message(source=Source(kind=kind))

    assert kind in UNREPORTED
    assert not reportable(message, BouncePolicy())
    assert reportable(make.message(source=Source(kind="smtp")), BouncePolicy())


@pytest.mark.parametrize("kind", sorted(UNREPORTED))
def test_nor_that_it_was_relayed(make, kind) -> None:
    asked = replace(make.recipients("b@o")[0], notify="SUCCESS")
    lease = make.lease(make.message(asked, source=Source(kind=kind)))
    taken = replace(make.took(asked), reply=Reply(code=250))

    assert settle(lease, [make.tried(taken)], None, make.setting()).notices == ()
