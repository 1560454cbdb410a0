"""Refusals: what a request gets that cannot be done, as an RFC 9457 problem document.

Raised by operations, shown by the API and, as a sentence, by the command line. It never holds a traceback or anything
that the caller did not send.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from relay.model import Place

MEDIA_TYPE = "application/problem+json"

# RFC 9110 15.5 renamed these; Python before 3.13 has the old phrases.
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}


class Refusal(Exception):
    """`detail`: cause and fix in a sentence. `errors`: at 422, (location, message) of each field that is wrong, the
    location its name or the way to it.

    `retry_after`: seconds after which the same request may be tried again, 0: that is not said.
    """

    def __init__(
        self, status: int, detail: str, errors: Sequence[tuple[str | Place, str]] = (), *, retry_after: int = 0
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple([((loc,) if isinstance(loc, str) else loc, msg) for loc, msg in errors])
        self.retry_after = retry_after


def problem(status: int, detail: str, instance: str, errors: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """RFC 9457 3.1. `type` is about:blank: the status code is the whole type, so `title` is its phrase (4.2.1)."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": instance,
    }
    return document | ({"errors": list(errors)} if errors else {})


def shown(part: int | str) -> int | str:
    """Part of a place. The client may have named it, in letters that no answer can be written in (hazard H1)."""
    return part.encode("utf-8", "backslashreplace").decode()[:200] if isinstance(part, str) else part
