"""The judge itself: each kind of fault is seen, and nothing else is called one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from proof.oracle import UNDER_WAY, Cut, Kind, Law, Outcome, Sent, Taken, as_of, judge

SENT = Sent(
    id="m1",
    sender="m1@app.test",
    recipients=("m1-0@a.test", "m1-1@b.test"),
    sha256="abc",
    outcome=Outcome.ACKED,
    began=10.0,
    ended=11.0,
)
TO_A = Taken(
    port=1, opened=12.0, at=13.0, sender="m1@app.test", recipients=("m1-0@a.test",), sha256="abc", answered="250 ok"
)
TO_B = replace(TO_A, port=2, recipients=("m1-1@b.test",))
LAW = Law(ports=lambda recipient: {1} if recipient.endswith("@a.test") else {2})


def kinds(*taken: Taken, sent: Sent = SENT, law: Law = LAW, cuts: tuple[Cut, ...] = ()) -> list[Kind]:
    return [fault.kind for fault in judge([sent], taken, law, cuts).faults]


def test_each_recipient_once_is_clean() -> None:
    verdict = judge([SENT], [TO_A, TO_B], LAW)
    assert verdict.clean
    assert (verdict.deliveries, verdict.transactions, verdict.excused, verdict.notices) == (2, 2, 0, 0)
    assert verdict.outcomes == {Outcome.ACKED: 1}


def test_acknowledged_and_never_delivered_is_lost() -> None:
    assert kinds(TO_A) == [Kind.LOST]
    assert kinds() == [Kind.LOST, Kind.LOST]


def test_a_delivery_the_upstream_refused_does_not_count() -> None:
    assert kinds(TO_A, replace(TO_B, answered="550 5.1.1 no")) == [Kind.LOST]


@pytest.mark.parametrize("outcome", [Outcome.NACKED, Outcome.UNKNOWN])
def test_what_was_not_acknowledged_need_not_arrive(outcome: Outcome) -> None:
    assert kinds(sent=replace(SENT, outcome=outcome)) == []


def test_refused_yet_delivered_is_a_ghost_unknown_is_not() -> None:
    assert kinds(TO_A, sent=replace(SENT, outcome=Outcome.NACKED)) == [Kind.GHOST]
    assert kinds(TO_A, TO_B, sent=replace(SENT, outcome=Outcome.UNKNOWN)) == []


def test_refused_yet_given_up_is_a_ghost_as_well() -> None:
    law = replace(LAW, dead={"m1-1@b.test"})
    assert kinds(NOTICE, sent=replace(SENT, outcome=Outcome.NACKED), law=law) == [Kind.GHOST]
    assert kinds(NOTICE, sent=replace(SENT, outcome=Outcome.UNKNOWN), law=law) == []


def test_dead_lettered_is_not_lost() -> None:
    law = replace(LAW, dead={"m1-1@b.test"})
    notice = replace(TO_A, port=3, sender="", recipients=("m1@app.test",), sha256="other")
    verdict = judge([SENT], [TO_A, notice], law)
    assert verdict.clean
    assert verdict.notices == 1


def test_a_notice_without_a_failure_is_forged() -> None:
    notice = replace(TO_A, sender="", recipients=("m1@app.test",))
    assert kinds(TO_A, TO_B, notice) == [Kind.FORGED]


NOTICE = replace(TO_A, port=3, sender="", recipients=("m1@app.test",), sha256="other")


def test_a_sender_is_told_once_of_each_failure() -> None:
    law, again = replace(LAW, dead={"m1-1@b.test"}), replace(NOTICE, opened=21.0, at=22.0)
    assert kinds(TO_A, NOTICE, again, law=law) == [Kind.DUP]
    assert kinds(TO_A, replace(NOTICE, answered=None), again, law=law) == []
    assert kinds(TO_A, NOTICE, again, law=law, cuts=(Cut(at=14.0, recorded=()),)) == []
    assert kinds(TO_A, NOTICE, again, law=law, cuts=(Cut(at=14.0, recorded={"m1@app.test"}),)) == [Kind.DUP]


def test_of_two_failures_a_sender_may_be_told_twice() -> None:
    law, again = replace(LAW, dead=set(SENT.recipients)), replace(NOTICE, opened=21.0, at=22.0)
    third = replace(NOTICE, opened=31.0, at=32.0)
    assert kinds(NOTICE, again, law=law) == []
    assert kinds(NOTICE, again, third, law=law) == [Kind.DUP]
    assert kinds(NOTICE, again, third, law=law, cuts=(Cut(at=23.0, recorded={"m1@app.test"}),)) == []
    both = (NOTICE, replace(NOTICE, at=13.5), again, replace(again, at=22.5))
    assert kinds(*both, law=law, cuts=(Cut(at=14.0, recorded=()),)) == [], "the two of one life come again in the next"
    assert kinds(*both, replace(again, at=23.0), law=law, cuts=(Cut(at=14.0, recorded=()),)) == [Kind.DUP]


def test_a_notice_to_two_senders_is_forged() -> None:
    other = replace(SENT, id="m2", sender="m2@app.test", recipients=("m2-0@a.test",))
    law = replace(LAW, dead={"m1-1@b.test", "m2-0@a.test"})
    both = replace(NOTICE, recipients=("m1@app.test", "m2@app.test"))
    assert {fault.kind for fault in judge([SENT, other], [TO_A, both], law).faults} == {Kind.FORGED}


def test_failed_and_delivered_is_forged_unless_the_answer_was_cut() -> None:
    law = replace(LAW, dead={"m1-1@b.test"})
    assert kinds(TO_A, TO_B, law=law) == [Kind.FORGED]
    assert kinds(TO_A, replace(TO_B, answered=None), law=law) == []


def test_what_nobody_sent_is_forged() -> None:
    assert kinds(TO_A, TO_B, replace(TO_A, recipients=("x@evil.test",))) == [Kind.FORGED]
    assert kinds(replace(TO_A, sender="x@evil.test"), TO_B) == [Kind.FORGED]
    other = replace(SENT, id="m2", sender="m2@app.test", recipients=("m2-0@a.test",))
    both = replace(TO_A, recipients=("m1-0@a.test", "m2-0@a.test"))
    assert {fault.kind for fault in judge([SENT, other], [both, TO_B], LAW).faults} == {Kind.FORGED}


def test_other_bytes_are_corrupt() -> None:
    assert kinds(replace(TO_A, sha256="abd"), TO_B) == [Kind.CORRUPT]


FRONT = b"Received: from app.test ([127.0.0.1])\r\n\tby us;\r\n\tSat, 21 Nov 2026 10:00:00 +0000\r\nDate: x\r\n"


@pytest.mark.parametrize("front", [b"", b"X: y\r\n" + FRONT, FRONT * 2, FRONT + b"X: y\r\n", FRONT[:-2]])
def test_something_else_than_our_headers_in_front_is_corrupt(front: bytes) -> None:
    assert kinds(replace(TO_A, front=FRONT), TO_B) == []
    assert kinds(replace(TO_A, front=front), TO_B) == [Kind.CORRUPT]
    small = replace(SENT, recipients=("m1-0@a.test",), content=b"x\r\n")
    assert kinds(replace(TO_A, content=front + b"x\r\n"), sent=small) == [Kind.CORRUPT]


def test_content_without_a_mark_is_compared_behind_our_headers() -> None:
    small = replace(SENT, recipients=("m1-0@a.test",), content=b"no headers\r\n")
    assert kinds(replace(TO_A, content=FRONT + b"\r\nno headers\r\n"), sent=small) == []
    assert kinds(replace(TO_A, content=FRONT + b"\r\nno header\r\n"), sent=small) == [Kind.CORRUPT]
    assert kinds(TO_A, sent=small) == [Kind.CORRUPT]


def test_the_wrong_provider_is_misrouted() -> None:
    assert kinds(replace(TO_A, port=2), TO_B) == [Kind.MISROUTED]


AGAIN = replace(TO_A, opened=21.0, at=22.0)


def test_twice_is_a_duplicate() -> None:
    assert kinds(TO_A, AGAIN, TO_B) == [Kind.DUP]
    assert kinds(replace(TO_A, recipients=("m1-0@a.test",) * 2), TO_B) == [Kind.DUP]


def test_twice_is_excused_when_the_upstream_cut_the_first() -> None:
    verdict = judge([SENT], [replace(TO_A, answered=None), AGAIN, TO_B], LAW)
    assert verdict.clean
    assert verdict.excused == 1


def test_what_was_cut_on_a_newer_connection_may_come_again_on_an_older_one() -> None:
    vanished = replace(TO_A, opened=20.0, at=22.0, answered=None)
    again = replace(TO_A, opened=12.0, at=23.0)
    assert kinds(vanished, again, TO_B) == []
    assert kinds(vanished, replace(again, at=21.0), TO_B) == [Kind.DUP]  # it was answered before


def test_the_last_words_of_a_killed_relay_may_be_recorded_after_its_successors_first() -> None:
    last_words = replace(TO_A, at=22.5)
    assert kinds(last_words, AGAIN, TO_B, cuts=(Cut(at=20.0, recorded=()),)) == []
    assert kinds(last_words, AGAIN, TO_B, cuts=(Cut(at=20.0, recorded={"m1-0@a.test"}),)) == [Kind.DUP]


@pytest.mark.parametrize(
    ("cut", "excused"),
    [
        (Cut(at=14.0, recorded=()), True),
        (Cut(at=14.0, recorded={"m1-0@a.test"}), False),  # it knew, and sent it again
        (Cut(at=18.1, recorded=()), False),  # it had five seconds to record it
        (Cut(at=11.0, recorded=()), False),  # cut before the first was sent
        (Cut(at=21.5, recorded=()), False),  # cut after the second was under way
    ],
)
def test_twice_is_excused_by_a_cut_between_dot_and_record(cut: Cut, excused: bool) -> None:
    assert kinds(TO_A, AGAIN, TO_B, cuts=(cut,)) == ([] if excused else [Kind.DUP])


def test_three_times_needs_two_cuts() -> None:
    third = replace(TO_A, opened=31.0, at=32.0)
    cuts = (Cut(at=14.0, recorded=()), Cut(at=23.0, recorded=()))
    assert kinds(TO_A, AGAIN, third, TO_B, cuts=cuts) == []
    assert kinds(TO_A, AGAIN, third, TO_B, cuts=cuts[:1]) == [Kind.DUP]


@pytest.mark.parametrize(("many", "found"), [(UNDER_WAY, []), (UNDER_WAY + 1, [Kind.DUP])])
def test_a_kill_excuses_no_more_than_can_have_been_under_way(many: int, found: list[Kind]) -> None:
    """Each of them is excused by itself: a relay that records after seconds, and is killed, has nothing but excuses."""
    recipients = tuple(f"m1-{n}@a.test" for n in range(many))
    sent = replace(SENT, recipients=recipients)
    twice = [replace(one, recipients=(each,)) for each in recipients for one in (TO_A, AGAIN)]
    verdict = judge([sent], twice, LAW, (Cut(at=14.0, recorded=()),))
    assert [fault.kind for fault in verdict.faults] == found
    assert verdict.excused == many


def test_the_ledger_as_of_a_moment() -> None:
    assert as_of([SENT], 11.0) == [SENT]
    assert as_of([SENT], 10.5) == [replace(SENT, outcome=Outcome.UNKNOWN)]
    assert as_of([SENT], 9.9) == []


def test_a_verdict_says_what_it_found() -> None:
    text = str(judge([SENT], [TO_A], LAW))
    assert "1 acked" in text
    assert "1 LOST" in text
    assert "LOST m1 to m1-1@b.test: acknowledged at 11.000, never delivered" in text
