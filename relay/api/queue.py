"""/v1/queue: acting on many messages, and how the queue stands.

Part of the application; the work is done by the operations.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from relay.api.messages import Action, Which
from relay.api.parts import ApiParts


class Order(BaseModel):
    """`filter` must be given; {} is everything. `dry_run`: only say what would change."""

    model_config = ConfigDict(extra="forbid")

    action: Action
    filter: Which
    dry_run: bool = False
    provider: str = Field("", description="where to, for reroute")


def router(parts: ApiParts) -> APIRouter:
    routes = APIRouter(prefix="/v1/queue", tags=["queue"])
    operations = parts.operations

    @routes.post("/actions", operation_id="act_on_queue")
    async def act_on_queue(order: Order) -> dict[str, Any]:
        """`changed`: ids; `skipped`: id to why not."""
        where = order.filter.given()
        return await operations.act(order.action, where, provider=order.provider, dry_run=order.dry_run)

    @routes.get("/stats", operation_id="queue_stats")
    async def queue_stats() -> dict[str, Any]:
        """Messages by state, the oldest, and room in the spool."""
        return await operations.stats()

    return routes
