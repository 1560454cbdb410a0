"""Choice, failover, pacing and reload, seen from outside: what goes in, what comes out."""

from __future__ import annotations

from collections import Counter

import pytest
from msgspec.structs import replace

from relay.delivery.attempt import Attempt, Park, Send
from relay.delivery.limits import calendars
from relay.delivery.policy import DeliveryPolicy
from relay.delivery.retry import NEVER
from relay.delivery.router import pin_key, pinned_lane
from relay.events import CircuitChanged, FailedOver, ProviderRecovered, ProviderSuspended
from relay.model import Limits, Match, Phase, Reply, Rewrite, Route, Source, State, Usage

REFUSED = Reply(code=0, text="connection refused")


def fail(dispatcher, make, name="primary", times=3, code=0, phase=Phase.CONNECT, now=None, **more) -> None:
    for _ in range(times):
        dispatcher.learned(name, [make.said(code, phase, provider=name, **more)], now or make.now)


def use(dispatcher, make, attempt=None, now=None) -> Send:
    step = dispatcher.choose(attempt or make.attempt(), now or make.now)
    assert isinstance(step, Send), step
    return step


def wait(dispatcher, make, attempt=None, now=None) -> Park:
    step = dispatcher.choose(attempt or make.attempt(), now or make.now)
    assert isinstance(step, Park), step
    return step


def two(make, **backup):
    return make.provider("primary"), make.provider("backup", priority=2, **backup)


def route_key(lane: str) -> str:
    return lane.partition(":")[0]


class TestOrder:
    def test_the_lowest_priority_number_is_used(self, make) -> None:
        dispatcher = make.dispatcher(*reversed(two(make)))
        send = use(dispatcher, make)

        assert (send.provider, send.failed_over_from, send.sender) == ("primary", "", "a@example.com")
        assert send.recipients == make.recipients("b@example.org")

    def test_equals_share_by_weight(self, make) -> None:
        dispatcher = make.dispatcher(make.provider("heavy", weight=3), make.provider("light", weight=1))
        used = Counter()
        for n in range(4000):
            send = use(dispatcher, make, make.attempt(make.message(id=f"{n:013x}")))
            used[send.provider] += 1
            dispatcher.finished(send, [make.took(provider=send.provider)], make.now)

        assert 2800 < used["heavy"] < 3200

    def test_F2_the_same_message_meets_the_same_equal_again(self, make) -> None:
        dispatcher = make.dispatcher(make.provider("one"), make.provider("two"))
        first = [use(dispatcher, make, make.attempt(make.message(id=f"m{n}"))).provider for n in range(20)]

        assert first == [use(dispatcher, make, make.attempt(make.message(id=f"m{n}"))).provider for n in range(20)]
        assert set(first) == {"one", "two"}

    def test_a_route_restricts_and_rewrites(self, make) -> None:
        route = Route(
            match=Match(sender="*@example.com"),
            providers=("backup",),
            rewrite=Rewrite(envelope_from="bounce@x.example"),
        )
        send = use(make.dispatcher(*two(make), routes=(route,)), make)

        assert (send.provider, send.sender, send.rewrite) == ("backup", "bounce@x.example", route.rewrite)
        assert send.lane.partition(":")[0] != "default"

    def test_E2_a_null_sender_is_never_rewritten(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(), routes=(Route(rewrite=Rewrite(envelope_from="x@y")),))

        assert use(dispatcher, make, make.attempt(make.message(sender=""))).sender == ""

    def test_inactive_providers_get_nothing(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(active=False), make.provider("backup", priority=2))

        send = use(dispatcher, make)
        assert (send.provider, send.failed_over_from, send.alone) == ("backup", "", True)

    def test_a_pin_goes_before_routes_and_priorities(self, make) -> None:
        dispatcher = make.dispatcher(*two(make))

        assert use(dispatcher, make, make.attempt(pin="backup")).provider == "backup"
        assert use(dispatcher, make, make.attempt(pin="gone")).provider == "primary"

    def test_a_pinned_provider_that_is_out_is_waited_for(self, make) -> None:
        dispatcher = make.dispatcher(*two(make))
        fail(dispatcher, make, "backup")

        assert "backup" in wait(dispatcher, make, make.attempt(pin="backup")).reason

    def test_a_pin_has_a_lane_of_its_own_that_moves_while_its_route_is_out(self, make) -> None:
        dispatcher = make.dispatcher(*two(make), routes=(Route(providers=("primary",)),))
        route_lane = use(dispatcher, make).lane
        fail(dispatcher, make)
        send = use(dispatcher, make, make.attempt(pin="backup"))
        room = dispatcher.appetite(make.now).room

        assert send.lane == pinned_lane(route_lane, "backup")
        assert (room[route_key(send.lane)] > 0, room[route_key(route_lane)]) == (True, 0)
        assert "circuit open" in dispatcher.why(pinned_lane(route_lane, "primary"), make.now)

    def test_routes_are_looked_up_anew(self, make) -> None:
        """Mail queued under an old route goes where the repaired one says."""
        dispatcher = make.dispatcher(*two(make))
        assert use(dispatcher, make).provider == "primary"

        dispatcher.replace(two(make), [Route(providers=("backup",))], DeliveryPolicy(), now=make.now)
        assert use(dispatcher, make).provider == "backup"

    def test_groups_of_recipients_go_one_after_the_other(self, make) -> None:
        routes = (Route(match=Match(recipient="*@one"), providers=("primary",)), Route(providers=("backup",)))
        dispatcher = make.dispatcher(*two(make), routes=routes)
        attempt = make.attempt(make.message("a@one", "b@two", "c@one"))

        assert [r.address for r in use(dispatcher, make, attempt).recipients] == ["a@one", "c@one"]
        fail(dispatcher, make)
        assert [r.address for r in use(dispatcher, make, attempt).recipients] == ["b@two"]


class TestFailover:
    def test_a_provider_that_failed_the_message_is_avoided(self, make) -> None:
        seen = []
        dispatcher = make.dispatcher(*two(make), seen=seen)
        send = use(dispatcher, make)
        tried = dispatcher.finished(send, [make.said(0, Phase.CONNECT)], make.now)
        after = make.attempt().after(tried)

        assert use(dispatcher, make, after).failed_over_from == "primary"
        assert [(e.origin, e.target) for e in seen if isinstance(e, FailedOver)] == [("primary", "backup")]

    @pytest.mark.parametrize("cause", ["circuit", "suspended", "day"])
    def test_F5_what_is_out_is_failed_over_from_at_once(self, make, cause: str) -> None:
        seen = []
        dispatcher = make.dispatcher(*two(make), seen=seen)
        if cause == "circuit":
            fail(dispatcher, make)
        else:
            code, phase, enhanced = (535, Phase.AUTH, "") if cause == "suspended" else (550, Phase.DOT, "5.4.5")
            fail(dispatcher, make, times=1, code=code, phase=phase, enhanced=enhanced)

        send = use(dispatcher, make)
        assert (send.provider, send.failed_over_from) == ("backup", "primary")
        assert send.reason
        assert any(isinstance(event, FailedOver) and event.reason == send.reason for event in seen)

    def test_a_full_window_is_no_reason_to_fail_over(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(limits=Limits(connections=1)), make.provider("backup", priority=2))

        assert {use(dispatcher, make).provider for _ in range(50)} == {"primary"}

    def test_when_all_have_failed_it_the_round_is_over(self, make) -> None:
        park = wait(make.dispatcher(*two(make)), make, make.attempt(avoid=("primary", "backup")))

        assert not park.waiting
        assert park.until == make.now  # one is usable: the back-off decides

    def test_F8_when_all_are_out_it_waits_for_the_first_to_come_back(self, make) -> None:
        dispatcher = make.dispatcher(*two(make))
        fail(dispatcher, make)
        fail(dispatcher, make, "backup", times=1, code=535, phase=Phase.AUTH)
        park = wait(dispatcher, make)

        assert (park.until, park.waiting) == (make.now + 5, False)
        assert "primary: circuit open" in park.reason
        assert "backup: suspended" in park.reason

    def test_F8_a_lane_is_shut_when_every_provider_is_out(self, make) -> None:
        dispatcher = make.dispatcher(*two(make))
        fail(dispatcher, make, code=535, phase=Phase.AUTH)
        assert not wait(dispatcher, make, make.attempt(avoid=("backup",))).shut, "the backup only failed this one"
        fail(dispatcher, make, name="backup")
        assert wait(dispatcher, make, make.attempt(avoid=("backup",))).shut
        assert wait(dispatcher, make, make.attempt(pin="backup")).shut

    def test_nothing_is_parked_further_ahead_than_a_minute(self, make) -> None:
        dispatcher = make.dispatcher(make.provider())
        fail(dispatcher, make, times=1, code=535, phase=Phase.AUTH)

        assert wait(dispatcher, make).until == make.now + 60
        assert wait(make.dispatcher(), make).until == make.now + 60
        assert wait(make.dispatcher(make.provider(active=False)), make).reason

    def test_who_refused_it_is_not_asked_again_while_another_remains(self, make) -> None:
        dispatcher = make.dispatcher(*two(make))

        send = use(dispatcher, make, make.attempt(refused=("primary",)))
        assert (send.provider, send.alone) == ("backup", True)
        fail(dispatcher, make, "backup")
        assert wait(dispatcher, make, make.attempt(refused=("primary",))).until == make.now + 5

    def test_refused_by_all_that_are_left_it_is_asked_once_more_for_its_final_word(self, make) -> None:
        send = use(make.dispatcher(*two(make)), make, make.attempt(refused=("primary", "backup")))

        assert (send.provider, send.alone) == ("primary", True)

    def test_alone_counts_providers_that_are_only_out(self, make) -> None:
        dispatcher = make.dispatcher(*two(make))
        fail(dispatcher, make, "backup")

        assert not use(dispatcher, make).alone
        assert use(make.dispatcher(make.provider()), make).alone


class TestPace:
    def test_a_throttled_provider_is_waited_for_sixty_seconds_then_left(self, make) -> None:
        dispatcher = make.dispatcher(*two(make))
        fail(dispatcher, make, times=1, code=432, phase=Phase.MAIL)
        park = wait(dispatcher, make)

        assert (park.waiting, park.until) == (True, make.now + 5)
        early = make.attempt(since=make.now - 58)
        assert wait(dispatcher, make, early).until == make.now + 2
        send = use(dispatcher, make, make.attempt(since=make.now - 60))
        assert (send.provider, send.failed_over_from) == ("backup", "")  # pacing is no failover

    def test_a_throttled_provider_gets_half_as_many_after_its_pause(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(limits=Limits(connections=8)))
        assert dispatcher.appetite(make.now).room["default"] == 24
        fail(dispatcher, make, times=5, code=432, phase=Phase.MAIL)  # in flight together: one complaint

        assert dispatcher.appetite(make.now).room["default"] == 0
        assert dispatcher.appetite(make.now + 5).room["default"] == 4
        dispatcher.learned("primary", [make.took()], make.now + 5)
        assert dispatcher.appetite(make.now + 5).room["default"] == 5

    def test_F10_a_tarpit_does_not_gather_all_that_may_be_in_flight(self, make) -> None:
        """It never ends a transaction; what the other one ends makes room for more, of which each is given a part."""
        dispatcher = make.dispatcher(make.provider("tar"), make.provider("good"))
        sends, taken = [], 0
        for _ in range(200):
            appetite = dispatcher.appetite(make.now)
            for _ in range(min(appetite.total, appetite.room["default"])):
                sends.append(use(dispatcher, make, make.attempt(make.message(id=f"{len(sends) + taken:013x}"))))
            for send in [send for send in sends if send.provider == "good"]:
                dispatcher.finished(send, [make.took(provider="good")], make.now)
                sends.remove(send)
                taken += 1

        assert taken > 10_000
        assert len(sends) == 120, "twice what its connections carry and begin with next"

    @pytest.mark.parametrize("connections", [200, 400, 800])
    def test_F10_many_connections_leave_room_for_others(self, make, connections: int) -> None:
        tar = make.provider("tar", limits=Limits(connections=connections))
        routes = (Route(match=Match(recipient="*@tar"), providers=("tar",)), Route(providers=("good",)))
        dispatcher = make.dispatcher(tar, make.provider("good"), routes=routes)
        key = route_key(use(dispatcher, make, make.attempt(make.message("a@tar"))).lane)
        for _ in range(dispatcher.appetite(make.now).room[key]):
            use(dispatcher, make, make.attempt(make.message("a@tar")))

        assert dispatcher.appetite(make.now).room[key] == 0
        assert dispatcher.appetite(make.now).total == min(500, 1000 - connections), "and none of them is idle"

    def test_the_minute_is_waited_for_and_its_mail_is_let_through_when_it_is_over(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(limits=Limits(per_minute=2)))
        for _ in range(2):
            dispatcher.finished(use(dispatcher, make), [make.took()], make.now)
        park = wait(dispatcher, make)

        assert (park.waiting, park.until) == (True, make.now + 60)
        assert dispatcher.appetite(make.now).room["default"] == 0
        assert dispatcher.wakes_at(make.now) == make.now + 60
        assert use(dispatcher, make, now=make.now + 60).reservation.amount == 1

    def test_the_day_is_not_waited_for(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(limits=Limits(per_day=1)), make.provider("backup", priority=2))
        dispatcher.finished(use(dispatcher, make), [make.took()], make.now)

        assert use(dispatcher, make).provider == "backup"

    def test_what_was_not_taken_is_given_back(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(limits=Limits(per_day=1)))
        tried = dispatcher.finished(use(dispatcher, make), [make.said(550, Phase.RCPT)], make.now)

        assert tried.spent.taken == 0
        assert use(dispatcher, make)

    def test_F2_uncertain_counts_as_spent(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(limits=Limits(per_day=1)))
        tried = dispatcher.finished(use(dispatcher, make), [make.said(0, Phase.DOT)], make.now)

        assert tried.spent.taken == 1

    def test_counted_in_recipients_a_message_is_split_to_fit(self, make) -> None:
        limits = Limits(per_day=5, count="recipients")
        dispatcher = make.dispatcher(make.provider(limits=limits))
        attempt = make.attempt(make.message(*(f"{n}@o" for n in range(7))))
        send = use(dispatcher, make, attempt)
        tried = dispatcher.finished(send, [make.took("0@o"), make.said(550, Phase.RCPT, "1@o")], make.now)

        assert (len(send.recipients), send.reservation.amount, tried.spent.taken) == (5, 5, 1)
        assert len(use(dispatcher, make, attempt).recipients) == 4

    def test_recipients_of_a_transaction_are_limited(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(limits=Limits(recipients=2)))

        assert len(use(dispatcher, make, make.attempt(make.message("a@o", "b@o", "c@o"))).recipients) == 2

    def test_F4_the_number_of_recipients_is_learned(self, make) -> None:
        dispatcher = make.dispatcher(make.provider())
        attempt = make.attempt(make.message("a@o", "b@o", "c@o"))
        outcomes = [make.took("a@o"), make.took("b@o"), make.said(452, Phase.RCPT, "c@o", enhanced="4.5.3")]
        dispatcher.finished(use(dispatcher, make, attempt), outcomes, make.now)

        assert len(use(dispatcher, make, attempt).recipients) == 2

    def test_the_size_is_learned_and_the_larger_one_used(self, make) -> None:
        dispatcher = make.dispatcher(*two(make))
        large = make.attempt(make.message(size=5000))
        dispatcher.finished(use(dispatcher, make, large), [make.said(552, Phase.MAIL, enhanced="5.3.4")], make.now)

        assert use(dispatcher, make, make.attempt(make.message(size=6000))).provider == "backup"
        assert use(dispatcher, make).provider == "primary"

    def test_what_a_provider_used_counts_again_when_a_reload_brings_it_back(self, make) -> None:
        dispatcher = make.dispatcher(make.provider("other"))
        dispatcher.load([Usage(provider="primary", minute=((make.now - 1, 2),))])
        back = make.provider("primary", limits=Limits(per_minute=2))
        dispatcher.replace([back], (), dispatcher.policy, now=make.now)

        assert wait(dispatcher, make).reason == "primary: limit of 2 a minute reached"

    def test_F9_quotas_are_loaded_at_start(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(limits=Limits(per_minute=2)))
        dispatcher.load([Usage(provider="primary", minute=((make.now - 1, 2),)), Usage(provider="gone")])

        assert wait(dispatcher, make).until == make.now + 59


class TestHealth:
    def test_the_circuit_opens_after_three_and_mail_is_not_used_to_probe_it(self, make) -> None:
        seen = []
        dispatcher = make.dispatcher(make.provider(), seen=seen)
        fail(dispatcher, make)

        assert [(e.state, e.until) for e in seen] == [("open", make.now + 5)]
        assert dispatcher.next_probe() == make.now + 5
        assert dispatcher.probes_due(make.now + 4.9) == []
        assert [p.name for p in dispatcher.probes_due(make.now + 5)] == ["primary"]
        assert dispatcher.probes_due(make.now + 6) == []  # it is out already
        assert "circuit" in wait(dispatcher, make, now=make.now + 6).reason
        assert seen[-1].state == "half_open"

    def test_a_probe_that_never_came_back_is_due_again(self, make) -> None:
        dispatcher = make.dispatcher(make.provider())
        fail(dispatcher, make)
        dispatcher.probes_due(make.now + 5)

        assert dispatcher.probes_due(make.now + 400)

    def test_F8_after_recovery_mail_starts_with_one_and_doubles(self, make) -> None:
        seen = []
        dispatcher = make.dispatcher(make.provider(limits=Limits(connections=5)), seen=seen)
        fail(dispatcher, make)
        [probe] = dispatcher.probes_due(make.now + 5)
        dispatcher.probed(probe, None, make.now + 5)
        now, rooms = make.now + 5, []
        for _ in range(4):
            room = dispatcher.appetite(now).room["default"]
            rooms.append(room)
            sends = [use(dispatcher, make, now=now) for _ in range(room)]
            if room < 10:
                assert wait(dispatcher, make, now=now).waiting
            for send in sends:
                dispatcher.finished(send, [make.took()], now)

        assert rooms == [1, 2, 4, 15]
        assert [type(event) for event in seen[-2:]] == [CircuitChanged, ProviderRecovered]

    def test_a_probe_that_fails_opens_it_for_longer(self, make) -> None:
        dispatcher = make.dispatcher(make.provider())
        fail(dispatcher, make)
        [probe] = dispatcher.probes_due(make.now + 5)
        dispatcher.probed(probe, make.said(0, Phase.CONNECT), make.now + 6)

        assert dispatcher.next_probe() == make.now + 16

    def test_C7_535_suspends_at_once_and_is_probed_after_five_minutes(self, make) -> None:
        seen = []
        dispatcher = make.dispatcher(make.provider(), seen=seen)
        fail(dispatcher, make, times=3, code=535, phase=Phase.AUTH)

        assert [type(event) for event in seen] == [ProviderSuspended]
        assert dispatcher.next_probe() == make.now + 300
        status = dispatcher.statuses(make.now)[0]
        assert (status.healthy, status.suspended, status.circuit) == (False, True, "closed")
        [probe] = dispatcher.probes_due(make.now + 300)
        dispatcher.probed(probe, make.said(535, Phase.AUTH), make.now + 300)
        assert dispatcher.next_probe() == make.now + 900
        dispatcher.probed(probe, None, make.now + 301)  # somebody asked for a test
        assert use(dispatcher, make)
        assert dispatcher.next_probe() is None

    def test_a_probe_may_find_that_the_account_is_refused_now(self, make) -> None:
        dispatcher = make.dispatcher(make.provider())
        fail(dispatcher, make)
        [probe] = dispatcher.probes_due(make.now + 5)
        dispatcher.probed(probe, make.said(535, Phase.AUTH), make.now + 5)

        status = dispatcher.statuses(make.now + 5)[0]
        assert (status.circuit, status.suspended, status.until) == ("closed", True, make.now + 305)

    def test_one_transaction_for_many_recipients_is_one_failure(self, make) -> None:
        dispatcher = make.dispatcher(make.provider())
        dispatcher.learned("primary", [make.said(0, Phase.CONNECT, f"{n}@o") for n in range(9)], make.now)

        assert dispatcher.statuses(make.now)[0].circuit == "closed"

    def test_replies_about_mail_prove_that_the_host_is_well(self, make) -> None:
        dispatcher = make.dispatcher(make.provider())
        for _ in range(3):
            fail(dispatcher, make, times=2)
            dispatcher.learned("primary", [make.said(550, Phase.RCPT)], make.now)

        assert dispatcher.statuses(make.now)[0].healthy

    def test_what_is_learned_of_a_provider_that_is_gone_is_ignored(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(limits=Limits(per_day=5)))
        send = use(dispatcher, make)
        dispatcher.replace([], [], DeliveryPolicy(), now=make.now)

        assert dispatcher.finished(send, [make.took()], make.now).spent.taken == 1
        dispatcher.probed(send.settings, None, make.now)
        assert dispatcher.appetite(make.now).total == 1000


class TestReload:
    def test_what_did_not_change_keeps_its_state(self, make) -> None:
        dispatcher = make.dispatcher(*two(make))
        fail(dispatcher, make)
        dispatcher.replace(two(make), [], DeliveryPolicy(), now=make.now + 1)

        assert dispatcher.next_probe() == make.now + 5

    @pytest.mark.parametrize("code", [0, 535])
    def test_a_changed_provider_that_was_out_is_probed_at_once_not_by_mail(self, make, code: int) -> None:
        dispatcher = make.dispatcher(make.provider())
        fail(dispatcher, make, code=code, phase=Phase.AUTH)
        dispatcher.replace([make.provider(password="new")], [], DeliveryPolicy(), now=make.now + 1)

        assert wait(dispatcher, make, now=make.now + 1)
        [probe] = dispatcher.probes_due(make.now + 1)
        assert probe.password == "new"
        dispatcher.probed(probe, None, make.now + 1)
        assert use(dispatcher, make, now=make.now + 1)

    def test_activating_probes_what_was_suspended(self, make) -> None:
        dispatcher = make.dispatcher(make.provider())
        fail(dispatcher, make, times=1, code=535, phase=Phase.AUTH)
        dispatcher.replace([make.provider(active=False)], [], DeliveryPolicy(), now=make.now)
        assert dispatcher.probes_due(make.now + 9999) == []

        dispatcher.replace([make.provider()], [], DeliveryPolicy(), now=make.now + 1)
        assert dispatcher.next_probe() == make.now + 1

    def test_quotas_are_kept_by_name(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(limits=Limits(per_day=1)))
        dispatcher.finished(use(dispatcher, make), [make.took()], make.now)
        dispatcher.replace([make.provider(limits=Limits(per_day=2))], [], DeliveryPolicy(), now=make.now)
        assert dispatcher.statuses(make.now)[0].quota == {"day": 1}

    def test_another_of_the_same_name_begins_with_what_is_loaded(self, make) -> None:
        first = make.provider(limits=Limits(per_day=1))
        dispatcher = make.dispatcher(first)
        flying = use(dispatcher, make)
        dispatcher.replace([], [], DeliveryPolicy(), now=make.now)
        dispatcher.replace([first], [], DeliveryPolicy(), now=make.now)
        assert dispatcher.statuses(make.now)[0].quota == {"day": 1}
        assert dispatcher.finished(flying, [make.took()], make.now).spent.taken == 1
        assert dispatcher.statuses(make.now)[0].quota == {"day": 1}

        day = calendars(make.now, "UTC")[0].key
        dispatcher.load([Usage(provider=first.name, periods={day: 1})])
        assert wait(dispatcher, make)

    def test_F9_what_was_used_goes_along_with_a_new_name(self, make) -> None:
        old, new = make.provider("old", limits=Limits(per_day=2)), make.provider("new", limits=Limits(per_day=2))
        dispatcher = make.dispatcher(old)
        dispatcher.finished(use(dispatcher, make), [make.took()], make.now)
        flying = use(dispatcher, make)

        dispatcher.rename({"old": "new"})
        dispatcher.replace([new], [], DeliveryPolicy(), now=make.now)
        assert wait(dispatcher, make)
        assert dispatcher.finished(flying, [], make.now).spent.taken == 0
        assert use(dispatcher, make).provider == "new"

    def test_F9_what_went_without_a_limit_counts_when_there_is_one(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(limits=Limits(per_day=3)))
        dispatcher.finished(use(dispatcher, make), [make.took()], make.now)
        day = calendars(make.now, "UTC")[0].key
        dispatcher.load([Usage(provider="primary", periods={day: 2})])
        assert dispatcher.statuses(make.now)[0].quota == {"day": 1}
        dispatcher.load([Usage(provider="primary", periods={day: 0})])
        assert dispatcher.statuses(make.now)[0].quota == {"day": 1}

    def test_what_is_in_flight_stays_counted(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(limits=Limits(connections=5)))
        send = use(dispatcher, make)
        dispatcher.replace([make.provider(weight=2, limits=Limits(connections=5))], [], DeliveryPolicy(), now=make.now)

        assert dispatcher.appetite(make.now).room["default"] == 14
        dispatcher.finished(send, [make.took()], make.now)
        assert dispatcher.appetite(make.now).room["default"] == 15

    def test_a_new_circuit_policy_counts_for_unchanged_providers(self, make) -> None:
        dispatcher = make.dispatcher(make.provider())
        policy = DeliveryPolicy()
        policy = replace(policy, circuit=replace(policy.circuit, failures=1))
        dispatcher.replace([make.provider()], [], policy, now=make.now)
        fail(dispatcher, make, times=1)

        assert dispatcher.statuses(make.now)[0].circuit == "open"


class TestPlacement:
    def test_new_mail_is_ready_when_a_provider_is(self, make) -> None:
        dispatcher = make.dispatcher(*two(make))
        (berth,) = dispatcher.place(make.submission())

        assert (berth.ready, berth.state, berth.recipients) == (True, State.QUEUED, make.recipients("b@example.org"))
        assert berth.deadline == make.now + 4 * 3600
        fail(dispatcher, make)
        assert dispatcher.place(make.submission())[0].ready
        fail(dispatcher, make, "backup")
        assert not dispatcher.place(make.submission())[0].ready

    def test_one_berth_for_each_route(self, make) -> None:
        routes = (Route(match=Match(recipient="a@*", headers=(("x-app", "crm"),)), providers=("primary",)),)
        dispatcher = make.dispatcher(*two(make), routes=routes)
        message = make.message("a@o", "b@o")

        assert dispatcher.header_names == {"x-app"}
        assert len(dispatcher.place(make.submission(message))) == 1
        berths = dispatcher.place(make.submission(message, **{"x-app": "crm"}))
        assert [[r.address for r in berth.recipients] for berth in berths] == [["a@o"], ["b@o"]]
        assert len({berth.lane for berth in berths}) == 2

    def test_without_any_provider_mail_is_captured(self, make) -> None:
        dispatcher = make.dispatcher(capture=True)
        (berth,) = dispatcher.place(make.submission())

        assert (berth.state, berth.ready, berth.deadline) == (State.CAPTURED, False, NEVER)
        assert dispatcher.why("default:1", make.now).startswith("no provider exists")

    def test_without_capture_it_queues(self, make) -> None:
        """The last provider was deleted, or none is active: mail waits."""
        (berth,) = make.dispatcher(make.provider(active=False)).place(make.submission())

        assert (berth.state, berth.ready) == (State.QUEUED, False)


class TestAppetite:
    def test_a_lane_that_cannot_move_gets_no_room(self, make) -> None:
        routes = (Route(match=Match(sender="*@x"), providers=("primary",)),)
        dispatcher = make.dispatcher(*two(make), routes=routes)
        key = route_key(use(dispatcher, make, make.attempt(make.message(sender="a@x"))).lane)
        fail(dispatcher, make)
        room = dispatcher.appetite(make.now).room

        assert (room["default"], room[key]) == (60, 0)
        assert (room[pin_key("backup")], room[pin_key("primary")]) == (60, 0)

    def test_a_thousand_are_in_flight_at_most(self, make) -> None:
        dispatcher = make.dispatcher(make.provider())
        for _ in range(600):
            use(dispatcher, make)

        assert dispatcher.appetite(make.now).total == 400
        assert dispatcher.appetite(make.now).room["default"] == 0

    def test_there_is_room_for_what_connections_carry_and_their_next_and_no_more_than_limits_leave(self, make) -> None:
        """Only a provider whose last acceptance came over several in flight gets more, and as long as they do."""
        limits = Limits(connections=3, per_minute=12)
        dispatcher = make.dispatcher(make.provider(limits=limits))
        sends = [use(dispatcher, make) for _ in range(2)]
        assert dispatcher.appetite(make.now).room["default"] == 7
        dispatcher.finished(sends.pop(), [replace(make.took(), abreast=4)], make.now)
        assert dispatcher.appetite(make.now).room["default"] == 10  # of twelve a minute; the connections need 14 more
        dispatcher.finished(sends.pop(), [replace(make.took(), abreast=2)], make.now)
        assert dispatcher.appetite(make.now).room["default"] == 9
        use(dispatcher, make)
        fail(dispatcher, make, times=1, code=432, phase=Phase.MAIL)
        assert dispatcher.appetite(make.now).room["default"] == 0

    def test_a_send_that_was_never_made_leaves_no_trace(self, make) -> None:
        dispatcher = make.dispatcher(make.provider(limits=Limits(per_day=3, connections=2)))
        before = dispatcher.statuses(make.now)
        tried = dispatcher.finished(use(dispatcher, make), [], make.now)

        assert (tried.spent.taken, dispatcher.statuses(make.now)) == (0, before)

    def test_room_behind_a_throttled_provider_is_that_of_the_next(self, make) -> None:
        """What has waited its minute there must be able to come out."""
        dispatcher = make.dispatcher(*two(make, limits=Limits(connections=3)))
        fail(dispatcher, make, times=1, code=432, phase=Phase.MAIL)

        assert dispatcher.appetite(make.now).room["default"] == 9

    def test_sources_do_not_make_route_keys(self, make) -> None:
        dispatcher = make.dispatcher(make.provider())
        lanes = {
            dispatcher.place(make.submission(make.message(source=Source(kind="smtp", client=f"10.0.0.{n}"))))[0].lane
            for n in range(50)
        }

        assert {lane.partition(":")[0] for lane in lanes} == {"default"}
        assert len(lanes) > 40


def test_begin_takes_over_what_is_owed(make) -> None:
    entry = make.lease(avoid=("x",), refused=("y",)).entry
    attempt = Attempt.begin(entry, {"x-app": "crm"})

    assert (attempt.pending, attempt.avoid, attempt.refused) == (entry.owed.recipients, ("x",), ("y",))
    assert attempt.headers == {"x-app": "crm"}

    def test_what_the_old_password_was_told_does_not_suspend_the_new_one(self, make) -> None:
        dispatcher = make.dispatcher(make.provider())
        send = use(dispatcher, make)
        fail(dispatcher, make, code=535, phase=Phase.AUTH)
        [probe] = dispatcher.probes_due(make.now + 300)
        dispatcher.replace([make.provider(password="new")], [], DeliveryPolicy(), now=make.now + 301)
        [fresh] = dispatcher.probes_due(make.now + 301)
        dispatcher.probed(fresh, None, make.now + 302)

        dispatcher.probed(probe, make.said(535, Phase.AUTH), make.now + 303)
        dispatcher.finished(send, [make.said(535, Phase.AUTH)], make.now + 303)

        assert dispatcher.statuses(make.now + 303)[0].healthy
