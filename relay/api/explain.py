"""/v1/explain: where a message would go now, and why.

Part of the application; the answer is the dispatcher's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from relay.api.callers import needs
from relay.api.operations.queue import MOST
from relay.api.parts import ApiParts
from relay.model import Scope

LARGEST = 1 << 40  # bytes of a message to ask about


def router(parts: ApiParts) -> APIRouter:
    routes = APIRouter(prefix="/v1/explain", tags=["explain"], dependencies=[Depends(needs(Scope.QUEUE))])
    operations = parts.operations

    @routes.get("", operation_id="explain")
    async def explain(
        sender: Annotated[str, Query(alias="from", max_length=MOST["from"])],
        recipient: Annotated[str, Query(alias="to", max_length=MOST["to"])],
        size: Annotated[int, Query(ge=0, le=LARGEST)] = 0,
        client: Annotated[str, Query(max_length=45, description="an IP address, or unix")] = "",
    ) -> Mapping[str, Any]:
        """The rule that matches, providers in order, why each is skipped, the resulting From, quota left."""
        return operations.explain(sender=sender, recipient=recipient, size=size, client=client)

    return routes
