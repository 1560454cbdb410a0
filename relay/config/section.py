"""What settings are declared with: the section, and options with default, explanation and examples.

Used by `schema` and `workflows`. It knows no setting and reads no file.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from relay.config import shape


def option(default: Any, description: str, *examples: object, **bounds: Any) -> Any:
    return Field(default, description=description, validate_default=True, examples=list(examples) or None, **bounds)


def section(description: str) -> Any:
    return Field(default_factory=dict, description=description, validate_default=True)


def needed(description: str, *examples: object, **bounds: Any) -> Any:
    return Field(description=description, examples=list(examples), **bounds)


class Section(BaseModel):
    """A mapping in the file. Unknown keys are errors; null is a value where the schema has one, else the default."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def null_is_missing(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        fields = shape.fields(cls)
        return {k: v for k, v in data.items() if v is not None or k not in fields or shape.nullable(fields[k])}
