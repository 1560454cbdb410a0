"""Walking the schema: what lies under a key, and whether it is a section, a list, a mapping or one value.

Called by the environment, the messages and the example, so that all three follow the one schema. It validates nothing.
"""

from __future__ import annotations

import types
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


@cache
def fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a section by the name they have in YAML."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def nullable(field: FieldInfo) -> bool:
    return type(None) in get_args(field.annotation)


def bare(annotation: Any) -> Any:
    """The type without `Annotated` and without `| None`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return bare(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        some = [part for part in get_args(annotation) if part is not type(None)]
        return bare(some[0]) if len(some) == 1 else annotation
    return annotation


def section(annotation: Any) -> type[BaseModel] | None:
    kind = bare(annotation)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def is_list(annotation: Any) -> bool:
    return get_origin(bare(annotation)) is tuple


def is_mapping(annotation: Any) -> bool:
    return get_origin(bare(annotation)) is dict


def under(annotation: Any, key: str | int) -> Any:
    """The type one step down, None when the schema has nothing there."""
    if model := section(annotation):
        field = fields(model).get(str(key))
        return field and field.annotation
    if is_list(annotation) and isinstance(key, int):
        return get_args(bare(annotation))[0]
    if is_mapping(annotation):
        return get_args(bare(annotation))[1]
    return None


def at(root: Any, path: tuple[str | int, ...]) -> Any:
    """The type at a path, None when the schema has nothing there."""
    for key in path:
        root = under(root, key)
    return root
