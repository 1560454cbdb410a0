"""/v1/key: the key that encrypts passwords at rest. The scope admin is needed.

Part of the application; the work is done by the registry.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from relay.api.operations.accounts import AccountOperations
from relay.api.parts import ApiParts
from relay.api.users import Admin


class Rotated(BaseModel):
    """How many secrets the new key encrypts."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rotated": 3}]})

    rotated: int


def router(parts: ApiParts) -> APIRouter:
    routes = APIRouter(prefix="/v1/key", tags=["accounts"])
    operations = AccountOperations(parts)

    @routes.post("/rotate", operation_id="rotate_key", response_model=Rotated)
    async def rotate_key(caller: Admin) -> dict[str, Any]:
        """A new key, everything re-encrypted; the old one is gone afterwards."""
        return await operations.rotate_key(caller.name)

    return routes
