"""/api/email-provider/providers/: making, changing, checking and watching the providers that mail goes through.

Part of the application; the work is done by the operations. Every address is answered without its last slash, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse

from relay.api import provider_answers as answers
from relay.api.callers import Caller, needs
from relay.api.openapi import REFUSED
from relay.api.operations.providers import Providers
from relay.api.parts import ApiParts
from relay.api.provider_bodies import ChangedProvider, Credentials, Filters, NewProvider, TestMail
from relay.model import Scope

PREFIX = "/api/email-provider/providers"
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Who = Annotated[Caller, Depends(needs(Scope.PROVIDERS))]

_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "There is no such provider"}}
_CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"description": "The name is taken, or the provider stands in the configuration file"}
}
_BOTH: dict[int | str, dict[str, Any]] = {400: {"description": "smtp_use_tls and smtp_use_ssl exclude each other"}}


class _Routes(APIRouter):
    """Routes that end in a slash, and are found without it."""

    def on(self, method: str, path: str, **more: Any) -> Callable[[Endpoint], Endpoint]:
        def add(endpoint: Endpoint) -> Endpoint:
            name = endpoint.__name__
            self.add_api_route(f"{path}/", endpoint, methods=[method], operation_id=name, **more)
            self.add_api_route(path, endpoint, methods=[method], include_in_schema=False, **more)
            return endpoint

        return add


def router(parts: ApiParts) -> APIRouter:
    routes = _Routes(prefix=PREFIX, tags=["providers"], dependencies=[Depends(needs(Scope.PROVIDERS))])
    operations = Providers(
        registry=parts.registry,
        checks=parts.checks,
        apply=parts.apply,
        observe=parts.observe,
        clock=parts.clock,
        statuses=parts.statuses,
        source=parts.source,
        allow_private=parts.allow_private,
    )
    _look(routes, operations)
    _change(routes, operations)
    _ask(routes, operations)
    return routes


def _look(routes: _Routes, operations: Providers) -> None:
    """The words among the addresses come before ids."""

    @routes.on("GET", "", response_model=list[answers.Row])
    async def list_providers(where: Annotated[Filters, Query()]) -> Sequence[dict[str, Any]]:
        """All of them, of the configuration file and of this API, or those that pass all filters."""
        return operations.list(where.model_dump())

    @routes.on("GET", "/statistics", response_model=list[answers.Statistics])
    async def provider_statistics() -> Sequence[dict[str, Any]]:
        """What they sent, how much of their limits is used, how often and how fast they took mail."""
        return operations.statistics()

    @routes.on("GET", "/health_status", response_model=list[answers.HealthRow])
    async def provider_health_status() -> Sequence[dict[str, Any]]:
        """Who is healthy, and who can be given mail now."""
        return operations.health()

    @routes.on("GET", "/{id:int}", response_model=answers.Unhealthy | answers.One, responses=_UNKNOWN)
    async def show_provider(id: int) -> dict[str, Any]:
        """One provider. If it is unhealthy, `health_detail` says why and what to do."""
        return operations.show(id)


def _change(routes: _Routes, operations: Providers) -> None:
    errors = _BOTH | _UNKNOWN | _CONFLICT

    @routes.on("POST", "", status_code=201, response_model=answers.Made, responses=_BOTH | _CONFLICT)
    async def create_provider(body: NewProvider, who: Who) -> dict[str, Any]:
        """Mail may go through it at once. This neither resolves its host nor connects; it is checked soon after."""
        return await operations.create(body.given(), who.name)

    @routes.on("PUT", "/{id:int}", response_model=answers.Updated, responses=errors)
    async def update_provider(id: int, body: ChangedProvider, who: Who) -> dict[str, Any]:
        """Change what is given, keep the rest; the same as PATCH."""
        return await operations.update(id, body.given(), who.name)

    @routes.on("PATCH", "/{id:int}", response_model=answers.Updated, responses=errors)
    async def patch_provider(id: int, body: ChangedProvider, who: Who) -> dict[str, Any]:
        """Change what is given, keep the rest."""
        return await operations.update(id, body.given(), who.name)

    @routes.on("DELETE", "/{id:int}", status_code=204, responses=_UNKNOWN | _CONFLICT)
    async def remove_provider(id: int, who: Who) -> None:
        """Its name is free again; mail that waits for it is routed anew, or waits for another provider."""
        await operations.remove(id, who.name)

    @routes.on("POST", "/{id:int}/update_credentials", response_model=answers.Credentials, responses=errors)
    async def update_credentials(id: int, body: Credentials, who: Who) -> dict[str, Any]:
        """Where it is and how to log in. If it was out, it is tried again at once, and mail that waits goes."""
        return await operations.update_credentials(id, body.given(), who.name)

    @routes.on("POST", "/{id:int}/activate", response_model=answers.Done, responses=_UNKNOWN | _CONFLICT)
    async def activate_provider(id: int, who: Who) -> dict[str, Any]:
        """Give it mail again. If it was out, it is tried at once."""
        return await operations.activate(id, who.name)

    @routes.on("POST", "/{id:int}/deactivate", response_model=answers.Done, responses=_UNKNOWN | _CONFLICT)
    async def deactivate_provider(id: int, who: Who) -> dict[str, Any]:
        """Give it no more mail; what is being sent is finished."""
        return await operations.deactivate(id, who.name)


def _ask(routes: _Routes, operations: Providers) -> None:
    failed: dict[int | str, dict[str, Any]] = {400: {"model": answers.NotSent, "content": dict(REFUSED)}}

    @routes.on("POST", "/{id:int}/test", response_model=answers.Sent, responses=failed | _UNKNOWN)
    async def test_provider(id: int, body: TestMail, who: Who) -> JSONResponse:
        """Send a real mail through it now. It counts against its limits and is not queued; within a minute it is known
        what became of it.
        """
        well, answer = await operations.test(id, body.test_email, who.name)
        return JSONResponse(answer, status_code=200 if well else 400)

    @routes.on("POST", "/{id:int}/health_check", response_model=answers.Checkup, responses=_UNKNOWN)
    async def check_provider(id: int) -> dict[str, Any]:
        """Connect, begin TLS and log in now, without sending anything."""
        return await operations.check(id)
