"""The description of the API: committed as it is served, and of use to somebody who reads nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relay.api.app import create_app
from relay.api.document import PLACE, written
from tests.parts import parts

SERVED: dict[str, Any] = create_app(parts()).openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, item in SERVED["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
}
OPEN = {"/healthz", "/readyz", "/metrics"}
WITH_BODY = [name for name, operation in OPERATIONS.items() if "requestBody" in operation]


def test_the_committed_file_is_what_is_served() -> None:
    assert PLACE.read_text() == written(SERVED), "run make docs and commit docs/openapi.json"


def test_every_operation_has_an_id_of_its_own() -> None:
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_says_what_it_does_and_answers(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["description"].strip()
    assert operation["tags"]
    good = [response for status, response in operation["responses"].items() if status < "3"]
    assert good, "what a request that succeeds is answered"
    for media in (media for response in good for media in response.get("content", {}).values()):
        assert media["schema"], "the shape of the answer"


@pytest.mark.parametrize("name", OPERATIONS)
def test_refusals_have_a_shape(name: str) -> None:
    bad = {status: answer for status, answer in OPERATIONS[name]["responses"].items() if status >= "4"}
    if name.split()[1] in OPEN:
        return
    assert {"401", "403", "422", "429", "503"} <= bad.keys() or name.endswith(("/token", "/smtp/send-email"))
    for status, response in bad.items():
        shown = json.dumps(response["content"])
        assert "HTTPValidationError" not in shown
        assert "application/problem+json" in shown or "application/json" in shown, status


@pytest.mark.parametrize("name", WITH_BODY)
def test_a_body_has_an_example_that_fits_its_schema(name: str) -> None:
    media = OPERATIONS[name]["requestBody"]["content"]
    for kind, described in media.items():
        if kind in ("message/rfc822", "application/octet-stream"):
            continue
        examples = examples_of(described)
        assert examples, f"{kind} of {name} has no example"
        allowed = set(resolved(described["schema"]).get("properties", {}))
        for example in examples:
            assert set(example) <= allowed


def examples_of(described: dict[str, Any]) -> list[Any]:
    schema = resolved(described["schema"])
    named = [example["value"] for example in described.get("examples", {}).values()]
    single = [given["example"] for given in (described, schema) if "example" in given]
    return [*named, *single, *schema.get("examples", [])]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without its reference; of a body that may be missing, the schema of the one that is there."""
    for choice in schema.get("anyOf", []):
        if choice.get("type") != "null":
            return resolved(choice)
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = SERVED["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return found


def test_nothing_refers_to_what_is_not_there() -> None:
    text = json.dumps(SERVED)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "#/components/schemas/')[1:]}:
        assert reference in SERVED["components"]["schemas"], reference


def test_what_needs_a_token_says_so() -> None:
    for name, operation in OPERATIONS.items():
        guarded = name.split()[1] not in OPEN | {"/token"}
        assert ("security" in operation) is guarded, name
    assert set(SERVED["components"]["securitySchemes"]) == {"token", "password"}
