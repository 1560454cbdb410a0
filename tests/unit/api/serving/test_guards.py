"""How many requests at once, and how many bytes for all of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

import pytest

from relay.api.serving.guards import MAX_BODY, MAX_FORM, Bodies, Busy, Size, sizes_of
from tests.parts import HOUSE

LARGEST = HOUSE.max_message_size


class Asked:
    """One request. `pieces`: of its body, as they arrive; `answers`: what was sent back."""

    def __init__(self, path: str = "/x", pieces: Iterable[bytes] = (b"",), length: int | None = None) -> None:
        headers = [] if length is None else [(b"content-length", b"%d" % length)]
        self.scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
        self.pieces = iter(pieces)
        self.sent: list[dict] = []

    async def receive(self):
        try:
            return {"type": "http.request", "body": next(self.pieces), "more_body": True}
        except StopIteration:
            return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message):
        self.sent.append(message)

    async def of(self, app) -> int:
        await app(self.scope, self.receive, self.send)
        return self.status

    @property
    def status(self) -> int:
        [status] = [one["status"] for one in self.sent if one["type"] == "http.response.start"]
        return status

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])


async def swallow(scope, receive, send):
    """Reads all of it, and makes an answer of whatever goes wrong, as FastAPI does."""
    status = 200
    try:
        while (await receive())["more_body"]:
            pass
    except Exception:
        status = 400
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def small(path: str) -> Size:
    return Size(1000, weight={"/raw": 0, "/objects": 4}.get(path, 1))


async def test_H6_beyond_the_bound_it_is_429_at_once_and_health_passes():
    go = asyncio.Event()

    async def work(scope, receive, send):
        if scope["path"] == "/x":
            await go.wait()
        await swallow(scope, receive, send)

    guard = Busy(work, 3)
    first = [Asked() for _ in range(3)]
    tasks = [asyncio.create_task(one.of(guard)) for one in first]
    await asyncio.sleep(0)

    async def unread():
        raise AssertionError("the body of a request that is turned away was read")

    late = Asked()
    late.receive = unread
    assert await late.of(guard) == 429
    assert json.loads(late.sent[1]["body"])["title"] == "Too Many Requests"
    assert [await Asked(path).of(guard) for path in ("/healthz", "/readyz", "/metrics")] == [200] * 3
    go.set()
    assert await asyncio.gather(*tasks) == [200] * 3
    assert await Asked().of(guard) == 200


async def test_H6_logins_that_are_never_finished_keep_nobody_out_who_has_a_token():
    never = asyncio.Event()

    async def work(scope, receive, send):
        if scope["path"] == "/token":
            await never.wait()
        await swallow(scope, receive, send)

    guard = Busy(work, 16)
    tasks = [asyncio.create_task(Asked("/token").of(guard)) for _ in range(2)]
    await asyncio.sleep(0)
    assert [await Asked("/token").of(guard) for _ in range(20)] == [429] * 20
    assert await Asked().of(guard) == 200
    never.set()
    assert await asyncio.gather(*tasks) == [200] * 2
    assert await Asked("/token").of(guard) == 200


async def test_those_turned_away_come_back_a_few_at_a_time():
    never = asyncio.Event()

    async def work(scope, receive, send):
        await never.wait()

    guard = Busy(work, 2)
    tasks = [asyncio.create_task(Asked().of(guard)) for _ in range(2)]
    await asyncio.sleep(0)
    crowd = [Asked() for _ in range(100)]
    assert {await one.of(guard) for one in crowd} == {429}
    waits = [int(one.headers[b"retry-after"]) for one in crowd]
    assert waits[:5] == [1, 2, 2, 3, 3] or 1 in waits[1:]  # or a new second began
    assert max(waits) <= 30
    for task in tasks:
        task.cancel()


async def test_a_place_is_free_again_when_the_work_failed():
    async def broken(scope, receive, send):
        raise RuntimeError

    guard = Busy(broken, 1)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            await Asked().of(guard)


@pytest.mark.parametrize("length", [None, 0, 999, 1000])
async def test_H6_a_body_that_is_too_large_is_413_whatever_it_announced(length):
    guard = Bodies(swallow, small, 10_000)
    one = Asked(pieces=[b"x" * 600, b"x" * 600, b"never read"], length=length)
    assert await one.of(guard) == 413
    assert next(one.pieces) == b"never read"
    assert (guard.held, one.headers[b"connection"]) == (0, b"close")
    assert await Asked(pieces=[b"x" * 1000], length=1000).of(guard) == 200


async def test_H6_a_body_that_is_announced_too_large_is_not_read():
    one = Asked(pieces=[b"never read"], length=1001)
    assert await one.of(Bodies(swallow, small, 10_000)) == 413
    assert next(one.pieces) == b"never read"


async def test_H6_all_bodies_together_have_a_budget_until_their_answers():
    go, read = asyncio.Event(), asyncio.Event()

    async def work(scope, receive, send):
        while (await receive())["more_body"]:
            pass
        read.set()
        await go.wait()
        await swallow(scope, receive, send)

    guard = Bodies(work, small, 1500)
    held = asyncio.create_task(Asked(pieces=[b"x" * 1000]).of(guard))
    await read.wait()
    assert guard.held == 1000
    for late in (Asked(length=600), Asked(pieces=[b"x" * 300, b"x" * 300])):
        assert await late.of(guard) == 429
        assert late.headers[b"retry-after"] == b"2"
    for large in (Asked("/objects", length=200), Asked("/objects", pieces=[b"x" * 200])):
        assert await large.of(guard) == 429, "as objects it takes more than there is"
    streamed = asyncio.create_task(Asked("/raw", pieces=[b"x" * 1000]).of(guard))
    await asyncio.sleep(0)
    assert guard.held == 1000
    go.set()
    assert [await held, await streamed] == [200, 200]
    assert guard.held == 0


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("/v1/messages", Size(LARGEST * 4 // 3 + MAX_BODY)),
        ("/smtp/send-email", Size(LARGEST * 4 // 3 + MAX_BODY)),
        ("/v1/services/smtp.send_email", Size(LARGEST * 4 // 3 + MAX_BODY)),
        ("/v1/events", Size(MAX_BODY, weight=16)),
        ("/v1/workflows", Size(MAX_BODY)),
        ("/v1/messages/raw", Size(LARGEST, weight=0)),
        ("/token", Size(MAX_FORM)),
        ("/api/email-provider/providers/", Size(MAX_FORM)),
        ("/api/email-provider/providers/1/test/", Size(MAX_FORM)),
        ("/v1/queue/actions", Size(MAX_BODY)),
        ("/v1/messages/raw/", Size(MAX_BODY)),
    ],
)
def test_sizes(path, size):
    assert sizes_of(lambda: HOUSE)(path) == size
