"""/v1/queue: acting on many messages, and how the queue stands.

Part of the application; the work is done by the operations.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from relay.api.callers import needs
from relay.api.messages import Action, Which, Who
from relay.api.operations.queue import MOST
from relay.api.parts import ApiParts
from relay.model import Scope

_EXAMPLE: dict[str, Any] = {
    "action": "retry",
    "filter": {"state": ["deferred"], "to": "*@example.org"},
    "dry_run": True,
}


class Order(BaseModel):
    """`filter` must be given; {} is everything. `dry_run`: only say what would change."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _EXAMPLE})

    action: Action
    filter: Which
    dry_run: StrictBool = False
    provider: str = Field("", max_length=MOST["provider"], description="where to, for reroute")


def router(parts: ApiParts) -> APIRouter:
    routes = APIRouter(prefix="/v1/queue", tags=["queue"], dependencies=[Depends(needs(Scope.QUEUE))])
    operations = parts.operations

    @routes.post("/actions", operation_id="act_on_queue")
    async def act_on_queue(order: Order, who: Who) -> dict[str, Any]:
        """`changed`: ids; `skipped`: id to why not."""
        where = order.filter.given()
        return await operations.act(order.action, where, who=who.name, provider=order.provider, dry_run=order.dry_run)

    @routes.get("/stats", operation_id="queue_stats")
    async def queue_stats() -> dict[str, Any]:
        """Messages by state, the oldest, and room in the spool."""
        return await operations.stats()

    return routes
