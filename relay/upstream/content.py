"""What goes between 354 and the dot: our headers, rewritten where a route says so, then the body as it lies.

Called by the transport before a shipment queues, and by the conversation to read on. Never holds a whole file.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from msgspec import Struct

from relay.model import Body, Rewrite, Shipment
from relay.smtp.headers import HEAD, rewrite


class Content(Struct, frozen=True):
    """`parts`, then, if there is a `path`, that file from byte `offset` on. `size`: all of it, in bytes."""

    parts: tuple[bytes, ...]
    size: int
    path: Path | None = None
    offset: int = 0
    rest: int = 0


async def content_of(shipment: Shipment, body: Body) -> Content:
    """OSError: the file is not readable. ValueError: its header section is too long to rewrite."""
    prefix, data, changes = shipment.message.prefix, body.data, shipment.rewrite
    if changes is None or not (changes.header_from or changes.reply_to):
        return Content(
            (prefix, data or b""), len(prefix) + body.size, body.path, 0, 0 if data is not None else body.size
        )
    if data is not None:
        whole = _rewritten(prefix + data, changes)
        return Content((whole,), len(whole))
    path = body.path or Path()
    head = await asyncio.to_thread(_head, path)
    taken = len(head)
    if taken < body.size and b"\r\n\r\n" not in prefix + head:
        raise ValueError("the header section is too long to be rewritten")
    head = _rewritten(prefix + head, changes)
    return Content((head,), len(head) + body.size - taken, path, taken, body.size - taken)


def _rewritten(head: bytes, changes: Rewrite) -> bytes:
    return rewrite(head, header_from=changes.header_from, reply_to=changes.reply_to)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)
