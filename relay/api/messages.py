"""/v1/messages: what is in the queue and in the history, and acting on one message.

Part of the application; the work is done by the operations.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from relay.api.operations.queue import MAX_PAGE
from relay.api.parts import ApiParts
from relay.model import State

Action = Literal["retry", "hold", "release", "cancel", "reroute"]


class Which(BaseModel):
    """Which messages. Addresses are globs; what is left out matches all; ended ones only when asked for."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    id: str = ""
    sender: str = Field("", alias="from", description="glob on the envelope sender")
    recipient: str = Field("", alias="to", description="glob on the envelope recipients")
    provider: str = ""
    state: list[State] = Field(default_factory=list)
    older: str = Field("", description="received longer ago than this: 10m, 2h")
    ended: bool = Field(False, description="look at the history too")

    def given(self) -> dict[str, Any]:
        return self.model_dump(by_alias=True, mode="json")


class Listing(Which):
    limit: int = Field(100, ge=1, le=MAX_PAGE)
    after: str = Field("", description="the last id of the page before")

    def given(self) -> dict[str, Any]:
        return self.model_dump(by_alias=True, mode="json", exclude={"limit", "after"})


class Target(BaseModel):
    """Where to, for reroute."""

    model_config = ConfigDict(extra="forbid")

    provider: str = ""


def router(parts: ApiParts) -> APIRouter:
    routes = APIRouter(prefix="/v1/messages", tags=["messages"])
    operations = parts.operations

    @routes.get("", operation_id="list_messages")
    async def list_messages(which: Annotated[Listing, Query()]) -> dict[str, Any]:
        """Oldest first; every recipient that waits says why."""
        return await operations.list(which.given(), limit=which.limit, after=which.after)

    @routes.get("/{id}", operation_id="show_message")
    async def show_message(id: str) -> dict[str, Any]:
        """Envelope, recipients and timeline."""
        return await operations.show(id)

    @routes.post("/{id}/{action}", operation_id="act_on_message")
    async def act_on_message(id: str, action: Action, target: Target | None = None) -> dict[str, Any]:
        """On a message that is being sent, hold and cancel act after the attempt. reroute needs `provider`."""
        return await operations.act_on(id, action, provider=target.provider if target else "")

    return routes
