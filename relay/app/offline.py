"""The API of a relay that does not run, over its spool.

Called by the command line. It holds the spool's lock while it is open; it serves no socket and delivers nothing but
the mail by which a person tests a provider.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from random import Random

from msgspec.structs import replace
from starlette.types import ASGIApp

from relay.api.app import create_app
from relay.api.parts import Readiness
from relay.api.serving.entrance import doors
from relay.app.build import plan
from relay.app.core import Core
from relay.app.plan import CannotStart, Plan
from relay.config.load import Loaded
from relay.db.errors import SpoolError
from relay.events import nobody
from relay.store.registry import NameInBoth
from relay.store.workflows import WorkflowInBoth


@contextlib.asynccontextmanager
async def offline_api(loaded: Loaded) -> AsyncIterator[ASGIApp]:
    """The application as the control socket serves it. Raises CannotStart."""
    try:
        core = await _opened(plan(loaded))
    except SpoolError as error:
        raise CannotStart(str(error)) from error
    try:
        parts = core.parts(readiness=_readiness, metrics=_metrics)
        _, control = doors(create_app(parts), parts)
        yield control
    finally:
        await core.maintain(time.time())
        await core.close()


async def _opened(wanted: Plan) -> Core:
    """Of two by one name that which was made by hand: this is where it can be removed."""
    rng = Random()  # nosec B311 - jitter and shares, no secret
    while True:
        try:
            return await Core.open(wanted, rng=rng, observe=nobody)
        except NameInBoth as error:
            wanted = replace(wanted, providers=tuple(one for one in wanted.providers if one.name != error.name))
        except WorkflowInBoth as error:
            wanted = replace(wanted, workflows=tuple(one for one in wanted.workflows if one.name != error.name))


async def _readiness() -> Readiness:
    return Readiness(mode="offline", checks={"relay": "does not run: start it with relay run"})


async def _metrics() -> bytes:
    return b""
