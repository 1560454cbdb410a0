"""/v1/presets: what the relay knows of mail providers, to begin with.

Part of the application. It reads what comes with the relay, and changes nothing.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict

from relay.api.callers import needs
from relay.api.parts import ApiParts
from relay.api.problem import Refusal
from relay.config.presets import PRESETS
from relay.config.words import did_you_mean
from relay.model import Scope, Tls

_EXAMPLE: dict[str, Any] = {
    "name": "gmail",
    "title": "Gmail",
    "host": "smtp.gmail.com",
    "port": 587,
    "tls": "starttls",
    "username": "",
    "auth": "auto",
    "pipelining": "auto",
    "limits": {
        "connections": 5,
        "recipients": 100,
        "per_minute": None,
        "per_day": 500,
        "per_month": None,
        "count": "recipients",
    },
    "regional": False,
    "note": "Needs an app password, which needs 2-step verification.",
}


class PresetLimits(BaseModel):
    """The provider's own, for new accounts; null: none is known. `recipients`: of one transaction; `count`: what
    minute, day and month count, messages or recipients.
    """

    connections: int | None
    recipients: int | None
    per_minute: int | None
    per_day: int | None
    per_month: int | None
    count: str


class Preset(BaseModel):
    """`host` and `username` empty: yours. `regional`: put a region, such as eu-central-1, in the place of {region}.
    `note`: what people need to know first.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: str
    title: str
    host: str
    port: int
    tls: Tls
    username: str
    auth: str
    pipelining: str
    limits: PresetLimits
    regional: bool
    note: str


class Presets(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"data": [_EXAMPLE], "has_more": False}]})

    data: list[Preset]
    has_more: bool


def router(parts: ApiParts) -> APIRouter:
    routes = APIRouter(prefix="/v1/presets", tags=["providers"], dependencies=[Depends(needs(Scope.PROVIDERS))])

    @routes.get("", operation_id="list_presets", response_model=Presets)
    async def list_presets() -> dict[str, Any]:
        """All of them: `preset` of a provider in the configuration file, `relay provider add --preset`."""
        return {"data": [_shown(name) for name in PRESETS], "has_more": False}

    @routes.get(
        "/{name}",
        operation_id="show_preset",
        response_model=Preset,
        responses={404: {"description": "There is no such preset"}},
    )
    async def show_preset(name: Annotated[str, Path(max_length=100)]) -> dict[str, Any]:
        """One of them."""
        if name not in PRESETS:
            raise Refusal(404, "there is no preset of this name" + did_you_mean(name, PRESETS))
        return _shown(name)

    return routes


def _shown(name: str) -> dict[str, Any]:
    preset = PRESETS[name]
    return {"name": name, "regional": preset.regional, **asdict(preset)}
