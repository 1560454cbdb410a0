"""Every route of the application and what it takes to use it: a new one without a scope fails here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from relay.api.app import create_app
from relay.api.callers import Caller
from relay.api.serving.entrance import OPEN
from relay.model import Scope
from tests.asgi import Client
from tests.parts import parts

SEND, QUEUE, PROVIDERS, ADMIN = Scope.SEND, Scope.QUEUE, Scope.PROVIDERS, Scope.ADMIN
WANTED = {
    "POST /v1/messages": SEND,
    "POST /v1/messages/raw": SEND,
    "POST /smtp/send-email": SEND,
    "POST /v1/events": SEND,
    "POST /v1/services/smtp.send_email": SEND,
    "POST /v1/services/{service}": SEND,
    "POST /v1/workflows/{name}/run": SEND,
    "GET /v1/events": QUEUE,
    "GET /v1/events/{id}": QUEUE,
    "GET /v1/workflows": PROVIDERS,
    "POST /v1/workflows": PROVIDERS,
    "GET /v1/workflows/{name}": PROVIDERS,
    "PUT /v1/workflows/{name}": PROVIDERS,
    "DELETE /v1/workflows/{name}": PROVIDERS,
    "GET /v1/workflows/{name}/versions": PROVIDERS,
    "POST /v1/workflows/{name}/preview": PROVIDERS,
    "POST /v1/workflows/preview": PROVIDERS,
    "GET /v1/messages": QUEUE,
    "GET /v1/messages/{id}": QUEUE,
    "POST /v1/messages/{id}/{action}": QUEUE,
    "POST /v1/queue/actions": QUEUE,
    "GET /v1/queue/stats": QUEUE,
    "GET /v1/explain": QUEUE,
    "GET /v1/presets": PROVIDERS,
    "GET /v1/presets/{name}": PROVIDERS,
    "GET /v1/users": ADMIN,
    "POST /v1/users": ADMIN,
    "DELETE /v1/users/{name:path}": ADMIN,
    "GET /v1/tokens": ADMIN,
    "POST /v1/tokens": ADMIN,
    "DELETE /v1/tokens/{which:path}": ADMIN,
    "POST /v1/key/rotate": ADMIN,
    "POST /v1/workflow-runs": SEND,
    "GET /v1/integrations/{integration}/schema/{kind}": PROVIDERS,
    "GET /v1/integrations/registrations": PROVIDERS,
    "POST /v1/integrations/registrations": PROVIDERS,
    "GET /v1/integrations/registrations/{id:int}": PROVIDERS,
    "DELETE /v1/integrations/registrations/{id:int}": PROVIDERS,
    "GET /v1/integrations/attachments": PROVIDERS,
    "POST /v1/integrations/attachments": PROVIDERS,
    "GET /v1/integrations/attachments/{id:int}": PROVIDERS,
    "DELETE /v1/integrations/attachments/{id:int}": PROVIDERS,
}
DESCRIPTION = {"/openapi.json", "/docs", "/docs/start.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"}
APP = create_app(parts())


def routes(holder: Any) -> Iterator[str]:
    """Method and path of each, shown in the description or not."""
    for route in holder.routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from routes(inner)
        elif route.path not in DESCRIPTION:
            yield from (f"{method} {route.path}" for method in sorted(route.methods))


GUARDED = sorted(route for route in set(routes(APP)) if route.split()[1] not in OPEN)


def wanted(route: str) -> Scope | None:
    return PROVIDERS if route.split()[1].startswith("/api/email-provider/") else WANTED.get(route)


def test_H5_every_route_is_open_or_stands_in_this_table():
    assert [route for route in GUARDED if wanted(route) is None] == []
    assert set(WANTED) <= set(GUARDED)
    assert sum(route.startswith("POST /api/email-provider/") for route in GUARDED) >= 6


@pytest.mark.parametrize("route", GUARDED)
async def test_H5_every_route_is_for_its_scope_and_admin_alone(route):
    """Asked with nothing that it could work on: who lacks the scope does not even hear what is wrong with it."""
    method, path = route.split()
    target = re.sub(r"\{\w+(:\w+)?\}", "7", path)
    for scope in Scope:
        ask = Client(APP, Caller(name="shop", key="token:1", scopes=frozenset({scope})))
        status = (await ask(method, target, {} if method in ("POST", "PUT", "PATCH") else None)).status
        assert (status == 403) == (scope not in (wanted(route), ADMIN)), scope
