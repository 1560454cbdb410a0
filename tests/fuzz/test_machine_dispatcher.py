"""State machine: whatever is placed, chosen, finished and reloaded, places and reservations come back, nothing starves.

The worker's part is played by the machine: it asks for appetite, chooses, ends what it began in any order, any way.
"""

from __future__ import annotations

from random import Random

from fuzz.walking import walk
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from msgspec.structs import replace

from relay.delivery.attempt import Attempt, Park, Send
from relay.delivery.classify import accepted, outcome
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.policy import DeliveryPolicy
from relay.events import Event
from relay.model import (
    DeliveryOutcome,
    Envelope,
    Limits,
    Match,
    Message,
    MessageId,
    Owed,
    Phase,
    Provider,
    QueueEntry,
    Recipient,
    Reply,
    Route,
    Source,
    Spent,
    Usage,
)

START = 1_800_000_000.0
LIMITS = (
    Limits(connections=2),
    Limits(connections=1, per_minute=3),
    Limits(connections=3, per_minute=4, per_day=9, count="recipients"),
)
SETS = (("a", "b", "c"), ("a", "b"), ("c",), ("b", "c"))
ROUTES = ((), (Route(match=Match(recipient="*@vip.example"), providers=("c", "a")),))
ANSWERS = {
    "taken": (Phase.DOT, 250, ""),
    "later": (Phase.RCPT, 451, "4.2.1"),
    "never": (Phase.RCPT, 550, "5.1.1"),
    "throttled": (Phase.MAIL, 451, "4.7.0"),
    "lost": (Phase.CONNECT, 0, ""),
    "uncertain": (Phase.DOT, 0, ""),
    "our account": (Phase.AUTH, 535, "5.7.8"),
}


class Worker(RuleBasedStateMachine):
    """`sent`: what is under way. `open`: reservations that were not spent, by provider."""

    @initialize()
    def start(self) -> None:
        self.now = START
        self.number = 0
        self.sent: dict[int, tuple[Send, Attempt]] = {}
        self.waiting: list[Attempt] = []
        self.spent: list[Spent] = []
        self.events: list[Event] = []
        self.names, self.limits, self.routes = SETS[0], LIMITS, ROUTES[0]
        self.dispatcher = Dispatcher(
            self.providers(), self.routes, DeliveryPolicy(), rng=Random(1), observe=self.events.append
        )

    def providers(self) -> list[Provider]:
        known = dict(zip("abc", self.limits, strict=True))
        return [
            Provider(name=name, host=f"{name}.example", port=25, priority=1 + (name == "c"), limits=known[name])
            for name in self.names
        ]

    @rule(many=st.integers(1, 4), vip=st.booleans())
    def accept(self, many: int, vip: bool) -> None:
        self.number += 1
        domain = "vip.example" if vip else "b.example"
        recipients = tuple(Recipient(address=f"{n}@{domain}") for n in range(many))
        message = Message(
            id=MessageId(f"m{self.number}"), envelope=Envelope(sender="s@a.example", recipients=recipients), prefix=b"",
            size=100, source=Source(kind="smtp"), received_at=self.now, expires_at=self.now + 5 * 86400,
        )  # fmt: skip
        owed = Owed(recipients=recipients, lane="default:1", since=self.now)
        self.waiting.append(Attempt.begin(QueueEntry(id=self.number, message=message, owed=owed)))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def choose(self, data: st.DataObject) -> None:
        """A waiting one is sent, or the reason it waits has an end."""
        attempt = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        step = self.dispatcher.choose(attempt, self.now)
        if isinstance(step, Park):
            assert self.now <= step.until <= self.now + 60.0 and step.reason
            self.waiting.append(attempt if step.waiting else replace(attempt, avoid=()))  # else its round is over
            return
        assert len(step.recipients) > 0 and set(step.recipients) <= set(attempt.pending)
        assert step.provider in self.names
        assert step.reservation is None or 1 <= step.reservation.amount <= len(step.recipients)
        assert (step.reservation is not None) == step.settings.limits.metered
        self.sent[self.number] = (step, attempt)
        self.number += 1

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), what=st.sampled_from([*ANSWERS, "never made", "mixed"]))
    def finish(self, data: st.DataObject, what: str) -> None:
        """An end of any kind; what is still owed waits again, and what was reserved is spent exactly once."""
        send, attempt = self.sent.pop(data.draw(st.sampled_from(sorted(self.sent))))
        kinds = [data.draw(st.sampled_from(sorted(ANSWERS))) if what == "mixed" else what for _ in send.recipients]
        outcomes = (
            [] if what == "never made" else [answer(send, r, k) for r, k in zip(send.recipients, kinds, strict=True)]
        )
        tried = self.dispatcher.finished(send, outcomes, self.now)
        assert (tried.spent is None) == (send.reservation is None)
        if tried.spent is not None:
            assert (
                tried.spent.reservation == send.reservation and 0 <= tried.spent.taken <= tried.spent.reservation.amount
            )
            assert outcomes or tried.spent.taken == 0, "spent without having been made"
            self.spent.append(tried.spent)
        following = attempt.after(tried)
        if following is not None and following.pending:
            self.waiting.append(following)

    @rule(seconds=st.sampled_from([0.5, 5.0, 61.0, 3600.0]))
    def later(self, seconds: float) -> None:
        self.now += seconds

    @rule(well=st.booleans())
    def probe(self, well: bool) -> None:
        """Whoever is out has a time at which it is asked again."""
        for provider in self.dispatcher.probes_due(self.now):
            broken = outcome(Recipient(address=""), provider.name, "", Phase.CONNECT, Reply(code=0, text="no"))
            self.dispatcher.probed(provider, None if well else broken, self.now)

    @rule(names=st.sampled_from(SETS), routes=st.sampled_from(ROUTES), turned=st.integers(0, 2))
    def reload(self, names: tuple[str, ...], routes: tuple[Route, ...], turned: int) -> None:
        self.names, self.routes = names, routes
        self.limits = LIMITS[turned:] + LIMITS[:turned]
        self.dispatcher.replace(self.providers(), routes, DeliveryPolicy(), now=self.now)

    @invariant()
    def places_add_up(self) -> None:
        if not hasattr(self, "dispatcher"):
            return
        appetite = self.dispatcher.appetite(self.now)
        assert appetite.total == 1000 - len(self.sent)
        assert all(room >= 0 for room in appetite.room.values())
        for status in self.dispatcher.statuses(self.now):
            mine = sum(send.provider == status.name for send, _ in self.sent.values())
            assert 0 <= status.in_flight <= mine, "a place that nobody holds"

    def teardown(self) -> None:
        """When all has ended, nothing is held; and as soon as providers are well, everything that waits goes."""
        if not hasattr(self, "dispatcher"):
            return
        for send, _ in self.sent.values():
            self.dispatcher.finished(send, (), self.now)
        self.sent.clear()
        self.places_add_up()
        assert all(status.in_flight == 0 for status in self.dispatcher.statuses(self.now))
        self.everything_goes()

    def everything_goes(self) -> None:
        for _ in range(400):
            self.now += 61.0 if self.waiting else 0.0
            for provider in self.dispatcher.probes_due(self.now):
                self.dispatcher.probed(provider, None, self.now)
            self.waiting = [left for attempt in self.waiting if (left := self.sent_at_last(attempt)) is not None]
            if not self.waiting:
                return
            self.now += 3600.0
        raise AssertionError(f"{len(self.waiting)} starve: {self.dispatcher.choose(self.waiting[0], self.now)}")

    def sent_at_last(self, attempt: Attempt) -> Attempt | None:
        """A new round: those who failed it are asked again, as after its back-off."""
        step = self.dispatcher.choose(replace(attempt, avoid=(), refused=()), self.now)
        if isinstance(step, Park):
            return attempt
        self.dispatcher.finished(step, [answer(step, r, "taken") for r in step.recipients], self.now)
        left = tuple(r for r in attempt.pending if r not in step.recipients)
        return replace(attempt, pending=left) if left else None


def answer(send: Send, recipient: Recipient, kind: str) -> DeliveryOutcome:
    phase, code, enhanced = ANSWERS[kind]
    reply = Reply(code=code, enhanced=enhanced, text=kind)
    if code == 250:
        return accepted(recipient, send.provider, reply)
    return outcome(recipient, send.provider, "", phase, reply)


def test_places_and_reservations_come_back_and_nothing_starves() -> None:
    walk(Worker, walks=150, steps=40)


def test_reservations_that_ended_count_once() -> None:
    """What the meter says is used is what was taken: nothing stays reserved for ever."""
    limits = Limits(per_minute=2, per_day=5)
    provider = Provider(name="a", host="a.example", port=25, limits=limits)
    dispatcher = Dispatcher([provider], (), DeliveryPolicy(), rng=Random(1), observe=lambda event: None)
    dispatcher.load([Usage(provider="a", minute=(), periods={})])
    machine = Worker()
    machine.start()
    taken, now = 0, START
    for n in range(40):
        now += 31.0
        machine.accept(1, False)
        step = dispatcher.choose(machine.waiting[-1], now)
        if isinstance(step, Send):
            made = n % 2 == 0
            dispatcher.finished(step, [answer(step, r, "taken") for r in step.recipients] if made else [], now)
            taken += made
    assert taken == 5, "the day's quota is what may be taken, however often a place was given back"
