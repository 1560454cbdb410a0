"""Telling the relay what happened, and looking at what came of it, over plain JSON-able data.

Called by the resources, which have judged what came in. The mail of an event, its record and its idempotency key are
one transaction. It never keeps the data of an event.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from relay.api.operations.idempotency import Use
from relay.api.operations.sending import Sending, Taken, busy, no_storage
from relay.api.parts import ApiParts
from relay.api.problem import Refusal
from relay.api.views import moment
from relay.automation.firing import Crowded, Planned, TooMuch
from relay.automation.renderer import Overloaded
from relay.model import Happening, Workflow
from relay.posting import Asked

JSON = dict[str, Any]
Data = Mapping[str, Any]

_CAUSED = ("fired", "messages", "failed", "skipped")
_LATER = 2  # seconds after which the sandbox may have time


class EventOperations:
    """`asked`: who tells it. `use`, `digest`: of the request's idempotency key."""

    def __init__(self, parts: ApiParts, sending: Sending) -> None:
        self._parts = parts
        self._sending = sending

    async def tell(self, name: str, data: Data, asked: Asked, use: Use, digest: str) -> Taken:
        """An event happened. Raises Refusal: 409, 422, 429, 503."""
        id = self._id()
        with refusals():
            planned = await self._parts.automation.event(id, name, data, asked)
        return await self._keep("event", name, planned, asked, use, digest)

    async def run(self, workflow: Workflow, data: Data, asked: Asked, use: Use, digest: str) -> Taken:
        """A rule is to do what it does. Raises as `tell`."""
        id = self._id()
        with refusals():
            planned = await self._parts.automation.run(id, workflow, data, asked)
        return await self._keep("workflow", workflow.name, planned, asked, use, digest)

    def _id(self) -> str:
        return self._parts.post.intake.new_id(self._parts.clock())

    async def _keep(self, kind: str, name: str, planned: Planned, asked: Asked, use: Use, digest: str) -> Taken:
        outcome = json.dumps(planned.outcome, separators=(",", ":"))
        happening = Happening(
            id=planned.outcome["id"], kind=kind, name=name, at=self._parts.clock(), user=asked.user, outcome=outcome
        )
        failed = [(_whose(item), item["error"]) for item in planned.outcome["failed"]]
        return await self._sending.keep(planned.letters, outcome, asked, use, digest, happening, failed)

    async def list(self, *, limit: int, after: str = "", name: str = "") -> JSON:
        """A page, newest first. `after`: the last id of the page before. `name`: exactly."""
        found, more = await self._parts.happenings.happenings(limit=limit, after=after, name=name)
        return {"data": [_shown(one) for one in found], "has_more": more}

    async def show(self, id: str) -> JSON:
        """Raises Refusal 404."""
        found = await self._parts.happenings.happening(id)
        if found is None:
            raise Refusal(404, f"there is no event {id[:64]!a}, or it was pruned")
        return _shown(found)


def _whose(item: JSON) -> str:
    place = ".".join(map(str, item["loc"]))
    return f"{item['workflow']} {place}".rstrip()


def _shown(one: Happening) -> JSON:
    caused = _outcome(one.outcome)
    known = {key: caused[key] for key in _CAUSED if key in caused}
    return {"id": one.id, "kind": one.kind, "name": one.name, "at": moment(one.at), "user": one.user, **known}


def _outcome(text: str) -> JSON:
    """What is stored may be damaged; the rest of it is shown then."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def refusals() -> Iterator[None]:
    """What rendering and composing refuse as a whole, as people are told."""
    try:
        yield
    except Overloaded:
        what = "templates are being rendered for others, and this would wait too long; nothing was accepted"
        raise Refusal(503, what, retry_after=_LATER) from None
    except Crowded:
        raise busy("mails are being made of other events") from None
    except TooMuch as error:
        raise Refusal(422, f"nothing was accepted: {error}", [("data", str(error))]) from None
    except OSError as error:
        raise no_storage(error) from None
