"""Idempotency keys: the same request twice is one message, also when its answer was lost (hazard H7).

Used by `sending`. A key belongs to a caller; what it was used for is kept with the message, by the spool. Here is only
what the spool cannot know: which requests are under way.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from relay.api.problem import Refusal
from relay.model import Claim
from relay.posting import Post

MOST = 255  # characters of a key


def key_of(given: Sequence[str]) -> str:
    """The key in the values of the header Idempotency-Key, "" without one. Raises Refusal."""
    if not given:
        return ""
    key = given[0]
    if len(given) > 1 or not 1 <= len(key) <= MOST or not (key.isascii() and key.isprintable()):
        what = f"must be one value of 1 to {MOST} printable ASCII characters"
        raise Refusal(422, f"the header Idempotency-Key {what}", [("Idempotency-Key", what)])
    return key


class Digest:
    """Of a request: method and target, then the body as it arrives."""

    def __init__(self, target: str) -> None:
        self._sum = hashlib.sha256(f"POST {target}\n".encode())

    def feed(self, data: bytes) -> None:
        self._sum.update(data)

    def text(self) -> str:
        return self._sum.hexdigest()


class Use(Struct):
    """One request with a key, or without one (""). `storing`: the spool is writing it, whoever waits for that."""

    owner: str
    key: str
    storing: asyncio.Future[Any] | None = None


class Uses:
    """The keys of requests under way."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._busy: set[tuple[str, str]] = set()

    def begin(self, owner: str, key: str) -> Use:
        """Raises Refusal 409 while another request with the key is under way. Call `end` in any case."""
        if key:
            if (owner, key) in self._busy:
                raise under_way()
            self._busy.add((owner, key))
        return Use(owner, key)

    def end(self, use: Use) -> None:
        """The request is over; its key, not before the spool has answered."""
        if not use.key:
            return
        if use.storing is None or use.storing.done():
            self._busy.discard((use.owner, use.key))
        else:
            use.storing.add_done_callback(lambda _: self._busy.discard((use.owner, use.key)))

    async def find(self, use: Use) -> Claim | None:
        """What the key was used for before."""
        return await self._post.intake.claimed(use.owner, use.key) if use.key else None


def replay(claim: Claim, digest: str) -> str:
    """The answer that the same request had. Raises Refusal 422 if it was another one."""
    if claim.digest != digest:
        what = "was used for another request within the last 24 hours; take a new one"
        raise Refusal(422, f"this idempotency key {what}", [("Idempotency-Key", what)])
    return claim.answer


def under_way() -> Refusal:
    return Refusal(409, "a request with this idempotency key is under way; ask again for its answer", retry_after=1)
