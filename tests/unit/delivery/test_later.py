"""Mail for later: where it is laid, and from when on it is late."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from relay.delivery import settle
from relay.delivery.notices import DELAY
from relay.delivery.retry import begun, deadline
from relay.model import Phase, State

DAY = 86400.0
WARN = 4 * 3600.0


def test_it_is_scheduled_and_never_ready(make) -> None:
    submission = replace(make.submission(), due_at=make.now + DAY)
    (berth,) = make.dispatcher(make.provider()).place(submission)

    assert (berth.state, berth.ready, berth.due_at) == (State.SCHEDULED, False, make.now + DAY)
    assert berth.deadline == make.now + DAY + WARN


@pytest.mark.parametrize("due", [0.0, -5.0])
def test_a_time_that_has_come_is_now(make, due) -> None:
    submission = replace(make.submission(), due_at=make.now + due)
    (berth,) = make.dispatcher(make.provider()).place(submission)

    assert (berth.state, berth.ready, berth.due_at) == (State.QUEUED, True, 0.0)


def test_no_deadline_comes_before_it_is_due(make) -> None:
    message = replace(make.message(), expires_at=make.now + 60)
    submission = replace(make.submission(message), due_at=make.now + DAY)
    (berth,) = make.dispatcher(make.provider()).place(submission)

    assert berth.deadline == make.now + DAY


def test_without_a_provider_it_is_captured(make) -> None:
    submission = replace(make.submission(), due_at=make.now + DAY)
    (berth,) = make.dispatcher(capture=True).place(submission)

    assert (berth.state, berth.due_at) == (State.CAPTURED, 0.0)


@pytest.mark.parametrize(("late", "warned"), [(WARN - 1, False), (WARN + 1, True)])
def test_its_sender_is_warned_by_the_time_since_it_was_due(make, late, warned) -> None:
    due = make.now + DAY
    message = replace(make.message(), expires_at=due + 5 * DAY)
    lease = make.lease(message, begun=due, tries=3)
    deferred = make.said(451, Phase.RCPT, text="later")
    settled = settle.settle(lease, [make.tried(deferred)], None, make.setting(now=due + late))

    (remainder,) = settled.settlement.remainders
    assert remainder.warned is warned
    assert [notice.kind for notice in settled.notices] == ([DELAY] if warned else [])
    assert remainder.begun == due
    assert remainder.deadline == (message.expires_at if warned else due + WARN)


def test_other_mail_is_late_from_when_it_came(make) -> None:
    message = make.message()
    owed = make.lease(message).entry.owed

    assert begun(message, owed) == message.received_at
    assert deadline(message, owed, make.setting().policy.retry, make.now) == message.received_at + WARN
