"""The queue of a relay that does not run.

Called by the command line. It holds the spool's lock while it is open; it starts nothing and sends nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from random import Random

from relay.app.build import delivery_policy, spool_limits
from relay.app.plan import CannotStart
from relay.config import build
from relay.config.schema import Config
from relay.db.errors import SpoolError
from relay.delivery.dispatcher import Dispatcher
from relay.events import nobody
from relay.ports import Desk, Explain
from relay.spool.sqlite import SqliteSpool


@contextlib.asynccontextmanager
async def offline_desk(config: Config) -> AsyncIterator[tuple[Desk, Explain]]:
    """The queue and what may be asked of it. Raises CannotStart."""
    providers = build.providers(config)
    dispatcher = Dispatcher(
        providers,
        build.routes(config),
        delivery_policy(config),
        rng=Random(),  # nosec B311 - jitter and shares, no secret
        observe=nobody,
        capture=not providers,
    )
    try:
        spool = await SqliteSpool.open(config.spool.path, dispatcher.place, spool_limits(config), observe=nobody)
    except SpoolError as error:
        raise CannotStart(str(error)) from error
    try:
        dispatcher.load(await spool.usage(time.time()))
        yield spool, dispatcher
    finally:
        await spool.close()
