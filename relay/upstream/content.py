"""What goes between 354 and the dot: our headers, rewritten where identity or route say so, then the body as it lies.

Called by the transport before a shipment queues, and by the conversation to read on. Never holds a whole file.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from msgspec import Struct

from relay.model import Body, Rewrite, Shipment
from relay.smtp.headers import HEAD, IDENTITY, rewrite, without


class Content(Struct, frozen=True):
    """`parts`, then, if there is a `path`, that file from byte `offset` on. `size`: all of it, in bytes."""

    parts: tuple[bytes, ...]
    size: int
    path: Path | None = None
    offset: int = 0
    rest: int = 0


async def content_of(shipment: Shipment, body: Body) -> Content:
    """OSError: the file is not readable. ValueError: its header section is too long to rewrite."""
    prefix, data, identity, route = shipment.message.prefix, body.data, shipment.message.identity, shipment.rewrite
    if identity is None and (route is None or not (route.header_from or route.reply_to)):
        return Content(
            (prefix, data or b""), len(prefix) + body.size, body.path, 0, 0 if data is not None else body.size
        )
    if data is not None:
        whole = _rewritten(prefix + data, identity, route)
        return Content((whole,), len(whole))
    path = body.path or Path()
    head = await asyncio.to_thread(_head, path)
    taken = len(head)
    if taken < body.size and b"\r\n\r\n" not in prefix + head:
        raise ValueError("the header section is too long to be rewritten")
    head = _rewritten(prefix + head, identity, route)
    return Content((head,), len(head) + body.size - taken, path, taken, body.size - taken)


def _rewritten(head: bytes, identity: Rewrite | None, route: Rewrite | None) -> bytes:
    """The route's word goes over that of the identity, whose name is for us only."""
    first, last = route or _NOTHING, identity or _NOTHING
    if identity is not None:
        head = without(head, IDENTITY)
    header_from, reply_to = first.header_from or last.header_from, first.reply_to or last.reply_to
    return rewrite(head, header_from=header_from, reply_to=reply_to)


_NOTHING = Rewrite()


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)
