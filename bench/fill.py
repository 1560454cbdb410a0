"""Filling a spool with mail that waits, through the relay's own way in: a million messages in a minute or two.

`waiting.py` of the rows calls it while no relay runs on that spool. It places mail as the configuration says.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import uvloop

from bench.waiting import Failed
from relay.app.build import delivery_policy, spool_limits
from relay.config import build
from relay.config.load import load
from relay.delivery.dispatcher import Dispatcher
from relay.events import nobody
from relay.model import Body, Envelope, Message, MessageId, Recipient, Source, Submission
from relay.spool.sqlite import SqliteSpool

SENDER = "waiting@bench.test"
WIRE = b"From: waiting@bench.test\r\nSubject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 57
PREFIX = b"Received: from app.bench.test (app.bench.test [10.0.0.1])\r\n\tby relay.bench.test with ESMTP;\r\n\tnow\r\n"
CLIENTS = 200
"""Addresses they came from: each has a lane of its own."""

BATCH, AT_ONCE = 250, 4  # the spool takes at most 1,000 that are not committed yet


def submission(number: int, id_: MessageId, now: float) -> Submission:
    message = Message(
        id=id_,
        envelope=Envelope(sender=SENDER, recipients=(Recipient(address=f"user{number}@example.test"),)),
        prefix=PREFIX,
        size=len(PREFIX) + len(WIRE),
        source=Source(kind="smtp", listener="internal", client=f"10.0.0.{number % CLIENTS}"),
        received_at=now,
        expires_at=now + 5 * 86400,
    )
    return Submission(message=message, body=Body(size=len(WIRE), data=WIRE))


async def _batch(spool: SqliteSpool, first: int, count: int) -> None:
    now = time.time()
    reply = await spool.accept([submission(first + n, spool.new_id(now), now) for n in range(count)])
    if reply is not None:
        raise Failed(f"the spool takes no more: {reply}")


async def _fill(file: Path, count: int, say: Callable[[str], None]) -> None:
    config = load(file, {}).config
    providers, routes = build.providers(config), build.routes(config)
    dispatcher = Dispatcher(providers, routes, delivery_policy(config), rng=Random(1), observe=nobody, capture=False)
    spool = await SqliteSpool.open(config.spool.path, dispatcher.place, spool_limits(config))
    try:
        for done in range(0, count, BATCH * AT_ONCE):
            firsts = range(done, min(done + BATCH * AT_ONCE, count), BATCH)
            await asyncio.gather(*(_batch(spool, first, min(BATCH, count - first)) for first in firsts))
            if done % 100_000 == 0:
                say(f"filling the spool: {done:,} of {count:,}")
    finally:
        await spool.close()


def fill(file: Path, count: int, say: Callable[[str], None]) -> None:
    """Put `count` messages of 4 KiB into the spool that the configuration in `file` names."""
    uvloop.run(_fill(file, count, say))
