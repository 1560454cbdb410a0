"""The HTTP application: resources, guards, and how errors look.

Built by `relay.app`, run by `relay.api.serving.server`. A client never sees a traceback or the text of an exception.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from relay.api import (
    docs,
    events,
    explain,
    health,
    integrations,
    key,
    messages,
    presets,
    providers,
    queue,
    send_email,
    sending,
    services,
    token,
    tokens,
    users,
    workflow_runs,
    workflows,
)
from relay.api.openapi import describe
from relay.api.parts import ApiParts
from relay.api.problem import MEDIA_TYPE, Refusal, problem, shown
from relay.db.errors import StorageFailed, StorageFull


def create_app(parts: ApiParts) -> FastAPI:
    """All resources, those with the most requests first: each is compared in turn. `server` puts the guards in front,
    and the door for TCP clients.
    """
    app = FastAPI(
        title="smtp-relay",
        version=parts.version,
        description="Send mail, manage providers, watch and work the queue of one mail relay.",
        docs_url=None,  # ours, which load nothing from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # it would send people, and their token, to http at whatever Host they named
    )
    resources = (
        sending,
        send_email,
        events,
        services,
        workflow_runs,
        health,
        messages,
        queue,
        explain,
        providers,
        presets,
        workflows,
        integrations,
        token,
        users,
        tokens,
        key,
    )
    for resource in resources:
        app.include_router(resource.router(parts))
    app.include_router(docs.router())
    describe(app)
    app.exception_handler(Refusal)(_refused)
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(StorageFailed)(_no_storage)
    app.exception_handler(StorageFull)(_no_room)
    app.exception_handler(Exception)(_crashed)
    return app


def _answer(request: Request, status: int, detail: str, errors: list[dict[str, Any]] | None = None) -> JSONResponse:
    document = problem(status, detail, request.url.path, errors or ())
    return JSONResponse(document, status_code=status, media_type=MEDIA_TYPE)


async def _refused(request: Request, error: Refusal) -> JSONResponse:
    errors = [{"loc": [*map(shown, loc)], "msg": msg} for loc, msg in error.errors]
    answer = _answer(request, error.status, error.detail, errors)
    if error.retry_after:
        answer.headers["Retry-After"] = str(error.retry_after)
    return answer


async def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    details = {
        404: "there is nothing at this address; /docs lists what there is",
        405: f"{request.method} does nothing at this address; /docs lists what there is",
    }
    answer = _answer(request, error.status_code, details.get(error.status_code, str(error.detail)))
    answer.headers.update(error.headers or {})
    return answer


async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    """Where and what, not the value: pydantic's own errors repeat the input, which may be a secret (hazard H8)."""
    errors = [
        {"loc": [*map(shown, found["loc"])], "msg": found["msg"].removeprefix("Value error, ")}  # pydantic's words
        for found in error.errors()
    ]
    return _answer(request, 422, "the request is not as it should be; see errors", errors)


async def _no_storage(request: Request, error: Exception) -> JSONResponse:
    """Cause and fix are in its text, which names the spool and nobody's mail."""
    return _answer(request, 503, str(error))


async def _no_room(request: Request, error: Exception) -> JSONResponse:
    answer = _answer(request, 503, f"the disk of the spool is full, so nothing was changed ({error}): free some room")
    answer.headers["Retry-After"] = "30"
    return answer


async def _crashed(request: Request, error: Exception) -> JSONResponse:
    return _answer(request, 500, "an internal error; the relay's log has its place")
