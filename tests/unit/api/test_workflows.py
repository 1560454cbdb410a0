"""/v1/workflows: rules made, replaced, removed and looked at."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from relay.api.callers import Caller
from relay.api.views import moment
from relay.events import Changed
from relay.model import Scope
from tests.automation import MAIL, made_of, rule
from tests.desk import NOW
from tests.unit.api.sent import Relay, places

PATH = "/v1/workflows"
RULE = rule(name="welcome")
OPS = Caller(name="ops", key="token:1", scopes=frozenset({Scope.PROVIDERS}))
YAML = {"content-type": "application/yaml"}
# As tests/seeds/a-*.txt has it.
SEED = b"""
trigger:
  type: event
  event: user.created
actions:
  - service: smtp.send_email
    data:
      to: "{{ user.email }}"
      subject: "Welcome to faneX-ID"
      body: "Hello {{ user.username }}, your account has been created successfully."
"""


@pytest.fixture(scope="module")
def made() -> Relay:
    return Relay()


@pytest.fixture
def relay(made: Relay) -> Relay:
    made.fresh().who = OPS
    return made


def known(relay: Relay, *names: str, origin: str = "api", **more: Any) -> None:
    relay.workflows.known.update({name: [made_of(rule(), name, origin=origin, **more)] for name in names})


def shown(name: str = "welcome", version: int = 1, **changed: Any) -> dict[str, Any]:
    said = {"version": version, "origin": "api", "changed_at": moment(NOW), "changed_by": "ops"}
    return {**RULE, "name": name, **said, **changed}


# Making.


async def test_201_and_it_is_there(relay):
    answer = await relay("POST", PATH, RULE)
    assert (answer.status, answer.json) == (201, shown())
    assert (answer.headers["location"], answer.headers["etag"]) == (f"{PATH}/welcome", '"1"')
    assert (await relay("GET", f"{PATH}/welcome")).json == shown()
    assert relay.events == [Changed(who="ops", what="workflow added", target="welcome")]


async def test_one_without_a_name_gets_one_of_its_event(relay):
    assert (await relay("POST", PATH, rule())).json["name"] == "user.created"


async def test_a_name_with_a_blank_has_an_address(relay):
    answer = await relay("POST", PATH, RULE | {"name": "a rule"})
    assert answer.headers["location"] == f"{PATH}/a%20rule"


async def test_yaml_as_the_seed_writes_it(relay):
    answer = await relay("POST", PATH, SEED, **YAML)
    assert (answer.status, answer.json["trigger"]) == (201, {"type": "event", "event": "user.created"})
    assert answer.json["actions"][0]["data"]["to"] == "{{ user.email }}"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"trigger:\n  type: event\n event: x\n", "line 3, column"),
        (b"a: !!python/object/apply:os.system [ls]\n", "line 1, column"),
        (b"a: 1\na: 2\n", "line 2, column"),
        (b"a: \xff\n", "byte 3 is not UTF-8"),
        (b"a: [", "line "),
    ],
)
async def test_H4_what_is_no_yaml_says_where(relay, raw, words):
    answer = await relay("POST", PATH, raw, **YAML)
    assert (answer.status, places(answer)) == (422, [["body"]])
    assert words in answer.json["errors"][0]["msg"]
    assert relay.workflows.known == {}


def changed(**data: Any) -> dict[str, Any]:
    return rule("user.created", MAIL | data)


IN_DATA = ["body", "actions", 0, "data"]


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (changed(subject="Hello {{ user.name"), [*IN_DATA, "subject"]),
        (changed(subject="a\r\nBcc: eve@evil.example"), [*IN_DATA, "subject"]),
        (changed(body="a\ud800"), [*IN_DATA, "body"]),
        (changed(body="a\0"), [*IN_DATA, "body"]),
        (changed(more="x"), [*IN_DATA, "more"]),
        (changed(attachments=[{"filename": "a"}]), [*IN_DATA, "attachments", 0]),
        (rule() | {"if": "a and"}, ["body", "if"]),
        (rule() | {"name": "a/b"}, ["body", "name"]),
        (rule() | {"name": "preview"}, ["body", "name"]),
        (rule() | {"actions": []}, ["body", "actions"]),
        (rule() | {"trigger": {"type": "time", "event": "x"}}, ["body", "trigger", "type"]),
        (rule() | {"version": "x"}, ["body", "version"]),
        (rule() | {"version": 0}, ["body", "version"]),
        (rule() | {"owner": "x"}, ["body", "owner"]),
        ([], ["body"]),
        (None, ["body"]),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_H1_422_names_the_place(relay, method, document, place):
    known(relay, "old")
    target = PATH if method == "POST" else f"{PATH}/old"
    answer = await relay(method, target, json.dumps(document).encode(), **{"content-type": "application/json"})
    assert answer.status == 422
    assert places(answer) == [place]
    assert relay.events == []


async def test_a_place_in_yaml_is_named_as_in_json(relay):
    answer = await relay("POST", PATH, SEED.replace(b"user.email }}", b"user.email"), **YAML)
    assert (answer.status, places(answer)[0][:4]) == (422, ["body", "actions", 0, "data"])


@pytest.mark.parametrize(
    "raw", [b"", b"{", b'{"a":"\xff"}', b"[" * 5000 + b"]" * 5000, b'{"a":' * 300 + b"1" + b"}" * 300]
)
async def test_H6_what_is_no_json_or_too_deep(relay, raw):
    answer = await relay("POST", PATH, raw, **{"content-type": "application/json"})
    assert answer.status in (400, 422)


@pytest.mark.parametrize("raw", [b"[" * 5000, b"a: " * 100, b"&a [*a, *a]", b"- " * 3000 + b"x"])
async def test_H6_yaml_that_is_no_rule(relay, raw):
    assert (await relay("POST", PATH, raw, **YAML)).status == 422


async def test_H6_a_body_has_a_mebibyte(relay):
    answer = await relay("POST", PATH, b" " * ((1 << 20) + 1), **YAML)
    assert answer.status == 413


async def test_H8_no_error_repeats_what_was_sent(relay):
    answer = await relay("POST", PATH, changed(subject="hunter2\r\n{{ hunter2", to="hunter2") | {"if": "hunter2 and"})
    assert answer.status == 422
    assert b"hunter2" not in answer.body


@pytest.mark.parametrize("kind", ["text/plain", "text/yaml", "multipart/form-data", ""])
async def test_another_media_type_is_415(relay, kind):
    answer = await relay("POST", PATH, SEED, **{"content-type": kind})
    assert answer.status == 415
    assert "application/yaml" in answer.json["detail"]


@pytest.mark.parametrize("origin", ["api", "file"])
async def test_409_for_a_name_that_is_taken(relay, origin):
    known(relay, "welcome", origin=origin)
    answer = await relay("POST", PATH, RULE)
    assert answer.status == 409
    assert "'welcome'" in answer.json["detail"]


async def test_409_when_there_are_as_many_as_there_may_be(relay):
    relay.workflows.most = 0
    answer = await relay("POST", PATH, RULE)
    assert answer.status == 409
    assert "there are 0" in answer.json["detail"]


# Replacing and removing.


async def test_put_makes_a_new_version_and_the_old_ones_are_kept(relay):
    known(relay, "welcome")
    answer = await relay("PUT", f"{PATH}/welcome", changed(subject="Hello"))
    assert (answer.status, answer.json["version"], answer.headers["etag"]) == (200, 2, '"2"')
    assert answer.json["actions"][0]["data"]["subject"] == "Hello"
    versions = (await relay("GET", f"{PATH}/welcome/versions")).json
    assert ([one["version"] for one in versions["data"]], versions["has_more"]) == ([2, 1], False)
    assert relay.events == [Changed(who="ops", what="workflow changed", target="welcome")]


async def test_what_get_answers_may_be_put_back(relay):
    known(relay, "welcome", changed_at=NOW, changed_by="ops")
    got = await relay("GET", f"{PATH}/welcome")
    answer = await relay("PUT", f"{PATH}/welcome", got.json, **{"if-match": got.headers["etag"]})
    assert (answer.status, answer.json) == (200, got.json | {"version": 2})


async def test_yaml_may_say_the_version_too(relay):
    known(relay, "welcome")
    assert (await relay("PUT", f"{PATH}/welcome", SEED + b"version: 1\n", **YAML)).status == 200
    assert (await relay("PUT", f"{PATH}/welcome", SEED + b"version: 1\n", **YAML)).status == 409


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ({"version": 2}, {}, 200),
        ({"version": 1}, {}, 409),
        ({}, {"if-match": '"2"'}, 200),
        ({}, {"if-match": "*"}, 200),
        ({}, {"if-match": '"1"'}, 412),
        ({"version": 2}, {"if-match": '"1"'}, 412),
        ({}, {"if-match": "2"}, 412),
        ({}, {"if-match": 'W/"2"'}, 412),
        ({}, {"if-match": '"' + "9" * 400 + '"'}, 412),
    ],
)
async def test_somebody_else_s_change_is_not_overwritten(relay, body, headers, status):
    known(relay, "welcome", version=2)
    answer = await relay("PUT", f"{PATH}/welcome", rule() | body, **headers)
    assert answer.status == status
    assert relay.workflows.known["welcome"][0].version == (3 if status == 200 else 2)


@pytest.mark.parametrize(("version", "status"), [('"2"', 204), ("*", 204), ('"1"', 412), ("2", 412)])
async def test_somebody_else_s_change_is_not_removed(relay, version, status):
    known(relay, "welcome", version=2)
    answer = await relay("DELETE", f"{PATH}/welcome", **{"if-match": version})
    assert (answer.status, "welcome" in relay.workflows.known) == (status, status == 412)


async def test_a_taken_name_says_where_the_other_is(relay):
    known(relay, "there")
    known(relay, "of-file", origin="file")
    for name, fix in (("there", "replace that one with PUT"), ("of-file", "change that one in the configuration file")):
        answer = await relay("POST", PATH, rule(name=name))
        assert (answer.status, fix in answer.json["detail"]) == (409, True)


@pytest.mark.parametrize("version", [0, -1, "x", 1.5, []])
@pytest.mark.parametrize("path", ["/preview", "/welcome"])
async def test_what_is_no_version_is_refused(relay, path, version):
    known(relay, "welcome")
    given = rule() | {"version": version}
    body, method = ({"workflow": given}, "POST") if path == "/preview" else (given, "PUT")
    answer = await relay(method, PATH + path, body)
    assert answer.status == 422
    assert "version" in str(places(answer))


async def test_a_name_cannot_be_changed(relay):
    known(relay, "welcome")
    answer = await relay("PUT", f"{PATH}/welcome", RULE | {"name": "other"})
    assert (answer.status, places(answer)) == (422, [["name"]])
    assert (await relay("PUT", f"{PATH}/welcome", RULE)).status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_409_for_what_stands_in_the_file(relay, method):
    known(relay, "welcome", origin="file")
    answer = await relay(method, f"{PATH}/welcome", rule() if method == "PUT" else None)
    assert answer.status == 409
    assert "the configuration file" in answer.json["detail"]
    assert relay.events == []


async def test_204_and_it_is_gone(relay):
    known(relay, "welcome")
    answer = await relay("DELETE", f"{PATH}/welcome")
    assert (answer.status, answer.body) == (204, b"")
    assert (await relay("GET", f"{PATH}/welcome")).status == 404
    assert relay.events == [Changed(who="ops", what="workflow removed", target="welcome")]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PUT", ""),
        ("DELETE", ""),
        ("GET", "/versions"),
        ("POST", "/preview"),
        ("POST", "/run"),
    ],
)
@pytest.mark.parametrize("name", ["nothing", "a%00b", "%F0%9F%90%BB", "x" * 255])
async def test_404_for_one_that_there_is_not(relay, method, path, name):
    relay.who = Caller(name="all", key="token:2", scopes=frozenset(Scope))
    body = {"PUT": rule(), "POST": {"data": {}}}.get(method)
    answer = await relay(method, f"{PATH}/{name}{path}", body)
    assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")


# Looking.


async def test_the_list_is_by_name_and_has_pages(relay):
    known(relay, "c", "a", origin="file")
    known(relay, "b")
    page = (await relay("GET", f"{PATH}?limit=2")).json
    assert ([(one["name"], one["origin"]) for one in page["data"]], page["has_more"]) == (
        [("a", "file"), ("b", "api")],
        True,
    )
    rest = (await relay("GET", f"{PATH}?limit=2&after=b")).json
    assert ([one["name"] for one in rest["data"]], rest["has_more"]) == (["c"], False)


async def test_a_damaged_one_says_why(relay):
    known(relay, "welcome")
    relay.workflows.known["welcome"] = [
        replace(relay.workflows.known["welcome"][0], damaged="cannot be read", document={}, actions=())
    ]
    assert (await relay("GET", f"{PATH}/welcome")).json["damaged"] == "cannot be read"
    assert (await relay("PUT", f"{PATH}/welcome", rule())).status == 200


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "after=" + "x" * 256, "more=1"])
async def test_422_for_what_no_list_has(relay, query):
    assert (await relay("GET", f"{PATH}?{query}")).status == 422
