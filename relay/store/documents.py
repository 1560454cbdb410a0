"""From a document that is kept to the workflow that the relay works with.

Used by `workflows`. Only here it asks the configuration what a document means, whose machinery takes memory: not while
there is nothing to read. It never raises for what lies in the database.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from msgspec.structs import replace

from relay.model import Workflow
from relay.store.workflow_rows import Row

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_DAMAGED = "what is stored of it is damaged; set all of it again, or remove it"


def workflow_of(
    document: Mapping[str, object], *, name: str, version: int, changed_at: float, changed_by: str
) -> Workflow:
    """Templates in it are not judged: they were, when it was taken. Raises ValueError (pydantic's) for no document."""
    from relay.config import workflows

    return workflows.workflow(
        workflows.parse(document, judged=True),
        name=name,
        origin="api",
        version=version,
        changed_at=changed_at,
        changed_by=changed_by,
    )


def name_for(event: str, taken: Container[str]) -> str:
    from relay.config import workflows

    return workflows.name_for(event, taken)


def _is_name(name: str) -> bool:
    try:
        _names().validate_python(name)
    except ValueError:
        return False
    return True


@cache
def _names() -> TypeAdapter[str]:
    from pydantic import TypeAdapter

    from relay.config import workflows

    return TypeAdapter(workflows.Name)


def opened(row: Row) -> Workflow:
    try:
        document = json.loads(row.document or b"")
        return workflow_of(
            document, name=row.name, version=row.version, changed_at=row.changed_at, changed_by=row.changed_by
        )
    except (ValueError, RecursionError):
        return _damaged(row)


def _damaged(row: Row) -> Workflow:
    return Workflow(
        name=row.name,
        event=row.event,
        actions=(),
        origin="api",
        version=row.version,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
        damaged=_DAMAGED,
    )


def told_apart(rows: Iterable[Row]) -> dict[int, Workflow]:
    """By id. A name that is damaged, or by that another's, is not used: nobody meant it."""
    found: dict[int, Workflow] = {}
    names: set[str] = set()
    for row in rows:
        one = opened(row)
        if row.name in names or not _is_name(row.name):
            one = replace(one, name=f"damaged-{row.id}", actions=(), damaged=_DAMAGED)
        names.add(one.name)
        found[row.id] = one
    return found
