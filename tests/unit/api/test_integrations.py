"""Registrations and attachments over HTTP: judged, verified, kept, put in force, and never with a password."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from relay.api.app import create_app
from relay.api.callers import CONTROL
from relay.automation.integrations import document
from relay.delivery.status import ProviderStatus
from relay.events import Changed, Event
from relay.model import Phase, Reply, Tls
from relay.ports import Trouble
from tests.asgi import Client
from tests.desk import NOW
from tests.integrations import FakeIntegrations
from tests.parts import parts
from tests.registry import FakeChecks
from tests.unit.automation.test_integrations import CONTROLS, OPTIONS
from tests.web import Answer

REGISTRATIONS, ATTACHMENTS = "/v1/integrations/registrations", "/v1/integrations/attachments"
ORDER = {"integration": "smtp", "options": OPTIONS}
DENIED = Trouble(phase=Phase.AUTH, detail="535 5.7.8 no; user name or password is wrong: correct them")


@dataclass
class World:
    allow_private: bool = False
    kept: FakeIntegrations = field(default_factory=FakeIntegrations)
    checks: FakeChecks = field(default_factory=FakeChecks)
    events: list[Event] = field(default_factory=list)
    statuses: list[ProviderStatus] = field(default_factory=list)
    applied: list[int] = field(default_factory=list)
    in_force: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        made = parts(
            integrations=self.kept,
            checks=self.checks,
            observe=self.events.append,
            apply=self._apply,
            statuses=lambda: self.statuses,
            allow_private=self.allow_private,
        )
        self.ask = Client(create_app(made), CONTROL)

    def fresh(self) -> World:
        """As if just made, which takes longer."""
        self.in_force = asyncio.Event()
        for one, new in ((self.kept, FakeIntegrations()), (self.checks, FakeChecks())):
            vars(one).clear()
            vars(one).update(vars(new))
        for log in (self.events, self.statuses, self.applied):
            log.clear()
        return self

    async def _apply(self) -> None:
        self.applied.append(len(self.kept.registered))
        self.in_force.set()

    async def register(self, **changed: Any) -> Answer:
        return await self.ask("POST", REGISTRATIONS, {"integration": "smtp", "options": OPTIONS | changed})

    async def attach(self, **changed: Any) -> Answer:
        return await self.ask("POST", ATTACHMENTS, {"workflow": "release", "integration": 1, **changed})

    @property
    def changes(self) -> list[tuple[str, str]]:
        return [(event.what, event.target) for event in self.events if isinstance(event, Changed)]


@pytest.fixture(scope="module")
def made() -> World:
    return World()


@pytest.fixture
def world(made: World) -> World:
    return made.fresh()


def places(answer: Answer) -> list[list[Any]]:
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert b"canary" not in answer.body
    return [error["loc"] for error in answer.json["errors"]]


# Schemas.


@pytest.mark.parametrize("kind", ["registration", "attachment"])
async def test_the_schemas_are_served_as_they_are(world, kind):
    answer = await world.ask("GET", f"/v1/integrations/smtp/schema/{kind}")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/schema+json")
    assert answer.body == document(kind)


async def test_of_what_there_is_not_there_is_no_schema(world):
    answer = await world.ask("GET", "/v1/integrations/smpt/schema/registration")
    assert (answer.status, "did you mean 'smtp'?" in answer.json["detail"]) == (404, True)
    other = await world.ask("GET", "/v1/integrations/smtp/schema/x")
    assert (other.status, "registration, attachment" in other.json["detail"]) == (404, True)


# Registering.


async def test_what_was_verified_is_registered_and_in_force(world):
    answer = await world.register()
    assert answer.status == 201
    assert answer.json == {
        "id": 1,
        "integration": "smtp",
        "options": OPTIONS | {"password": "encrypted_password"},
        "created_at": "2026-11-18T11:06:40.000Z",
        "health": {"status": "healthy", "detail": ""},
    }
    (verified,) = world.checks.verified
    assert (verified.host, verified.port, verified.tls) == (OPTIONS["host"], 587, Tls.STARTTLS)
    assert (verified.username, verified.password, verified.reserved) == (OPTIONS["user"], OPTIONS["password"], True)
    assert verified.public_only
    assert world.kept.registered[1].options == OPTIONS
    assert (world.applied, world.changes) == ([1], [("registration added", "integration/1")])
    assert world.kept.registered[1].created_at == NOW


async def test_H8_no_answer_has_the_password(world):
    answers = [
        await world.register(),
        await world.ask("GET", REGISTRATIONS),
        await world.ask("GET", f"{REGISTRATIONS}/1"),
    ]
    assert [answer.status for answer in answers] == [201, 200, 200]
    for answer in answers:
        assert b"canary" not in answer.body
        assert b"encrypted_password" in answer.body
    assert "canary" not in repr((world.events, world.kept.registered, world.checks.verified))


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, sorted(OPTIONS)),
        (OPTIONS | {"port": "99999"}, ["port"]),
        (OPTIONS | {"port": 587}, ["port"]),
        (OPTIONS | {"to": "nobody", "from": "a@b.example, c@d.example"}, ["from", "to"]),
        (OPTIONS | {"host": "10.0.0.1"}, ["host"]),
        (OPTIONS | {"pasword": "canary"}, ["pasword"]),
        (OPTIONS | {"password": "encrypted_password"}, ["password"]),
        (OPTIONS | {"password": ["canary"]}, ["password"]),
    ],
)
async def test_H8_what_is_wrong_is_named_by_its_place_and_nobody_is_asked(world, options, names):
    answer = await world.ask("POST", REGISTRATIONS, {"integration": "smtp", "options": options})
    assert sorted(places(answer)) == [["body", "options", name] for name in names]
    assert (world.checks.verified, world.kept.registered, world.applied) == ([], {}, [])


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("value", CONTROLS)
async def test_H1_no_option_holds_what_would_be_two_lines(world, name, value):
    assert places(await world.register(**{name: value})) == [["body", "options", name]]


async def test_H1_names_of_options_are_shown_as_plain_text(world):
    (place,) = places(await world.register(**{"\ud800\r\n": "x"}))
    assert place == ["body", "options", "\\ud800\r\n"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "0x7f000001", "[::1]", "fd00::1"])
async def test_H2_a_server_around_us_is_refused_unless_that_is_allowed(world, host):
    assert places(await world.register(host=host)) == [["body", "options", "host"]]
    assert world.checks.verified == []


async def test_H2_where_it_is_allowed_it_is_verified_without_the_guard():
    world = World(allow_private=True)
    assert (await world.register(host="127.0.0.1", port="2525")).status == 201
    (verified,) = world.checks.verified
    assert (verified.tls, verified.public_only) == (Tls.OPPORTUNISTIC, False)


@pytest.mark.parametrize(
    ("phase", "option"),
    [
        (Phase.CONNECT, "host"),
        (Phase.BANNER, "host"),
        (Phase.EHLO, "host"),
        (Phase.TLS, "port"),
        (Phase.STARTTLS, "port"),
        (Phase.AUTH, "password"),
    ],
)
async def test_what_cannot_be_verified_is_not_registered(world, phase, option):
    world.checks.trouble = Trouble(phase=phase, detail=DENIED.detail)
    answer = await world.register()
    assert places(answer) == [["body", "options", option]]
    assert answer.json["detail"] == f"nothing was registered: {DENIED.detail}"
    assert (world.kept.registered, world.applied, world.changes) == ({}, [], [])


async def test_verifying_holds_nobody_else_up_and_only_so_many_at_once(world):
    world.checks.gate = asyncio.Event()
    waiting = [asyncio.create_task(world.register()) for _ in range(10)]
    for _ in waiting:
        await world.checks.arrivals.get()
    refused = await world.register()
    assert (refused.status, refused.headers["retry-after"]) == (429, "5")
    assert (await world.ask("GET", REGISTRATIONS)).json == {"data": [], "has_more": False}
    world.checks.gate.set()
    assert {(await each).status for each in waiting} == {201}
    assert (await world.register()).status == 201


async def test_who_goes_away_while_it_is_verified_leaves_nothing(world):
    world.checks.gate = asyncio.Event()
    waiting = asyncio.create_task(world.register())
    await world.checks.arrivals.get()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (world.kept.registered, world.applied) == ({}, [])
    world.checks.gate = None
    assert (await world.register()).status == 201


async def test_who_goes_away_while_it_is_kept_leaves_a_whole_one_in_force(world):
    held, kept = asyncio.Event(), asyncio.Event()
    register = world.kept.register

    async def slow(*given: Any) -> Any:
        held.set()
        await kept.wait()
        return await register(*given)

    world.kept.register = slow
    waiting = asyncio.create_task(world.register())
    await held.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    kept.set()
    await world.in_force.wait()
    assert (world.applied, world.changes) == ([1], [("registration added", "integration/1")])


async def test_an_integration_that_there_is_not_is_named_with_those_there_are(world):
    answer = await world.ask("POST", REGISTRATIONS, ORDER | {"integration": "slack"})
    assert places(answer) == [["body", "integration"]]
    assert answer.json["detail"] == "there is no integration 'slack'; there are: smtp"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"integration": "smtp"},
        {"integration": 1, "options": OPTIONS},
        {"integration": "smtp", "options": []},
        ORDER | {"name": "x"},
        {"integration": "smtp", "options": {str(n): "x" for n in range(51)}},
        b"[]",
    ],
)
async def test_H8_a_body_that_is_none_is_refused_without_being_repeated(world, body):
    assert places(await world.ask("POST", REGISTRATIONS, body))


async def test_there_may_be_no_more(world):
    world.kept.full = True
    answer = await world.register()
    assert (answer.status, "there are 1000 registrations" in answer.json["detail"]) == (409, True)
    assert world.applied == []


# Looking.


async def test_lists_go_by_pages(world):
    for number in range(3):
        await world.register(to=f"team{number}@example.com")
    first = (await world.ask("GET", f"{REGISTRATIONS}?limit=2")).json
    assert ([one["id"] for one in first["data"]], first["has_more"]) == ([1, 2], True)
    rest = (await world.ask("GET", f"{REGISTRATIONS}?limit=2&after=2")).json
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == ([3], False)
    assert (await world.ask("GET", f"{REGISTRATIONS}?limit=0")).status == 422


async def test_its_health_is_what_delivery_knows(world):
    await world.register()
    world.statuses.append(_out(Reply(code=535, enhanced="5.7.8", text="no")))
    health = (await world.ask("GET", f"{REGISTRATIONS}/1")).json["health"]
    assert (health["status"], "correct" in health["detail"]) == ("unhealthy", True)


async def test_H12_a_password_that_cannot_be_read_shows(world):
    await world.register()
    locked = {name: value for name, value in OPTIONS.items() if name != "password"}
    world.kept.registered[1] = replace(world.kept.registered[1], options=locked, locked="the key is another")
    one = (await world.ask("GET", f"{REGISTRATIONS}/1")).json
    assert one["health"] == {"status": "unhealthy", "detail": "the key is another"}
    assert one["options"]["password"] == "encrypted_password"


def _out(reply: Reply) -> ProviderStatus:
    return ProviderStatus(
        name="integration/1",
        healthy=False,
        circuit="closed",
        suspended=True,
        in_flight=0,
        window=1,
        quota={},
        reply=reply,
    )


@pytest.mark.parametrize("path", ["registrations", "attachments"])
@pytest.mark.parametrize("query", ["workfow=a", "limit=0", "after=x", "after=-1"])
async def test_what_no_list_can_be_asked_for_is_refused(world, path, query):
    answer = await world.ask("GET", f"/v1/integrations/{path}?{query}")
    assert (answer.status, places(answer)) == (422, [["query", query.partition("=")[0]]])


async def test_a_registration_goes_with_its_attachments(world):
    await world.register()
    await world.attach()
    gone = await world.ask("DELETE", f"{REGISTRATIONS}/1")
    assert (gone.status, gone.body) == (204, b"")
    assert (world.kept.registered, world.kept.attached, world.applied) == ({}, {}, [1, 0])
    assert world.changes[-1] == ("registration removed", "integration/1")
    again = await world.ask("DELETE", f"{REGISTRATIONS}/1")
    assert (again.status, (await world.ask("GET", f"{REGISTRATIONS}/1")).status) == (404, 404)
    assert world.applied == [1, 0]


async def test_H6_options_of_many_levels_are_refused(world):
    deep = json.dumps(ORDER).replace('"587"', "[" * 5000 + "]" * 5000).encode()
    answer = await world.ask("POST", REGISTRATIONS, deep)
    assert answer.status in (400, 422)
    assert world.kept.registered == {}
