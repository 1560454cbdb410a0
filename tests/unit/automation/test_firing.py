"""Which rules fire, what they make, and that nothing of it stays when it cannot be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from relay.automation.firing import MOST, Automation, Crowded, Planned, TooMuch
from relay.automation.jobs import Problem
from relay.automation.renderer import Overloaded
from relay.model import Labels, Workflow
from relay.posting import MOST_TOGETHER, Asked, Post
from relay.testing.fakes import FakeBodyWriter, FakeIntake
from tests.automation import ANN, MAIL, FakeRenderer, FakeWorkflows, made_of, rule
from tests.desk import NOW
from tests.parts import HOUSE

ASKED = Asked(client="127.0.0.1", user="crm", began=NOW)
WRONG = {**MAIL, "subject": "{{ user.title }}"}


class World:
    def __init__(self, *rules: Workflow) -> None:
        self.intake = FakeIntake()
        self.renderer = FakeRenderer()
        self.house = HOUSE
        self.post = Post(
            intake=self.intake,
            house=lambda: self.house,
            capturing=lambda: False,
            observe=lambda event: None,
            clock=lambda: NOW,
        )
        self.automation = Automation(FakeWorkflows(*rules), self.renderer, self.post)

    async def event(self, data: Any = ANN, name: str = "user.created") -> Planned:
        return await self.automation.event("e1", name, data, ASKED)


def named(name: str, *actions: Any, **more: Any) -> Workflow:
    return made_of(rule("user.created", *actions, **more), name, version=7)


def failed(planned: Planned) -> list[tuple[str, int | None, list[str | int]]]:
    return [(item["workflow"], item["action"], item["loc"]) for item in planned.outcome["failed"]]


async def test_every_rule_of_the_event_makes_its_mail() -> None:
    world = World(named("a"), named("b", MAIL, MAIL), made_of(rule("user.deleted"), "c"))
    planned = await world.event()
    ids = [letter.id for letter in planned.letters]
    assert planned.outcome == {
        "id": "e1",
        "event": "user.created",
        "fired": [
            {"workflow": "a", "version": 7, "messages": ids[:1]},
            {"workflow": "b", "version": 7, "messages": ids[1:]},
        ],
        "messages": ids,
        "failed": [],
        "skipped": [],
    }
    assert ids == sorted(ids)
    assert len(ids) == 3
    message = planned.letters[1].submission.message
    assert (message.source.kind, message.source.user, message.source.client) == ("event", "crm", "127.0.0.1")
    assert message.labels == Labels(tags=("user.created",), metadata={"event": "e1", "workflow": "b"})
    assert [one.address for one in message.envelope.recipients] == ["ann@example.org"]
    assert world.intake.submissions == []


async def test_all_actions_are_asked_for_at_once_and_conditions_of_rules_before() -> None:
    world = World(named("a", MAIL, MAIL, **{"if": "user"}), named("b"), named("c", **{"if": "not user"}))
    await world.event()
    assert world.renderer.calls == [2, 3]


async def test_an_event_that_nothing_waits_for_causes_nothing() -> None:
    world = World(named("a"))
    planned = await world.event(name="other")
    assert (planned.letters, planned.outcome["fired"], planned.outcome["messages"]) == ((), [], [])
    assert world.renderer.calls == []


async def test_one_that_fails_keeps_no_other_from_firing() -> None:
    world = World(named("a", MAIL, WRONG, MAIL), named("b", WRONG), named("c"))
    planned = await world.event()
    assert failed(planned) == [
        ("a", 1, ["actions", 1, "data", "subject"]),
        ("b", 0, ["actions", 0, "data", "subject"]),
    ]
    assert "title" in planned.outcome["failed"][0]["error"]
    assert [(one["workflow"], len(one["messages"])) for one in planned.outcome["fired"]] == [
        ("a", 2),
        ("b", 0),
        ("c", 1),
    ]


@pytest.mark.parametrize("value", ["a@x.example, b@y.example", "a@x.example\r\nBcc: eve@evil.example", ""])
async def test_H1_data_bring_nobody_else_in(value: str) -> None:
    planned = await World(named("a")).event({"user": {"email": value, "name": "x"}})
    assert failed(planned) == [("a", 0, ["actions", 0, "data", "to"])]
    assert planned.letters == ()


async def test_a_condition_that_is_false_skips_its_action_or_its_rule() -> None:
    world = World(
        named("a", {"if": "not user", "data": MAIL}, {"if": "user", "data": MAIL}), named("b", **{"if": "not user"})
    )
    planned = await world.event()
    assert planned.outcome["skipped"] == [{"workflow": "b", "action": None}, {"workflow": "a", "action": 0}]
    assert [one["workflow"] for one in planned.outcome["fired"]] == ["a"]


async def test_a_condition_that_fails_has_its_place() -> None:
    planned = await World(named("a", {"if": "x.y", "data": MAIL}, MAIL), named("b", **{"if": "x.y"})).event()
    assert failed(planned) == [("b", None, ["if"]), ("a", 0, ["actions", 0, "if"])]
    assert len(planned.letters) == 1


async def test_a_problem_of_no_text_is_the_action_s() -> None:
    world = World(named("a"))
    world.renderer.problem = Problem(place=(), text="took longer than 2 s to render" + "x" * 10_000)
    planned = await world.event()
    assert failed(planned) == [("a", 0, ["actions", 0])]
    assert len(planned.outcome["failed"][0]["error"]) <= 500


async def test_a_damaged_rule_says_so_and_others_fire() -> None:
    broken = replace(named("a"), damaged="what is stored of it cannot be read", actions=())
    planned = await World(broken, named("b")).event()
    assert planned.outcome["failed"] == [
        {"workflow": "a", "action": None, "loc": [], "error": "what is stored of it cannot be read"}
    ]
    assert len(planned.letters) == 1


@pytest.mark.parametrize(
    ("changed", "action", "place", "words"),
    [
        ({"max_message_size": 50}, MAIL, "body", "see max_message_size"),
        ({"max_recipients": 1}, MAIL | {"cc": "bob@example.org"}, "to", "2 recipients"),
        ({}, MAIL | {"identity": "nobody"}, "identity", "is not one of: invoices"),
        ({}, MAIL | {"identity": "invoices", "from": "a@x.example"}, "identity", "give one of them"),
    ],
)
async def test_what_cannot_be_composed_has_its_place(changed: Any, action: Any, place: str, words: str) -> None:
    world = World(named("a", action))
    world.house = replace(world.house, **changed)
    planned = await world.event()
    assert failed(planned) == [("a", 0, ["actions", 0, "data", place])]
    assert words in planned.outcome["failed"][0]["error"]
    assert "nobody" not in planned.outcome["failed"][0]["error"]  # H8: the event's data may have said it
    assert failed(await world.automation.run("e2", named("a", action), ANN, ASKED)) == failed(planned)
    assert (await world.automation.preview(named("a", action), ANN))["failed"] == planned.outcome["failed"]


async def test_a_rule_is_run_by_its_name_whatever_it_waits_for() -> None:
    alone = made_of({"actions": [{"service": "smtp.send_email", "data": MAIL}]}, "weekly report")
    planned = await World().automation.run("e9", alone, ANN, ASKED)
    assert planned.outcome["workflow"] == "weekly report"
    assert "event" not in planned.outcome
    message = planned.letters[0].submission.message
    assert message.labels == Labels(tags=("weekly report",), metadata={"event": "e9", "workflow": "weekly report"})
    assert message.source.kind == "event"


async def test_a_preview_shows_the_mail_and_makes_none() -> None:
    action = MAIL | {
        "to": ["Ann <{{ user.email }}>", "bob@example.org"],
        "html": "<p>Hello.</p>",
        "attachments": [{"filename": "a.txt", "content": "äöü"}],
    }
    world = World()
    found = await world.automation.preview(named("a", action, WRONG, {"if": "not user", "data": MAIL}), ANN)
    assert found["mails"] == [
        {
            "action": 0,
            "from": None,
            "identity": None,
            "to": ["Ann <ann@example.org>", "bob@example.org"],
            "cc": [],
            "bcc": [],
            "reply_to": [],
            "subject": "Welcome",
            "text": "Hello Ann.",
            "html": "<p>Hello.</p>",
            "attachments": [{"filename": "a.txt", "content_type": "text/plain; charset=utf-8", "size": 6}],
        }
    ]
    assert [(one["action"], one["loc"]) for one in found["failed"]] == [(1, ["actions", 1, "data", "subject"])]
    assert found["skipped"] == [{"workflow": "a", "action": 2}]
    assert world.intake.new_id(NOW) == f"{1:013d}"


async def test_D5_a_disk_that_fails_leaves_nothing_of_any_mail() -> None:
    world = World(named("a", MAIL, MAIL, MAIL))
    world.intake.drain_every = 1
    full = OSError(28, "No space left on device")
    written = []

    class Writer(FakeBodyWriter):
        async def drain(self) -> None:
            written.append(self)
            if len({id(one) for one in written}) == 3:
                raise full

    world.intake.writer = lambda message: Writer(world.intake)  # type: ignore[method-assign, assignment]
    with pytest.raises(OSError) as raised:
        await world.event()
    assert raised.value is full
    assert world.intake.discarded >= 3


async def test_who_goes_away_leaves_nothing_of_any_mail() -> None:
    world = World(named("a", MAIL, MAIL))
    reached, never = asyncio.Event(), asyncio.Event()
    world.intake.drain_every = 1
    writers: list[FakeBodyWriter] = []

    class Writer(FakeBodyWriter):
        async def drain(self) -> None:
            if writers[0] is not self:
                reached.set()
                await never.wait()

    def writer(message: object) -> FakeBodyWriter:
        writers.append(Writer(world.intake))
        return writers[-1]

    world.intake.writer = writer  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(world.event())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.intake.discarded == 2


async def test_more_mail_than_one_event_may_cause_is_none() -> None:
    world = World(*[named(f"r{number}", *[MAIL] * 50) for number in range(MOST // 50)])
    assert len((await world.event()).letters) == MOST
    assert set(world.renderer.calls) == {100}
    more = World(*[named(f"r{number}", *[MAIL] * 50) for number in range(MOST // 50)], named("last"))
    with pytest.raises(TooMuch, match="1001 actions, 1000 at most"):
        await more.event()
    assert (more.intake.discarded, more.renderer.calls) == (0, [])


BIG = {"user": {"email": "ann@example.org", "name": "x" * 200_000}}


async def test_D9_the_mail_of_one_event_is_bounded_in_memory() -> None:
    world = World(*[named(f"r{number}", *[MAIL] * 50) for number in range(4)])
    with pytest.raises(TooMuch, match=f"{MOST_TOGETHER} bytes together"):
        await world.event(BIG)
    assert 0 < world.intake.discarded <= MOST_TOGETHER // 200_000 + 1
    assert not world.post.crowded


async def test_D9_and_so_is_that_of_all_events_until_it_is_handed_in() -> None:
    world = World(*[named(f"r{number}", *[MAIL] * 50) for number in range(3)])
    first, second = await world.event(BIG), await world.event(BIG)
    with pytest.raises(Crowded):
        await world.event(BIG)
    left = world.intake.discarded
    assert await world.post.hand_in(first.letters, ASKED) is None
    await world.post.discard(second.letters)
    await world.post.discard(second.letters)
    assert world.intake.discarded == left + 300
    assert len((await world.event()).letters) == 150


async def test_a_sandbox_without_time_is_told() -> None:
    world = World(named("a"))
    world.renderer.overloaded = True
    with pytest.raises(Overloaded):
        await world.event()
