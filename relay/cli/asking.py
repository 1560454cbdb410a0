"""What can be asked of a relay, however it is reached.

Used by every command, through `client` (a running one) or `local` (none runs). It knows targets and shapes, no sockets.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from relay.cli.options import Failure

JSON = dict[str, Any]

_PARTS = ("body", "query", "path", "header")  # of a request, as answers name them
_LISTED = 2


class Relay(ABC):
    """A relay's HTTP API. `exchange` is how it is reached; the rest is what is asked for most."""

    @abstractmethod
    def exchange(self, target: str, order: JSON | None = None, method: str = "") -> tuple[int, JSON]:
        """Status and JSON, whatever the status. `method`: GET without an order, POST with one, unless it is given."""

    def ask(self, target: str, order: JSON | None = None, method: str = "") -> JSON:
        """The answer, {} for none. Raises Failure for a refusal, and where the relay would be elsewhere: a token is not
        taken there.
        """
        status, content = self.exchange(target, order, method)
        if status >= 300:
            raise refusal(status, content)
        return content

    def list(self, where: Mapping[str, Any], *, limit: int, after: str) -> JSON:
        asked = {**where, "limit": limit, **({"after": after} if after else {})}
        return self.ask(f"/v1/messages?{in_query(asked)}")

    def show(self, message: str) -> JSON:
        return self.ask(f"/v1/messages/{in_path(message)}")

    def act(self, action: str, where: Mapping[str, Any], *, provider: str, dry_run: bool) -> JSON:
        order = {"action": action, "filter": dict(where), "provider": provider, "dry_run": dry_run}
        return self.ask("/v1/queue/actions", order)

    def stats(self) -> JSON:
        return self.ask("/v1/queue/stats")

    def explain(self, question: Mapping[str, Any]) -> JSON:
        return self.ask(f"/v1/explain?{in_query(question)}")


def in_path(name: str) -> str:
    """One segment of an address. Octets that are not in the locale's encoding are sent as they were typed (PEP 383)."""
    return quote(name, safe="", errors="surrogateescape")


def in_query(asked: Mapping[str, Any]) -> str:
    return urlencode(asked, doseq=True, errors="surrogateescape")


def decoded(content: bytes) -> JSON:
    """An object; a list is `{"data": […]}`, nothing is {}. Raises ValueError for what is no JSON."""
    found = json.loads(content) if content else {}
    if isinstance(found, list):
        return {"data": found}
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def refusal(status: int, problem: Mapping[str, Any]) -> Failure:
    """A problem document as a sentence. What the relay could not read is wrong usage."""
    detail = str(problem.get("detail") or f"the relay answered {status}")
    errors = "; ".join(f"{_place(error['loc'])}: {error['msg']}" for error in problem.get("errors", ()))
    return Failure(f"{detail}: {errors}" if errors else detail, 2 if status in (400, 422) else 1)


def _place(loc: Sequence[object]) -> str:
    """The way to what is wrong, such as actions.1.data.subject; of a field on top its name, not its place in a list."""
    way = loc[1:] if len(loc) > 1 and loc[0] in _PARTS else loc
    return str(way[0]) if len(way) == _LISTED and isinstance(way[1], int) else ".".join(map(str, way))
