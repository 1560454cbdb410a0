"""The `data` of an event: any JSON, within bounds, as it goes to templates as their variables.

Used by the resources that take it. It judges what no template could be given, and names the place; it changes nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

from relay.api.problem import shown
from relay.model import Place

DEEPEST = 50
"""Objects and lists in one another."""
_MOST_TOLD = 20
_HALF = re.compile("[\ud800-\udfff]")
_LARGEST = 1 << 63


def _problems(data: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """Without recursion: depth is one of the things that are judged (hazard H6). A place is made only where something
    is wrong: there may be half a million values.
    """
    place: list[str | int] = []
    levels: list[Iterator[tuple[str | int, Any]]] = [iter(data.items())]
    while levels:
        for step, value in levels[-1]:
            if isinstance(step, str) and not step.isascii() and _HALF.search(step):
                yield tuple(place), "has a key with half a surrogate pair"
            if isinstance(value, dict | list):
                if len(levels) > DEEPEST:
                    yield tuple(place), f"is nested more than {DEEPEST} levels deep"
                elif value:
                    place.append(step)
                    levels.append(iter(value.items() if isinstance(value, dict) else enumerate(value)))
                    break
            elif why := _problem(value):
                yield (*place, step), why
        else:
            levels.pop()
            del place[-1:]


def _problem(value: str | int | float | None) -> str:
    if isinstance(value, str):
        return "" if value.isascii() or not _HALF.search(value) else "has half a surrogate pair; write whole characters"
    if isinstance(value, float):
        return "" if math.isfinite(value) else "is no number that JSON has (RFC 8259 6)"
    if isinstance(value, int) and not -_LARGEST <= value < 2 * _LARGEST:
        return "is a number of more than 64 bits; send it as a string"
    return ""


def _judged(data: dict[str, Any]) -> dict[str, Any]:
    found = [
        InitErrorDetails(
            type=PydanticCustomError("unfit", "{why}", {"why": why}), loc=tuple(map(shown, place)), input=None
        )
        for (place, why), _ in zip(_problems(data), range(_MOST_TOLD), strict=False)
    ]
    if found:
        raise ValidationError.from_exception_data("data", found)
    return data


Facts = Annotated[
    dict[str, Any],
    AfterValidator(_judged),
    WithJsonSchema({"type": "object", "additionalProperties": True}),
    Field(description="the variables of the templates: each key is one"),
]


class Sample(BaseModel):
    """What the templates are given."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={"examples": [{"data": {"user": {"email": "ann@example.org", "username": "ann"}}}]},
    )

    data: Facts = Field(default_factory=dict)
