"""/v1/explain: where a message would go now, and why.

Part of the application; the answer is the dispatcher's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query

from relay.api.parts import ApiParts


def router(parts: ApiParts) -> APIRouter:
    routes = APIRouter(prefix="/v1/explain", tags=["explain"])
    operations = parts.operations

    @routes.get("", operation_id="explain")
    async def explain(
        sender: Annotated[str, Query(alias="from")],
        recipient: Annotated[str, Query(alias="to")],
        size: Annotated[int, Query(ge=0)] = 0,
        client: str = "",
    ) -> Mapping[str, Any]:
        """The rule that matches, providers in order, why each is skipped, the resulting From, quota left."""
        return operations.explain(sender=sender, recipient=recipient, size=size, client=client)

    return routes
