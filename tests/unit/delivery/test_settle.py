"""What an attempt leaves behind: every recipient exactly once, at the right time, with the right people told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from relay.delivery.attempt import Park
from relay.delivery.policy import BouncePolicy, Uncertain
from relay.delivery.retry import NEVER, RECHECK
from relay.delivery.router import pinned_lane
from relay.delivery.settle import crashed, held, settle
from relay.model import NO_ROUTE, Phase, Recipient, Reservation, Rewrite, Source, Spent, State, TimelineEvent, Verdict

HOUR, DAY = 3600.0, 86400.0


def only(things):
    (thing,) = things
    return thing


def remainder(settled):
    return only(settled.settlement.remainders)


def over(make, ahead: float = 0.0, reason: str = "all are out") -> Park:
    return Park(until=make.now + ahead, reason=reason, lane="other:1")


def paced(make, ahead: float = 5.0) -> Park:
    return Park(until=make.now + ahead, reason="slow down", lane="other:1", waiting=True)


def late(make, after: float, **owed):
    """A lease on a message that was received so long ago, and who judges it now."""
    return make.lease(make.message(received_at=make.now - after), **owed)


class TestDelivered:
    def test_a_clean_delivery(self, make) -> None:
        lease = make.lease(make.message("b@o", "c@o"))
        settled = settle(lease, [make.tried(make.took("b@o"), make.took("c@o"))], None, make.setting())

        done = settled.settlement
        assert [(e.recipient.address, e.state, e.provider, e.reply) for e in done.ended] == [
            ("b@o", State.ACCEPTED, "primary", "250 2.0.0 Ok"),
            ("c@o", State.ACCEPTED, "primary", "250 2.0.0 Ok"),
        ]
        assert (done.token, done.remainders, done.notices, settled.notices) == (7, (), (), ())
        event = only(done.events)
        assert (event.kind, event.provider, event.recipients) == ("attempt", "primary", ("b@o", "c@o"))
        assert event.detail == "accepted: 250 2.0.0 Ok"

    def test_a_message_with_one_recipient_says_nothing_twice(self, make) -> None:
        said = ("250 2.1.0 Ok", "250 2.1.5 Ok", "354", " SIZE=1000")
        tried = make.tried(replace(make.took(), conversation=said))
        event = only(settle(make.lease(), [tried], None, make.setting()).settlement.events)
        assert event == TimelineEvent(at=make.now, kind="attempt", provider="primary", conversation=said, rule=NO_ROUTE)

    def test_the_way_and_the_conversation_are_told_once(self, make) -> None:
        rewrite = Rewrite(header_from="x@example.com")
        said = ("C: MAIL FROM:<a@example.com>", "S: 250 2.1.0 Ok")
        outcomes = [make.took("b@o"), make.said(550, Phase.RCPT, "c@o"), make.said(450, Phase.RCPT, "d@o")]
        tried = make.tried(*[replace(outcome, conversation=said) for outcome in outcomes])
        tried = replace(tried, send=replace(tried.send, rule=2, rewrite=rewrite))
        lease = make.lease(make.message("b@o", "c@o", "d@o"))
        events = [e for e in settle(lease, [tried], None, make.setting()).settlement.events if e.kind == "attempt"]
        assert [(e.rule, e.rewrite, e.conversation) for e in events] == [(2, rewrite, said), *[(None, None, ())] * 2]

        over = replace(tried, send=replace(tried.send, failed_over_from="other", reason="busy"))
        first, second, *_ = settle(lease, [over], None, make.setting()).settlement.events
        assert (first.kind, first.rule, first.rewrite, first.conversation) == ("failover", 2, rewrite, ())
        assert (second.kind, second.rule, second.rewrite, second.conversation) == ("attempt", None, None, said)

    def test_usage_goes_with_it(self, make) -> None:
        spent = Spent(reservation=Reservation(id=1, provider="primary", amount=1, at=make.now), taken=1, at=make.now)
        tried = replace(make.tried(make.took()), spent=spent)

        assert settle(make.lease(), [tried], None, make.setting()).settlement.usage == (spent,)
        failed = replace(make.tried(make.said(450, Phase.RCPT)), spent=spent)
        assert settle(make.lease(), [failed], None, make.setting()).settlement.usage == (spent,)

    def test_F3_one_delivered_one_retried_one_bounced(self, make) -> None:
        lease = make.lease(make.message("a@o", "b@o", "c@o"))
        tried = make.tried(make.took("a@o"), make.said(450, Phase.RCPT, "b@o"), make.said(550, Phase.RCPT, "c@o"))
        settled = settle(lease, [tried], None, make.setting())

        assert [(e.recipient.address, e.state) for e in settled.settlement.ended] == [
            ("a@o", State.ACCEPTED),
            ("c@o", State.FAILED),
        ]
        left = remainder(settled)
        assert (left.recipients, left.state, left.tries) == (make.recipients("b@o"), State.DEFERRED, 1)
        assert make.now + 24 <= left.due_at <= make.now + 30
        notice = only(settled.notices)
        assert (notice.kind, [f.recipient.address for f in notice.fates]) == ("bounce", ["c@o"])
        assert [e.kind for e in settled.settlement.events] == ["attempt", "attempt", "attempt", "bounced"]


class TestOwed:
    def test_recipients_with_the_same_fate_stay_together(self, make) -> None:
        addresses = [f"{n}@o" for n in range(300)]
        tried = make.tried(*(make.said(450, Phase.RCPT, address, text="busy") for address in addresses))

        left = remainder(settle(make.lease(make.message(*addresses)), [tried], None, make.setting()))
        assert len(left.recipients) == 300

    @pytest.mark.parametrize("code", [0, 421, 454, 535])
    def test_C7_what_happens_before_mail_is_no_try(self, make, code: int) -> None:
        tried = make.tried(make.said(code, Phase.AUTH))
        left = remainder(settle(make.lease(tries=2), [tried], over(make, 20), make.setting()))

        assert (left.tries, left.due_at, left.state) == (2, make.now + 20, State.DEFERRED)
        assert (left.avoid, left.since) == ((), left.due_at)

    def test_if_the_provider_is_usable_again_already_the_back_off_decides(self, make) -> None:
        left = remainder(settle(make.lease(), [make.tried(make.said(0, Phase.CONNECT))], over(make), make.setting()))

        assert left.due_at >= make.now + 24

    def test_a_try_that_failed_everywhere_waits_longer_each_time(self, make) -> None:
        tried = make.tried(make.said(451, Phase.MAIL))
        left = remainder(settle(make.lease(tries=3), [tried], over(make, 1), make.setting()))

        assert left.tries == 4
        assert make.now + 192 <= left.due_at <= make.now + 240

    def test_the_upstream_may_say_how_long(self, make) -> None:
        tried = make.tried(make.said(451, Phase.RCPT, text="Greylisted, try again in 300 seconds"))

        assert remainder(settle(make.lease(), [tried], None, make.setting())).due_at == make.now + 300

    def test_F3_the_rest_of_a_partly_accepted_message_goes_elsewhere_at_once(self, make) -> None:
        lease = make.lease(make.message("a@o", "b@o", "c@o"), since=make.now - 9)
        tried = make.tried(make.took("a@o"), make.said(421, Phase.RCPT, "b@o"))
        settled = settle(lease, [tried], None, make.setting())

        unsent, failed = sorted(settled.settlement.remainders, key=lambda owed: owed.avoid)
        assert (unsent.recipients, unsent.avoid, unsent.due_at) == (make.recipients("c@o"), (), make.now)
        assert (failed.recipients, failed.avoid, failed.due_at) == (make.recipients("b@o"), ("primary",), make.now)
        assert (failed.state, failed.tries, failed.since) == (State.QUEUED, 1, make.now - 9)

    def test_F4_what_was_one_too_many_is_due_at_once_and_no_try(self, make) -> None:
        lease = make.lease(make.message("a@o", "b@o"))
        tried = make.tried(make.took("a@o"), make.said(452, Phase.RCPT, "b@o", enhanced="4.5.3"))
        left = remainder(settle(lease, [tried], None, make.setting()))

        assert (left.tries, left.due_at, left.avoid, left.state) == (0, make.now, (), State.QUEUED)

    def test_F4_if_nobody_was_taken_it_waits(self, make) -> None:
        tried = make.tried(make.said(452, Phase.RCPT, enhanced="4.5.3"))
        left = remainder(settle(make.lease(), [tried], None, make.setting()))

        assert left.tries == 1
        assert left.due_at > make.now + 20

    def test_a_refusal_that_another_provider_may_see_otherwise_is_remembered(self, make) -> None:
        tried = make.tried(make.said(550, Phase.MAIL))
        left = remainder(settle(make.lease(), [tried], over(make, 9), make.setting()))

        assert (left.refused, left.avoid, left.due_at, left.tries) == (("primary",), (), make.now + 9, 1)

    def test_refused_here_and_put_off_there(self, make) -> None:
        """What the first one said is not forgotten, and both together are one attempt."""
        first = make.tried(make.said(550, Phase.MAIL))
        second = make.tried(make.said(450, Phase.RCPT, provider="backup"))
        left = remainder(settle(make.lease(), [first, second], None, make.setting()))

        assert (left.refused, left.avoid, left.tries) == (("primary",), (), 1)

    def test_refused_by_every_provider_it_ends(self, make) -> None:
        first = make.tried(make.said(550, Phase.MAIL))
        second = make.tried(make.said(550, Phase.MAIL, provider="backup", enhanced="5.7.1", text="no"), alone=True)
        settled = settle(make.lease(), [first, second], None, make.setting())

        ended = only(settled.settlement.ended)
        assert (ended.state, ended.provider, ended.reply) == (State.FAILED, "backup", "550 5.7.1 no")
        assert only(settled.notices).kind == "bounce"

    def test_claimed_and_then_found_unusable_is_no_try(self, make) -> None:
        lease = make.lease(tries=2, avoid=("primary",), refused=("third",))
        left = remainder(settle(lease, [], over(make, 30), make.setting()))

        assert (left.tries, left.due_at, left.reason) == (2, make.now + 30, "all are out")
        assert (left.avoid, left.refused, left.lane) == ((), ("third",), "other:1")

    def test_F8_in_a_lane_that_is_shut_it_is_due_as_soon_as_that_opens(self, make) -> None:
        refused = make.tried(make.said(535, Phase.AUTH))
        park = replace(over(make, ahead=60.0), shut=True)
        left = remainder(settle(make.lease(), [refused], park, make.setting()))

        assert (left.state, left.due_at, left.avoid, left.tries) == (State.DEFERRED, make.now, (), 0)

    def test_waiting_for_a_provider_that_paces_us_is_the_same_round(self, make) -> None:
        lease = make.lease(since=make.now - 30, avoid=("x",))
        unsent = remainder(settle(lease, [], paced(make), make.setting()))
        throttled = remainder(settle(lease, [make.tried(make.said(432, Phase.MAIL))], paced(make), make.setting()))

        for left in (unsent, throttled):
            assert (left.since, left.avoid, left.due_at) == (make.now - 30, ("x",), make.now + 5)
        assert (unsent.tries, throttled.tries) == (0, 1)

    def test_parking_is_told_once_for_each_reason(self, make) -> None:
        first = settle(make.lease(), [], over(make, 30), make.setting()).settlement
        again = settle(make.lease(reason="all are out"), [], over(make, 30), make.setting()).settlement

        assert [e.kind for e in first.events] == ["parked"]
        assert again.events == ()

    def test_a_failover_is_in_the_timeline(self, make) -> None:
        tried = make.tried(make.took(provider="backup"))
        tried = replace(tried, send=replace(tried.send, failed_over_from="primary", reason="circuit open"))
        events = settle(make.lease(), [tried], None, make.setting()).settlement.events

        assert (events[0].kind, events[0].detail) == ("failover", "instead of primary: circuit open")


class TestUncertain:
    @pytest.mark.parametrize(
        ("policy", "state", "pin"),
        [
            (Uncertain.RETRY_SAME, State.DEFERRED, "primary"),
            (Uncertain.FAILOVER, State.DEFERRED, ""),
            (Uncertain.HOLD, State.HELD, ""),
        ],
    )
    def test_F2_lost_after_the_dot(self, make, policy: Uncertain, state: State, pin: str) -> None:
        settled = settle(make.lease(), [make.tried(make.said(0, Phase.DOT))], None, make.setting(uncertain=policy))

        left = remainder(settled)
        assert (left.state, left.pin, left.tries, left.avoid) == (state, pin, 1, ())
        assert left.lane == (pinned_lane("default:1", pin) if pin else "default:1")
        assert "may have been delivered" in left.reason
        assert only(settled.settlement.events).detail.startswith("uncertain")
        if state is State.HELD:
            assert left.deadline == NEVER

    def test_a_pin_by_an_operator_stays(self, make) -> None:
        tried = make.tried(make.said(0, Phase.DOT))

        assert remainder(settle(make.lease(pin="chosen"), [tried], None, make.setting())).pin == "chosen"


class TestTime:
    def put_off(self, make):
        return [make.tried(make.said(450, Phase.RCPT, text="busy"))]

    def test_the_delay_is_warned_about_once(self, make) -> None:
        settled = settle(late(make, 5 * HOUR), self.put_off(make), None, make.setting())
        left = remainder(settled)

        assert left.warned
        assert only(settled.notices).kind == "delay"
        assert settled.settlement.events[-1].kind == "warned"
        assert left.deadline == make.now + 5 * DAY - 5 * HOUR
        again = settle(late(make, 6 * HOUR, warned=True), self.put_off(make), None, make.setting())
        assert again.notices == ()

    def test_it_expires_after_a_failed_attempt(self, make) -> None:
        settled = settle(late(make, 5 * DAY, tries=9), self.put_off(make), None, make.setting())

        ended = only(settled.settlement.ended)
        assert (ended.state, ended.reply) == (State.EXPIRED, "450 busy")
        assert settled.settlement.remainders == ()
        notice = only(settled.notices)
        assert (notice.kind, only(notice.fates).status) == ("bounce", "4.4.7")
        assert {"expired", "bounced"} <= {e.kind for e in settled.settlement.events}

    def test_C7_a_suspended_provider_does_not_stop_the_clocks(self, make) -> None:
        warned = settle(late(make, 5 * HOUR), [], over(make, 30), make.setting())
        expired = settle(late(make, 5 * DAY), [], over(make, 30), make.setting())

        assert only(warned.notices).kind == "delay"
        assert only(expired.settlement.ended).reply == "all are out"

    @pytest.mark.parametrize("park", [None, "paced"])
    def test_without_a_failed_attempt_nothing_expires(self, make, park: str | None) -> None:
        settled = settle(late(make, 9 * DAY, tries=9), [], paced(make) if park else None, make.setting())

        assert remainder(settled).deadline == make.now + RECHECK
        assert settled.notices == ()

    def test_G7_a_clock_step_expires_nothing(self, make) -> None:
        settled = settle(late(make, 365 * DAY), self.put_off(make), None, make.setting(uptime=299.0))

        left = remainder(settled)
        assert (left.warned, left.deadline, settled.notices) == (False, make.now + RECHECK, ())
        expired = settle(late(make, 365 * DAY, tries=2), self.put_off(make), None, make.setting(uptime=0.0))
        assert only(expired.settlement.ended).state is State.EXPIRED

    def test_expiry_and_delivery_in_one(self, make) -> None:
        lease = make.lease(make.message("a@o", "b@o", received_at=make.now - 6 * DAY))
        tried = make.tried(make.took("a@o"), make.said(450, Phase.RCPT, "b@o"))
        settled = settle(lease, [tried], None, make.setting())

        assert [e.state for e in settled.settlement.ended] == [State.ACCEPTED, State.EXPIRED]


class TestNotices:
    def bounced(self, make, *, bounces: BouncePolicy | None = None, **message):
        recipient = Recipient(address="b@o", notify=message.pop("notify", ""))
        lease = make.lease(make.message(recipient, **message))
        tried = make.tried(make.said(550, Phase.RCPT, recipient))
        settled = settle(lease, [tried], None, make.setting(bounces=bounces))
        assert only(settled.settlement.ended).state is State.FAILED
        return settled

    def test_E2_nothing_is_sent_to_the_null_sender(self, make) -> None:
        assert self.bounced(make, sender="").notices == ()

    def test_E2_a_notice_gets_no_notice(self, make) -> None:
        settled = self.bounced(make, sender="x@y", source=Source(kind="notice"))

        assert settled.notices == ()
        assert all(event.kind != "bounced" for event in settled.settlement.events)

    def test_mail_by_http_gets_none(self, make) -> None:
        assert self.bounced(make, source=Source(kind="http")).notices == ()

    def test_bounces_can_be_switched_off(self, make) -> None:
        assert self.bounced(make, bounces=BouncePolicy(send=False)).notices == ()

    @pytest.mark.parametrize(
        ("notify", "bounce", "delay"),
        [
            ("", True, True),
            ("NEVER", False, False),
            ("FAILURE", True, False),
            ("DELAY", False, True),
            ("success,failure", True, False),
            ("SUCCESS", False, False),
            ("FAILURE,DELAY", True, True),
        ],
    )
    def test_notify_decides(self, make, notify: str, bounce: bool, delay: bool) -> None:
        assert bool(self.bounced(make, notify=notify).notices) is bounce
        recipient = Recipient(address="b@o", notify=notify)
        lease = make.lease(make.message(recipient, received_at=make.now - 5 * HOUR))
        put_off = make.tried(make.said(450, Phase.RCPT, recipient))
        settled = settle(lease, [put_off], None, make.setting())
        assert bool(settled.notices) is delay
        assert remainder(settled).warned  # judged, once, whoever was told

    @pytest.mark.parametrize(
        ("notify", "dsn", "told"),
        [("SUCCESS", False, True), ("SUCCESS", True, False), ("", False, False), ("FAILURE", False, False)],
    )
    def test_relayed_is_reported_if_the_upstream_will_not(self, make, notify: str, dsn: bool, told: bool) -> None:
        recipient = Recipient(address="b@o", notify=notify)
        tried = make.tried(make.took(recipient, dsn=dsn))
        settled = settle(make.lease(make.message(recipient)), [tried], None, make.setting())

        assert [notice.kind for notice in settled.notices] == (["relayed"] if told else [])

    def test_one_notice_for_all_that_failed(self, make) -> None:
        never = Recipient(address="c@o", notify="NEVER")
        lease = make.lease(make.message("a@o", "b@o", never))
        tried = make.tried(*(make.said(550, Phase.RCPT, r) for r in make.recipients("a@o", "b@o", never)))
        notice = only(settle(lease, [tried], None, make.setting()).notices)

        assert [fate.recipient.address for fate in notice.fates] == ["a@o", "b@o"]


class TestCrash:
    def test_the_third_internal_error_holds_it(self, make) -> None:
        lease, seen = make.lease(), []
        for _ in range(3):
            settled = crashed(lease, "KeyError in choose", make.setting())
            left = remainder(settled)
            seen.append((left.crashes, left.state, only(settled.settlement.events).kind))
            assert left.due_at > make.now + 20
            lease = replace(lease, entry=replace(lease.entry, owed=left))

        assert seen == [(1, State.DEFERRED, "crashed"), (2, State.DEFERRED, "crashed"), (3, State.HELD, "held")]
        assert left.tries == 0
        assert left.deadline == NEVER

    def test_what_was_handed_over_before_is_not_sent_again(self, make) -> None:
        lease = make.lease(make.message("a@o", "b@o"))
        settled = crashed(
            lease, "bug", make.setting(), [make.tried(make.took("a@o"), make.said(450, Phase.RCPT, "b@o"))]
        )

        assert only(settled.settlement.ended).recipient.address == "a@o"
        assert remainder(settled).recipients == make.recipients("b@o")

    def test_a_body_that_is_gone_holds_it(self, make) -> None:
        settled = held(make.lease(), "the body is damaged", make.setting())

        assert (remainder(settled).state, remainder(settled).reason) == (State.HELD, "the body is damaged")


PHASES = st.sampled_from(list(Phase))
CODES = st.sampled_from([0, 0, 250, 250, 354, 421, 432, 450, 451, 452, 454, 530, 535, 550, 552, 553, 554])
ENHANCED = st.sampled_from(["", "4.5.3", "5.3.4", "5.4.5", "5.7.60"])
REPLIES = st.tuples(CODES, PHASES, ENHANCED)


@given(
    rounds=st.lists(st.dictionaries(st.integers(0, 6), REPLIES, min_size=1), max_size=4),
    park=st.sampled_from(["none", "over", "paced"]),
    uncertain=st.sampled_from(list(Uncertain)),
    age=st.sampled_from([0.0, 5 * HOUR, 6 * DAY]),
    tries=st.integers(0, 4),
    alone=st.booleans(),
)
def test_conservation(make, rounds, park, uncertain, age, tries, alone) -> None:
    """claimed = handed over + failed for good + still owed; what is owed is due at a time that does not spin."""
    addresses = [f"{n}@o" for n in range(7)]
    lease = make.lease(make.message(*addresses, received_at=make.now - age), tries=tries)
    transactions = [
        make.tried(
            *(
                make.took(addresses[n], "p")
                if code == 250
                else make.said(code, phase, addresses[n], provider="p", enhanced=enhanced)
                for n, (code, phase, enhanced) in replies.items()
            ),
            alone=alone,
        )
        for replies in rounds
    ]
    parked = {"none": None, "over": over(make, 5), "paced": paced(make)}[park]
    settled = settle(lease, transactions, parked, make.setting(uncertain=uncertain))

    left = [r.address for owed in settled.settlement.remainders for r in owed.recipients]
    ended = [e.recipient.address for e in settled.settlement.ended]
    assert sorted(left + ended) == addresses
    last = {o.recipient.address: o for one in transactions for o in one.outcomes}
    handed_over = {e.recipient.address for e in settled.settlement.ended if e.state is State.ACCEPTED}
    assert handed_over == {a for a, o in last.items() if o.verdict is Verdict.ACCEPTED}
    for owed in settled.settlement.remainders:
        assert owed.tries in (tries, tries + 1)
        assert owed.state in (State.QUEUED, State.DEFERRED, State.HELD)
        assert owed.state is State.QUEUED or owed.state is State.HELD or owed.due_at >= make.now + 1
        assert owed.deadline > make.now
