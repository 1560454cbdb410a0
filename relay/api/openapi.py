"""The description of the API: FastAPI's, with problem documents, and with who may.

Called by `create_app`; `document` writes it down. It never changes what a request gets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from relay.api import workflow_bodies
from relay.api.problem import MEDIA_TYPE
from relay.api.serving.guards import OPEN_PATHS

JSON = dict[str, Any]
_METHODS = ("get", "put", "post", "delete", "patch")
_NO_TOKEN = frozenset({"/token"})

_PROBLEM: JSON = {
    "title": "Problem",
    "description": "RFC 9457. `detail` is cause and fix; `errors` says where at 422.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["loc", "msg"],
                "properties": {
                    "loc": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
                    "msg": {"type": "string"},
                },
            },
        },
    },
}
REFUSED: JSON = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
"""The content of a problem document, for a status that has other content, too."""

_SCHEMES: JSON = {
    "token": {"type": "http", "scheme": "bearer", "description": "From relay token create, or from /token."},
    "password": {"type": "oauth2", "flows": {"password": {"tokenUrl": "/token", "scopes": {}}}},
}
# What the entrance and the spool may say to anybody.
_EVERYWHERE = {
    "401": "The token is missing, wrong, expired or revoked",
    "403": "The token lacks the scope; or nobody has a token yet, and this client is not on loopback",
    "408": "The request came too slowly",
    "422": "Something in the request is not as it should be: `errors` says where",
    "431": "Request line and header are too large",
    "429": "Too much at once: come back after Retry-After",
    "503": "The spool is full or fails: nothing was done, come back after Retry-After",
}
_WITH_BODY = {
    "400": "The body is no JSON, or nested too deeply",
    "413": "The body is too large",
    "415": "The body is of another media type",
}


def describe(app: FastAPI) -> None:
    """What /openapi.json and /docs show from here on; made when it is first asked for."""
    plain = app.openapi

    def complete() -> JSON:
        return app.openapi_schema or _completed(plain())

    app.openapi = complete  # type: ignore[method-assign]


def _completed(document: JSON) -> JSON:
    """In place: FastAPI keeps the document."""
    parts = document.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = _PROBLEM
    schemas[workflow_bodies.NAME] = workflow_bodies.rule_schema()
    parts["securitySchemes"] = _SCHEMES
    for path, operation in _operations(document):
        if path not in OPEN_PATHS:
            _guarded(operation, open_to_all=path in _NO_TOKEN)
    return document


def _operations(document: JSON) -> Iterator[tuple[str, JSON]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, item[method]


def _guarded(operation: JSON, *, open_to_all: bool) -> None:
    if not open_to_all:
        operation["security"] = [{name: []} for name in _SCHEMES]
    responses = operation["responses"]
    for status, description in (_EVERYWHERE | (_WITH_BODY if "requestBody" in operation else {})).items():
        if not _of_its_own(responses.get(status, {})):
            responses[status] = {"description": description}
    for status, response in responses.items():
        if status >= "4" and "content" not in response:
            response["content"] = dict(REFUSED)
    operation["responses"] = dict(sorted(responses.items()))


def _of_its_own(response: JSON) -> bool:
    """The resource describes it itself; FastAPI's own 422 says what the relay does not."""
    return bool(response) and "HTTPValidationError" not in json.dumps(response)
