"""POST /v1/workflow-runs: one mail for each attachment, all of them, the key and the record in one transaction."""

from __future__ import annotations

import asyncio
import errno
import json
from dataclasses import dataclass, field
from dataclasses import replace as changed
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from msgspec.structs import replace

from relay.api.app import create_app
from relay.api.callers import Caller
from relay.compose.senders import House
from relay.events import Event, EventTold, MessageAccepted
from relay.model import Labels, Reply, Scope, Source, Submission
from relay.testing.fakes import FakeIntake
from tests.asgi import Client
from tests.desk import NOW
from tests.integrations import FakeIntegrations
from tests.parts import HOUSE, parts
from tests.unit.api.sent import content
from tests.unit.automation.test_integrations import CONTROLS, OPTIONS
from tests.web import Answer

RUNS = "/v1/workflow-runs"
RUN = {"name": "build-42", "status": "success"}
ORDER = {"workflow": "release", "run": RUN, "attestation": {"type": "in-toto", "ok": True}}
CI = Caller(name="ci", key="token:1", scopes=frozenset({Scope.SEND}))
KEY = {"idempotency-key": "k1"}


@dataclass
class World:
    intake: FakeIntake = field(default_factory=FakeIntake)
    kept: FakeIntegrations = field(default_factory=FakeIntegrations)
    events: list[Event] = field(default_factory=list)
    told: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    house: House = HOUSE

    def __post_init__(self) -> None:
        made = parts(intake=self.intake, integrations=self.kept, observe=self._observe, house=lambda: self.house)
        self.ask = Client(create_app(made), CI)

    def _observe(self, event: Event) -> None:
        self.events.append(event)
        self.told.put_nowait(event)

    async def attach(self, *ccs: str, workflow: str = "release", **options: str) -> None:
        """A registration, attached once for each of `ccs`, "" for none."""
        one = await self.kept.register("smtp", OPTIONS | options, NOW)
        for cc in ccs:
            await self.kept.attach(workflow, one.id, {"cc": cc} if cc else {}, NOW)

    async def run(self, body: Any = ORDER, **headers: str) -> Answer:
        return await self.ask("POST", RUNS, body, **headers)

    @property
    def submissions(self) -> list[Submission]:
        return self.intake.submissions


@pytest.fixture(scope="module")
def made() -> World:
    return World()


@pytest.fixture
def world(made: World) -> World:
    """As if just made, which takes longer."""
    for one, fresh in ((made.kept, FakeIntegrations()), (made.intake, FakeIntake())):
        vars(one).clear()
        vars(one).update(vars(fresh))
    made.events.clear()
    made.told = asyncio.Queue()
    made.house = HOUSE
    return made


def mail(submission: Submission) -> EmailMessage:
    return message_from_bytes(content(submission), policy=policy.default)  # type: ignore[return-value]


def people(submission: Submission) -> tuple[str, list[str]]:
    envelope = submission.message.envelope
    return envelope.sender, [recipient.address for recipient in envelope.recipients]


async def test_each_attachment_gets_its_mail_by_its_own_server(world):
    await world.attach("", to="one@example.com")
    await world.attach("security@example.com", to="two@example.com")
    await world.attach("", workflow="nightly")
    answer = await world.run()
    first, second = world.submissions
    assert (answer.status, answer.json) == (
        202,
        {"id": "0000000000001", "messages": [first.message.id, second.message.id], "failed": []},
    )
    assert people(first) == ("notifier@example.com", ["one@example.com"])
    assert people(second) == ("notifier@example.com", ["two@example.com", "security@example.com"])
    assert [one.message.via for one in (first, second)] == ["integration/1", "integration/3"]
    assert first.message.source == Source(kind="run", client="127.0.0.1", user="ci")
    wanted = Labels(tags=("release",), metadata={"event": "0000000000001", "workflow": "release"})
    assert first.message.labels == wanted
    seen = mail(second)
    assert (seen["Subject"], seen["Cc"]) == ("[release] workflow run build-42 success", "security@example.com")
    (attached,) = seen.iter_attachments()
    assert json.loads(attached.get_content()) == ORDER["attestation"]
    *accepted, told = world.events
    assert [type(event) for event in accepted] == [MessageAccepted, MessageAccepted]
    assert told == EventTold(
        id="0000000000001",
        kind="run",
        name="release",
        user="ci",
        messages=(first.message.id, second.message.id),
    )


async def test_a_registration_attached_twice_gets_two(world):
    await world.attach("", "a@example.com")
    answer = await world.run()
    assert len(answer.json["messages"]) == 2
    assert [people(one)[1] for one in world.submissions] == [[OPTIONS["to"]], [OPTIONS["to"], "a@example.com"]]


async def test_a_run_that_nothing_is_attached_to_is_recorded(world):
    answer = await world.run()
    assert (answer.status, answer.json) == (202, {"id": "0000000000001", "messages": [], "failed": []})
    (happened,) = world.intake.happened
    assert (happened.id, happened.kind, happened.name, happened.user) == ("0000000000001", "run", "release", "ci")
    assert (happened.at, happened.outcome.encode()) == (NOW, answer.body)


async def test_what_is_recorded_is_what_was_answered_and_nothing_of_what_came(world):
    await world.attach("")
    answer = await world.run(ORDER | {"attestation": {"canary": "canary-7351"}})
    (happened,) = world.intake.happened
    assert happened.outcome.encode() == answer.body
    assert "canary" not in happened.outcome


async def test_one_mail_that_cannot_be_keeps_no_other_from_being_sent(world):
    await world.attach("")
    await world.attach("")
    del world.kept.registered[3]
    world.kept.attached[2] = changed(world.kept.attached[2], options={"cc": OPTIONS["to"]})
    answer = await world.run()
    assert answer.json["failed"] == [{"attachment": 4, "registration": 3, "error": "its registration was removed"}]
    assert len(answer.json["messages"]) == len(world.submissions) == 1


async def test_H12_a_registration_that_is_damaged_is_said_to_be(world):
    await world.attach("")
    await world.attach("")
    world.kept.registered[1] = changed(world.kept.registered[1], options={}, locked="it is damaged; register it again")
    answer = await world.run()
    assert (answer.status, len(answer.json["messages"])) == (202, 1)
    assert answer.json["failed"] == [
        {"attachment": 2, "registration": 1, "error": "it is damaged; register it again"},
    ]


async def test_a_mail_that_is_too_large_is_said_to_be(world):
    await world.attach("")
    world.house = replace(HOUSE, max_message_size=2000)
    answer = await world.run(ORDER | {"attestation": {"a": "x" * 1500}})
    assert (answer.status, answer.json["messages"], world.submissions) == (202, [], [])
    assert "see max_message_size" in answer.json["failed"][0]["error"]
    assert len(world.intake.happened) == 1
    assert (await world.run(ORDER | {"attestation": {"a": "x" * 3000}})).status == 413


# Bodies.


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"run": {}, "attestation": {}}, ["body", "workflow"]),
        ({"workflow": "release", "attestation": {}}, ["body", "run"]),
        ({"workflow": "release", "run": {}}, ["body", "attestation"]),
        (ORDER | {"run": []}, ["body", "run"]),
        (ORDER | {"attestation": "x"}, ["body", "attestation"]),
        (ORDER | {"workflow": ""}, ["body", "workflow"]),
        (ORDER | {"workflow": 7}, ["body", "workflow"]),
        (ORDER | {"workflow": "x" * 101}, ["body", "workflow"]),
        (ORDER | {"to": "a@b.example"}, ["body", "to"]),
    ],
)
async def test_what_does_not_fit_is_named(world, body, place):
    answer = await world.run(body)
    assert (answer.status, [error["loc"] for error in answer.json["errors"]]) == (422, [place])
    assert world.intake.happened == []


@pytest.mark.parametrize("name", CONTROLS)
async def test_H1_a_workflow_is_one_line(world, name):
    answer = await world.run(ORDER | {"workflow": name})
    assert (answer.status, [error["loc"] for error in answer.json["errors"]]) == (422, [["body", "workflow"]])


@pytest.mark.parametrize("odd", ["a\r\nBcc: eve@x.example", "\x00\x1b[2J", "\u2028", "=?utf-8?q?a?=", "<script>"])
async def test_H1_no_value_becomes_a_header_or_markup(world, odd):
    await world.attach("")
    answer = await world.run(ORDER | {"run": {"name": odd, "status": odd, odd: odd}, "attestation": {odd: [odd]}})
    assert answer.status == 202
    (submission,) = world.submissions
    assert people(submission) == (OPTIONS["from"], [OPTIONS["to"]])
    seen = mail(submission)
    assert seen["Bcc"] is None
    assert len(seen.get_all("Subject")) == 1
    assert "<script>" not in seen.get_body(("html",)).get_content()


async def test_H1_half_a_surrogate_pair_is_named(world):
    answer = await world.run(ORDER | {"run": {"name": "\ud800"}})
    assert answer.status in (400, 422)
    assert world.intake.happened == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b'{"workflow": "release", "run": {}, "attestation": {"a": NaN}}']
)
async def test_what_is_no_json_is_refused(world, body):
    assert (await world.run(body)).status in (400, 422)


async def test_H6_deep_and_crowded_bodies_are_refused(world):
    head = b'{"workflow": "release", "run": {}, "attestation": {"a": '
    assert (await world.run(head + b"[" * 100_000)).status == 400
    assert (await world.run(head + b"[" * 5000 + b"]" * 5000 + b"}}")).status == 400
    crowded = await world.run(head + b"[" + b"1," * 250_000 + b"1]}}")
    assert (crowded.status, "250000 values" in crowded.json["detail"]) == (413, True)
    assert (await world.run(b"x", **{"content-type": "text/plain"})).status == 415


async def test_the_attestation_is_attached_as_it_was_written(world):
    await world.attach("")
    raw = b'{"workflow":"release","run":{},"attestation":{"z":1.10,"a":12345678901234567890123,"u":"\\u00e9"}}'
    assert (await world.run(raw)).status == 202
    (attached,) = mail(world.submissions[0]).iter_attachments()
    assert attached.get_content() == b'{\n  "z": 1.10,\n  "a": 12345678901234567890123,\n  "u": "\\u00e9"\n}\n'


async def test_a_large_attestation_is_attached_whole(world):
    await world.attach("")
    large = {f"k{n}": "x" * 100 for n in range(20_000)}
    assert (await world.run(ORDER | {"attestation": large})).status == 202
    (attached,) = mail(world.submissions[0]).iter_attachments()
    assert json.loads(attached.get_content()) == large


# Idempotency, storage.


async def test_H7_the_same_run_twice_with_a_key_is_one(world):
    await world.attach("")
    first, again = await world.run(**KEY), await world.run(**KEY)
    assert (first.status, first.body) == (again.status, again.body)
    assert again.headers["idempotent-replayed"] == "true"
    assert (len(world.submissions), len(world.intake.happened)) == (1, 1)
    other = await world.run(ORDER | {"run": {}}, **KEY)
    assert (other.status, other.json["errors"][0]["loc"]) == (422, ["Idempotency-Key"])


async def test_H7_a_run_without_mail_has_its_key_too(world):
    first = await world.run(**KEY)
    await world.attach("")
    again = await world.run(**KEY)
    assert (again.body, world.submissions) == (first.body, [])


async def test_H7_all_of_it_is_one_transaction_even_if_nobody_waits(world):
    await world.attach("", "a@example.com")
    world.intake.gate = asyncio.Event()
    waiting = asyncio.create_task(world.run(**KEY))
    await world.intake.entered.wait()
    assert (await world.run(**KEY)).status == 409
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    world.intake.gate.set()
    for _ in range(2):
        await world.told.get()
    assert (len(world.submissions), len(world.intake.happened), len(world.intake.claims)) == (2, 1, 1)


@pytest.mark.parametrize(
    ("code", "enhanced", "status"), [(452, "4.3.1", 503), (451, "4.3.0", 503)], ids=["full", "failed"]
)
async def test_G4_what_is_not_stored_is_refused_whole(world, code, enhanced, status):
    await world.attach("", "a@example.com")
    world.intake.refusal = Reply(code=code, enhanced=enhanced, text="no")
    answer = await world.run()
    assert (answer.status, answer.headers["retry-after"]) == ((status, "10") if code == 451 else (429, "1"))
    assert (world.submissions, world.intake.happened, world.intake.discarded) == ([], [], 2)


async def test_G4_no_room_for_all_of_it_is_found_before_it_is_written(world):
    await world.attach("")
    world.intake.admission = Reply(code=452, enhanced="4.3.1", text="no")
    assert (await world.run()).status == 503
    assert world.submissions == []


async def test_G5_a_disk_that_fails_leaves_no_file(world):
    await world.attach("", "a@example.com")
    world.intake.drain_every = 1
    world.intake.finish_error = OSError(errno.EIO, "no")
    assert (await world.run()).status == 503
    assert (world.submissions, world.intake.happened) == ([], [])
    assert world.intake.discarded == 1


async def test_H5_it_takes_the_scope_send(world):
    other = Client(world.ask.app, Caller(name="x", key="token:2", scopes=frozenset({Scope.PROVIDERS})))
    assert (await other("POST", RUNS, ORDER)).status == 403
