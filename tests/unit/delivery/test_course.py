"""Dispatcher, attempts and settlements together, against upstreams that misbehave, on a clock that only the test moves.

The worker's loop without its I/O: nothing is lost, nothing spins, nothing is sent twice that was taken.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import Phase as Stage
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from relay.delivery.attempt import Attempt, Send
from relay.delivery.settle import settle
from relay.model import Lease, Limits, Phase, QueueEntry, State

MOST_STEPS = 3000


class Course:
    """A queue of entries, a dispatcher, and upstreams that answer as `answers` says."""

    def __init__(self, make, providers, answers, seed: int = 1) -> None:
        self.make, self.answers, self.rng = make, answers, Random(seed)
        self.dispatcher = make.dispatcher(*providers)
        self.now = make.now
        self.entries: list[QueueEntry] = []
        self.states: dict[str, State] = {}
        self.taken: Counter[str] = Counter()
        self.sent: list[tuple[float, str, int]] = []
        self.steps = 0

    def add(self, *addresses: str) -> None:
        message = self.make.message(*addresses, received_at=self.now, id=f"m{len(self.entries)}")
        (berth,) = self.dispatcher.place(self.make.submission(message))
        owed = self.make.lease(message, lane=berth.lane, since=self.now, due_at=self.now)
        owed = replace(owed.entry.owed, deadline=berth.deadline)
        self.entries.append(QueueEntry(id=len(self.entries), message=message, owed=owed))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.entries and self.now < end:
            self.probe()
            if not self.claim():
                self.now = min(end, self.next_moment())

    def next_moment(self) -> float:
        moments = [entry.owed.due_at for entry in self.entries] + [self.dispatcher.next_probe() or 0.0]
        moments.append(self.dispatcher.wakes_at(self.now) or 0.0)
        return min((moment for moment in moments if moment > self.now), default=self.now + 60)

    def probe(self) -> None:
        for provider in self.dispatcher.probes_due(self.now):
            code, phase = self.answers(self, provider.name)
            well = phase not in (Phase.CONNECT, Phase.AUTH)
            outcome = None if well else self.make.said(code, phase, provider=provider.name)
            self.dispatcher.probed(provider, outcome, self.now)

    def claim(self) -> bool:
        """Handle one due entry whose lane has room."""
        room = self.dispatcher.appetite(self.now).room
        for entry in self.entries:
            due = entry.owed.due_at <= self.now and room.get(entry.owed.lane.partition(":")[0], 1) > 0
            if entry.owed.state is not State.HELD and (due or entry.owed.deadline <= self.now):
                self.entries.remove(entry)
                self.handle(entry)
                return True
        return False

    def handle(self, entry: QueueEntry) -> None:
        self.steps += 1
        assert self.steps < MOST_STEPS, "it spins"
        attempt, tried, park = Attempt.begin(entry), [], None
        while attempt is not None:
            step = self.dispatcher.choose(attempt, self.now)
            if not isinstance(step, Send):
                park = step
                break
            tried.append(self.dispatcher.finished(step, self.answer(step), self.now))
            attempt = attempt.after(tried[-1])
            assert len(tried) < 9, "an attempt does not end"
        settled = settle(Lease(token=1, entry=entry), tried, park, self.make.setting(now=self.now)).settlement
        for ended in settled.ended:
            assert ended.recipient.address not in self.states, "ended twice"
            self.states[ended.recipient.address] = ended.state
        self.entries += [replace(entry, owed=owed) for owed in settled.remainders]

    def answer(self, send: Send):
        code, phase = self.answers(self, send.provider)
        if code == 250:
            self.sent.append((self.now, send.provider, len(send.recipients)))
            self.taken.update(r.address for r in send.recipients)
            return [self.make.took(r, send.provider) for r in send.recipients]
        return [self.make.said(code, phase, r, provider=send.provider) for r in send.recipients]


def well(course: Course, provider: str) -> tuple[int, Phase]:
    return 250, Phase.DOT


ANSWERS = [
    (250, Phase.DOT),
    (0, Phase.CONNECT),
    (421, Phase.MAIL),
    (0, Phase.MAIL),
    (432, Phase.MAIL),
    (451, Phase.MAIL),
    (550, Phase.MAIL),
    (450, Phase.RCPT),
    (452, Phase.RCPT),
    (550, Phase.RCPT),
    (451, Phase.DOT),
    (552, Phase.DOT),
    (535, Phase.AUTH),
    (454, Phase.AUTH),
]


@given(
    likely=st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=5),
    priorities=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    limits=st.sampled_from([Limits(), Limits(recipients=1), Limits(per_minute=3), Limits(connections=1, per_day=9)]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=15, deadline=None, phases=[Stage.explicit, Stage.reuse, Stage.generate])
def test_nothing_is_lost_whatever_the_upstreams_do(make, likely, priorities, limits, seed) -> None:
    providers = [make.provider(f"p{n}", priority=p, limits=limits) for n, p in enumerate(priorities)]
    course = Course(make, providers, lambda course, _: course.rng.choice(likely), seed)
    everybody = [f"{n}-{m}@o" for n in range(4) for m in range(2)]
    for n in range(4):
        course.add(*everybody[2 * n : 2 * n + 2])
    course.run(6 * 86400)

    waiting = [r.address for entry in course.entries for r in entry.owed.recipients]
    assert sorted([*course.states, *waiting]) == sorted(everybody)
    assert all(count == 1 for count in course.taken.values())
    assert {address for address, state in course.states.items() if state is State.ACCEPTED} == set(course.taken)


@pytest.mark.parametrize("trouble", [(0, Phase.CONNECT), (535, Phase.AUTH), (432, Phase.MAIL), (451, Phase.MAIL)])
def test_F8_after_a_day_of_trouble_everything_is_delivered_within_the_longest_wait(make, trouble) -> None:
    heals = make.now + 86400
    course = Course(make, [make.provider()], lambda course, name: trouble if course.now < heals else well(course, name))
    for n in range(20):
        course.add(f"{n}@o")
    course.run(86400)
    assert course.states == {}

    course.run(2 * 3600)
    assert Counter(course.states.values()) == {State.ACCEPTED: 20}


def test_F8_mail_that_never_got_to_a_dead_provider_costs_nothing(make) -> None:
    """Its lane gets no room: it stays due and in order, nobody writes about it."""
    course = Course(make, [make.provider()], lambda course, name: (0, Phase.CONNECT))
    course.add("first@o")
    course.run(120)
    while course.dispatcher.appetite(course.now).room["default"]:
        course.run(30)
    steps = course.steps
    for n in range(50):
        course.add(f"{n}@o")
    course.run(3600)

    assert course.steps == steps


def test_F9_a_limit_of_so_many_a_minute_is_kept_and_used(make) -> None:
    course = Course(make, [make.provider(limits=Limits(per_minute=10))], well)
    for n in range(50):
        course.add(f"{n}@o")
    course.run(3600)

    times = [at for at, _, _ in course.sent]
    assert len(times) == 50
    assert all(sum(start <= at < start + 60 for at in times) <= 10 for start in times)
    assert times[-1] - times[0] <= 260


def test_behind_a_limit_mail_waits_a_minute_then_goes_elsewhere(make) -> None:
    providers = [make.provider("small", limits=Limits(per_minute=1)), make.provider("large", priority=2)]
    course = Course(make, providers, well)
    for n in range(10):
        course.add(f"{n}@o")
    course.run(600)

    first_elsewhere = min(at for at, provider, _ in course.sent if provider == "large")
    assert first_elsewhere == make.now + 60
    assert len(course.sent) == 10
    assert course.now <= make.now + 61


def test_C7_a_suspended_provider_neither_gets_nor_bounces_mail(make) -> None:
    answers = lambda course, name: (535, Phase.AUTH) if name == "first" else well(course, name)  # noqa: E731
    course = Course(make, [make.provider("first"), make.provider("second", priority=2)], answers)
    for n in range(5):
        course.add(f"{n}@o")
    course.run(60)

    assert [provider for _, provider, _ in course.sent] == ["second"] * 5
    assert set(course.states.values()) == {State.ACCEPTED}


def test_refused_as_sender_everywhere_it_fails_after_each_was_asked_once(make) -> None:
    asked: Counter[str] = Counter()

    def answers(course: Course, name: str) -> tuple[int, Phase]:
        asked[name] += 1
        return 550, Phase.MAIL

    course = Course(make, [make.provider(f"p{n}", priority=n) for n in range(3)], answers)
    course.add("b@o")
    course.run(60)

    assert course.states == {"b@o": State.FAILED}
    assert asked == {"p0": 1, "p1": 1, "p2": 1}


def test_a_refusal_does_not_bounce_while_the_provider_that_may_take_it_is_down(make) -> None:
    back = make.now + 3600

    def answers(course: Course, name: str) -> tuple[int, Phase]:
        if name == "picky":
            return 550, Phase.MAIL
        return (0, Phase.CONNECT) if course.now < back else well(course, name)

    course = Course(make, [make.provider("proper"), make.provider("picky", priority=2)], answers)
    course.add("b@o")
    course.run(3600)
    assert course.states == {}

    course.run(300)
    assert course.states == {"b@o": State.ACCEPTED}


def test_a_large_message_is_sent_in_parts_each_recipient_once(make) -> None:
    course = Course(make, [make.provider(limits=Limits(recipients=100))], well)
    course.add(*(f"{n}@o" for n in range(450)))
    course.run(60)

    assert [count for _, _, count in course.sent] == [100, 100, 100, 100, 50]
    assert set(course.taken.values()) == {1}


def test_F2_lost_after_the_dot_goes_to_the_same_provider_again(make) -> None:
    asked: list[str] = []

    def answers(course: Course, name: str) -> tuple[int, Phase]:
        asked.append(name)
        return (0, Phase.DOT) if len(asked) == 1 else well(course, name)

    course = Course(make, [make.provider("one"), make.provider("two")], answers)
    course.add("b@o")
    course.run(120)

    assert asked[0] == asked[1]
    assert course.states == {"b@o": State.ACCEPTED}
