"""Attachments over HTTP: of registrations that there are, to workflows, which are only names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.api.test_integrations import ATTACHMENTS, World, places


@pytest.fixture(scope="module")
def made() -> World:
    return World()


@pytest.fixture
def world(made: World) -> World:
    return made.fresh()


@pytest.mark.parametrize("id", [1, "1", "01"])
async def test_a_registration_is_attached_by_its_id(world, id):
    await world.register()
    answer = await world.attach(integration=id, options={"cc": "security@example.com"})
    assert (answer.status, answer.json) == (
        201,
        {
            "id": 2,
            "workflow": "release",
            "integration": 1,
            "options": {"cc": "security@example.com"},
            "created_at": "2026-11-18T11:06:40.000Z",
        },
    )
    assert world.changes[-1] == ("attachment added", "release to integration/1")


async def test_twice_attached_is_two(world):
    await world.register()
    assert [(await world.attach()).status, (await world.attach()).status] == [201, 201]
    listed = (await world.ask("GET", ATTACHMENTS)).json
    assert [one["id"] for one in listed["data"]] == [2, 3]


async def test_attachments_are_listed_by_workflow_and_registration(world):
    await world.register()
    await world.register()
    for workflow, integration in (("release", 1), ("nightly", 1), ("release", 2)):
        await world.attach(workflow=workflow, integration=integration)

    async def ids(query: str) -> list[int]:
        return [one["id"] for one in (await world.ask("GET", f"{ATTACHMENTS}?{query}")).json["data"]]

    assert await ids("workflow=release") == [3, 5]
    assert await ids("integration=1") == [3, 4]
    assert await ids("workflow=release&integration=2") == [5]
    assert await ids("workflow=x") == []
    assert await ids("limit=1&after=3") == [4]


@pytest.mark.parametrize("id", [9, "9"])
async def test_what_is_attached_must_be_registered(world, id):
    await world.register()
    answer = await world.attach(integration=id)
    assert places(answer) == [["body", "integration"]]
    assert answer.json["detail"] == "there is no registration 9; there are: 1"


@pytest.mark.parametrize("id", [True, None, "x", "1.0", 1.5, -1, "", [], 1 << 60, "9" * 100])
async def test_an_id_is_a_number(world, id):
    assert places(await world.attach(integration=id)) == [["body", "integration"]]


@pytest.mark.parametrize(
    ("options", "place"), [({"cc": "x"}, "cc"), ({"cc": "a@b.c\r\n"}, "cc"), ({"to": "a@b.c"}, "to"), ({"cc": 1}, "cc")]
)
async def test_H1_options_of_attachments_are_judged(world, options, place):
    await world.register()
    assert places(await world.attach(options=options)) == [["body", "options", place]]
    assert world.kept.attached == {}


@pytest.mark.parametrize("name", ["", "a\r\nb", "\ud800", "x" * 101, " a", None, 7])
async def test_H1_a_workflow_has_a_name_of_one_line(world, name):
    assert places(await world.attach(workflow=name)) == [["body", "workflow"]]


async def test_a_workflow_has_only_so_many(world):
    await world.register()
    await world.attach()
    one = world.kept.attached[2]
    world.kept.attached |= {id: replace(one, id=id) for id in range(3, 1002)}
    assert (await world.attach()).status == 409
    assert (await world.attach(workflow="other")).status == 201
    world.kept.full = True
    assert (await world.attach(workflow="third")).status == 409


async def test_an_attachment_goes_alone(world):
    await world.register()
    await world.attach()
    assert (await world.ask("GET", f"{ATTACHMENTS}/2")).json["workflow"] == "release"
    assert (await world.ask("DELETE", f"{ATTACHMENTS}/2")).status == 204
    assert (world.kept.attached, list(world.kept.registered)) == ({}, [1])
    assert world.changes[-1] == ("attachment removed", "2")
    assert [(await world.ask(verb, f"{ATTACHMENTS}/2")).status for verb in ("GET", "DELETE")] == [404, 404]
