"""/v1/workflows: rules tried out and run by name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from relay.api.callers import Caller
from relay.events import EventTold
from relay.model import Scope
from tests.automation import ANN, MAIL, made_of, rule
from tests.unit.api.sent import Relay, places

PATH = "/v1/workflows"
OPS = Caller(name="ops", key="token:1", scopes=frozenset({Scope.PROVIDERS}))
KEY = {"idempotency-key": "k1"}


@pytest.fixture(scope="module")
def made() -> Relay:
    return Relay()


@pytest.fixture
def relay(made: Relay) -> Relay:
    made.fresh().who = OPS
    return made


def known(relay: Relay, *names: str, origin: str = "api", **more: Any) -> None:
    relay.workflows.known.update({name: [made_of(rule(), name, origin=origin, **more)] for name in names})


# Trying out.

PREVIEWED = {"to": ["ann@example.org"], "subject": "Welcome", "text": "Hello Ann."}


async def test_a_preview_mails_nothing(relay):
    known(relay, "welcome")
    answer = await relay("POST", f"{PATH}/welcome/preview", {"data": ANN})
    assert answer.status == 200
    (mail,) = answer.json["mails"]
    assert {key: mail[key] for key in PREVIEWED} == PREVIEWED
    assert (relay.intake.submissions, relay.intake.happened, relay.workflows.find("welcome").version) == ([], [], 1)


async def test_a_rule_can_be_tried_before_it_is_kept(relay):
    document = rule("x", MAIL, MAIL | {"subject": "{{ user.title }}"})
    answer = await relay("POST", f"{PATH}/preview", {"workflow": document, "data": ANN})
    assert (answer.status, len(answer.json["mails"])) == (200, 1)
    assert [one["loc"] for one in answer.json["failed"]] == [["actions", 1, "data", "subject"]]
    assert (relay.workflows.known, relay.events) == ({}, [])


async def test_what_get_answers_can_be_tried(relay):
    known(relay, "welcome")
    got = (await relay("GET", f"{PATH}/welcome")).json
    assert (await relay("POST", f"{PATH}/preview", {"workflow": got, "data": ANN})).status == 200


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"data": {}}, ["body", "workflow"]),
        (
            {"workflow": rule("user.created", MAIL | {"subject": "{{"}), "data": {}},
            ["body", "workflow", "actions", 0, "data", "subject"],
        ),
        ({"workflow": rule(), "data": {"a": "\ud800"}}, ["body", "data", "a"]),
        ({"workflow": rule(), "more": 1}, ["body", "more"]),
        ({"workflow": []}, ["body", "workflow"]),
    ],
)
async def test_H1_a_trial_names_the_place(relay, body, place):
    answer = await relay("POST", f"{PATH}/preview", body)
    assert (answer.status, places(answer)) == (422, [place])


@pytest.mark.parametrize("path", ["/preview", "/welcome/preview"])
async def test_503_when_the_sandbox_has_no_time(relay, path):
    known(relay, "welcome")
    relay.renderer.overloaded = True
    body = {"data": ANN} | ({"workflow": rule()} if path == "/preview" else {})
    answer = await relay("POST", f"{PATH}{path}", body)
    assert (answer.status, int(answer.headers["retry-after"]) > 0) == (503, True)


@pytest.mark.parametrize("depth", [60, 300, 100_000])
async def test_H6_deep_data_are_refused(relay, depth):
    known(relay, "welcome")
    raw = b'{"data":{"a":' + b"[" * depth + b"]" * depth + b"}}"
    assert (await relay("POST", f"{PATH}/welcome/preview", raw)).status in (400, 422)


# Running.


async def test_run_makes_the_mail_of_one_rule_and_is_kept(relay):
    known(relay, "welcome", "other")
    relay.who = Caller(name="crm", key="token:3", scopes=frozenset({Scope.SEND}))
    answer = await relay("POST", f"{PATH}/welcome/run", {"data": ANN}, **KEY)
    id = relay.only.message.id
    assert (answer.status, answer.json) == (
        202,
        {
            "id": answer.json["id"],
            "workflow": "welcome",
            "fired": [{"workflow": "welcome", "version": 1, "messages": [id]}],
            "messages": [id],
            "failed": [],
            "skipped": [],
        },
    )
    (happening,) = relay.intake.happened
    assert (happening.kind, happening.name, happening.user) == ("workflow", "welcome", "crm")
    assert [event.kind for event in relay.events if isinstance(event, EventTold)] == ["workflow"]
    again = await relay("POST", f"{PATH}/welcome/run", {"data": ANN}, **KEY)
    assert (again.body, again.headers["idempotent-replayed"]) == (answer.body, "true")
    other = await relay("POST", f"{PATH}/other/run", {"data": ANN}, **KEY)
    assert (other.status, places(other)) == (422, [["Idempotency-Key"]])


async def test_H7_two_runs_at_once(relay):
    known(relay, "welcome")
    relay.who = Caller(name="crm", key="token:3", scopes=frozenset({Scope.SEND}))
    relay.intake.gate = asyncio.Event()
    first = asyncio.create_task(relay("POST", f"{PATH}/welcome/run", {"data": ANN}, **KEY))
    await relay.intake.entered.wait()
    assert (await relay("POST", f"{PATH}/welcome/run", {"data": ANN}, **KEY)).status == 409
    relay.intake.gate.set()
    assert (await first).status == 202
