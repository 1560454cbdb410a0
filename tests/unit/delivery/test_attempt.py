"""What follows from one outcome: whether it may go elsewhere now, whether it was a try, what to ask next."""

from __future__ import annotations

import pytest

from relay.delivery.attempt import counts, moves_on
from relay.model import Phase


@pytest.mark.parametrize(
    ("code", "phase", "enhanced", "tries", "moves"),
    [
        (0, Phase.CONNECT, "", 0, True),
        (421, Phase.DOT, "", 0, True),
        (535, Phase.AUTH, "", 0, True),
        (451, Phase.MAIL, "", 0, True),
        (432, Phase.MAIL, "4.3.2", 0, True),  # where to, and when, is the dispatcher's to say
        (550, Phase.DOT, "5.4.5", 0, True),
        (450, Phase.RCPT, "", 9, False),
        (452, Phase.RCPT, "4.5.3", 9, False),
        (451, Phase.DOT, "", 0, False),
        (451, Phase.DOT, "", 1, False),
        (451, Phase.DOT, "", 2, True),  # from the third try
        (451, Phase.DATA, "", 2, True),
        (0, Phase.DOT, "", 9, False),  # UNCERTAIN
        (552, Phase.DOT, "5.3.4", 0, True),
        (550, Phase.MAIL, "", 0, True),
        (550, Phase.RCPT, "", 0, False),
        (554, Phase.DOT, "5.7.1", 0, False),
    ],
)
def test_what_may_go_elsewhere(make, code: int, phase: Phase, enhanced: str, tries: int, moves: bool) -> None:
    assert moves_on(make.said(code, phase, enhanced=enhanced), False, tries) is moves


def test_a_refusal_by_the_last_provider_is_final(make) -> None:
    assert not moves_on(make.said(550, Phase.MAIL), True, 0)
    assert moves_on(make.said(451, Phase.MAIL), True, 0)  # a deferral is not: it is parked


def test_what_was_accepted_stays_accepted(make) -> None:
    assert not moves_on(make.took(), False, 9)


@pytest.mark.parametrize(
    ("code", "phase", "counted"),
    [
        (0, Phase.CONNECT, False),
        (421, Phase.BANNER, False),
        (535, Phase.AUTH, False),
        (0, Phase.MAIL, False),
        (0, Phase.BODY, False),
        (451, Phase.MAIL, True),
        (450, Phase.RCPT, True),
        (451, Phase.DATA, True),
        (451, Phase.DOT, True),
        (0, Phase.DOT, True),
    ],
)
def test_only_a_reply_to_this_message_or_uncertainty_is_a_try(make, code: int, phase: Phase, counted: bool) -> None:
    assert counts(make.said(code, phase)) is counted


def test_after_a_failure_of_the_provider_the_next_one_is_asked_for_all(make) -> None:
    attempt = make.attempt(make.message("b@o", "c@o"))
    after = attempt.after(make.tried(make.said(0, Phase.CONNECT, "b@o"), make.said(0, Phase.CONNECT, "c@o")))

    assert after is not None
    assert (after.pending, after.avoid, after.refused) == (attempt.pending, ("primary",), ())


def test_after_a_refusal_the_provider_is_remembered_as_having_refused(make) -> None:
    after = make.attempt().after(make.tried(make.said(550, Phase.MAIL)))

    assert (after.avoid, after.refused) == ((), ("primary",))


def test_a_throttled_provider_is_not_avoided_but_waited_for(make) -> None:
    after = make.attempt().after(make.tried(make.said(432, Phase.MAIL)))

    assert (after.avoid, after.refused) == ((), ())


def test_who_is_finished_does_not_go_elsewhere_with_the_others(make) -> None:
    attempt = make.attempt(make.message("b@o", "c@o", "d@o"))
    after = attempt.after(make.tried(make.said(550, Phase.RCPT, "b@o"), make.said(421, Phase.RCPT, "c@o")))

    assert [r.address for r in after.pending] == ["c@o", "d@o"]  # d@o was split off and is still to do


def test_F3_what_was_taken_is_settled_before_anything_else(make) -> None:
    attempt = make.attempt(make.message("b@o", "c@o"))

    assert attempt.after(make.tried(make.took("b@o"), make.said(421, Phase.RCPT, "c@o"))) is None


def test_F2_uncertainty_is_settled_before_anything_else(make) -> None:
    attempt = make.attempt(make.message("b@o", "c@o"))

    assert attempt.after(make.tried(make.said(0, Phase.DOT, "b@o"), make.said(421, Phase.RCPT, "c@o"))) is None


def test_nothing_left_to_move_is_settled(make) -> None:
    assert make.attempt().after(make.tried(make.said(450, Phase.RCPT))) is None
