"""The bug: a message counts as taken, and is deleted, when it is given to a connection; its 250 is not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from relay.delivery.classify import accepted
from relay.model import Body, DeliveryOutcome, Reply, Shipment
from relay.upstream.smtp import SmtpTransport

TAKEN = Reply(code=250, text="surely")


def plant() -> None:
    send, under_way = SmtpTransport.send, set[asyncio.Task[Any]]()

    async def hasty(self: SmtpTransport, shipment: Shipment, body: Body) -> Sequence[DeliveryOutcome]:
        task = asyncio.create_task(send(self, shipment, body))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        return [accepted(recipient, shipment.provider.name, TAKEN, dsn=False) for recipient in shipment.recipients]

    SmtpTransport.send = hasty  # type: ignore[method-assign]
