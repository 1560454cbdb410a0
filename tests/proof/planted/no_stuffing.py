"""The bug: no dot is doubled on the way to the upstream (RFC 5321 4.5.2)."""

from __future__ import annotations

from msgspec.structs import replace

from relay.model import Body, Shipment
from relay.smtp.data import unstuff
from relay.upstream import smtp
from relay.upstream.content import Content, content_of


async def bare(shipment: Shipment, body: Body) -> Content:
    content = await content_of(shipment, body)
    prefix, *rest = content.parts
    parts = (prefix, *(unstuff(part) for part in rest))
    return replace(content, parts=parts, size=sum(map(len, parts)) + content.rest)


def plant() -> None:
    smtp.content_of = bare  # type: ignore[attr-defined]
