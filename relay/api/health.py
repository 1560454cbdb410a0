"""/healthz, /readyz and /metrics: for supervisors, load balancers and scrapers, on every socket.

Part of the application. Ready does not depend on providers: mail is accepted
and kept while they are down.
"""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from relay.api.parts import ApiParts

_METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Ready(BaseModel):
    """Each of `checks` is "ok", or what is wrong and how to mend it."""

    status: Literal["ok", "not ready"]
    mode: str
    checks: dict[str, str]


def router(parts: ApiParts) -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.head("/healthz", include_in_schema=False)
    @routes.get("/healthz", operation_id="healthz")
    async def healthz() -> dict[str, str]:
        """The process is alive and its event loop turns."""
        return {"status": "ok", "version": parts.version}

    @routes.head("/readyz", include_in_schema=False)
    @routes.get("/readyz", operation_id="readyz", responses={503: {"description": "Not ready", "model": Ready}})
    async def readyz(response: Response) -> Ready:
        """Mail is accepted. Each check is "ok" or says what is wrong."""
        found = await parts.readiness()
        response.status_code = 200 if found.ready else 503
        return Ready(status="ok" if found.ready else "not ready", mode=found.mode, checks=dict(found.checks))

    @routes.head("/metrics", include_in_schema=False)
    @routes.get("/metrics", operation_id="metrics", response_class=Response)
    async def metrics() -> Response:
        """The text format of Prometheus."""
        return Response(await parts.metrics(), media_type=_METRICS)

    return routes
