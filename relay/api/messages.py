"""/v1/messages: what is in the queue and in the history, and acting on one message.

Part of the application; the work is done by the operations.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from relay.api.callers import Caller, needs
from relay.api.operations.queue import MAX_PAGE, MOST
from relay.api.parts import ApiParts
from relay.model import Scope, State

Action = Literal["retry", "hold", "release", "cancel", "reroute"]
Who = Annotated[Caller, Depends(needs(Scope.QUEUE))]
Id = Annotated[str, Path(max_length=MOST["id"], description="of a message, from the answer that took it")]
DryRun = Annotated[bool, Query(description="only say whether it would be done")]

_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "There is no such message, or it was pruned"}}
_CONFLICT: dict[int | str, dict[str, Any]] = {409: {"description": "In its state the action does not apply to it"}}


class Which(BaseModel):
    """Which messages. Addresses are globs; what is left out matches all; ended ones only when asked for."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    id: str = Field("", max_length=MOST["id"])
    sender: str = Field("", alias="from", max_length=MOST["from"], description="glob on the envelope sender")
    recipient: str = Field("", alias="to", max_length=MOST["to"], description="glob on the envelope recipients")
    provider: str = Field("", max_length=MOST["provider"])
    state: list[State] = Field(default_factory=list, max_length=len(State))
    older: str = Field("", max_length=MOST["older"], description="received longer ago than this: 10m, 2h")
    ended: StrictBool = Field(False, description="look at the history too")
    tag: str = Field("", max_length=MOST["tag"], description="a tag of the message, exactly")
    search: str = Field(
        "", max_length=MOST["search"], description="part of the id, sender, a recipient or a tag, in any case"
    )

    def given(self) -> dict[str, Any]:
        return self.model_dump(by_alias=True, mode="json")


class Listing(Which):
    """The same in a query, and which part of what is found."""

    ended: bool = Field(False, description="look at the history too")
    limit: int = Field(100, ge=1, le=MAX_PAGE)
    after: str = Field("", max_length=MOST["id"], description="the last id of the page before")

    def given(self) -> dict[str, Any]:
        return self.model_dump(by_alias=True, mode="json", exclude={"limit", "after"})


class Target(BaseModel):
    """Where to, for reroute."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"provider": "backup"}})

    provider: str = Field("", max_length=MOST["provider"])


def router(parts: ApiParts) -> APIRouter:
    routes = APIRouter(prefix="/v1/messages", tags=["messages"], dependencies=[Depends(needs(Scope.QUEUE))])
    operations = parts.operations

    @routes.get("", operation_id="list_messages")
    async def list_messages(which: Annotated[Listing, Query()]) -> dict[str, Any]:
        """Oldest first; every recipient that waits says why."""
        return await operations.list(which.given(), limit=which.limit, after=which.after)

    @routes.get("/{id}", operation_id="show_message", responses=_UNKNOWN)
    async def show_message(id: Id) -> dict[str, Any]:
        """Envelope, recipients, tags and timeline."""
        return await operations.show(id)

    @routes.post("/{id}/{action}", operation_id="act_on_message", responses=_UNKNOWN | _CONFLICT)
    async def act_on_message(
        id: Id, action: Action, who: Who, target: Annotated[Target | None, Body()] = None, dry_run: DryRun = False
    ) -> dict[str, Any]:
        """On a message that is being sent, hold and cancel act after the attempt. reroute needs `provider`."""
        provider = target.provider if target else ""
        return await operations.act_on(id, action, who=who.name, provider=provider, dry_run=dry_run)

    return routes
