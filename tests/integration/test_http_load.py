"""Ten thousand who send at once over HTTP, on the relay's real process: bounded, answered, and nothing lost."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import re
import resource
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import uvloop
from ledger import Ledger
from relay_process import Relay, UnixHTTP, provider
from waiting import until

MANY = 10_000
HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) .*?\r\n\r\n", re.DOTALL)


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Each client is a connection of its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MANY + 500:
        pytest.skip(f"needs {MANY + 500} descriptors, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, MANY + 500), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def letter(number: int) -> dict[str, Any]:
    return {"from": "app@load.test", "to": [f"{number:05}@load.test"], "subject": "Load", "text": "Text.\n" * 200}


class Question(asyncio.Protocol):
    """One request, sent as soon as there is a connection: ten thousand tasks take seconds to have a turn each."""

    def __init__(self, raw: bytes, answer: asyncio.Future[bytes]) -> None:
        self.raw = raw
        self.answer = answer
        self.heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self.raw)  # type: ignore[attr-defined]  # uvloop's is no asyncio.Transport

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def connection_lost(self, error: Exception | None) -> None:
        if error is None or self.heard:
            self.answer.set_result(self.heard)
        else:
            self.answer.set_exception(error)


class Crowd:
    """Clients that come back after Retry-After, as they are told. `answers`: how many of each status."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.accepted: dict[int, str] = {}
        self.answers: collections.Counter[int] = collections.Counter()
        self.failures: list[str] = []

    async def client(self, number: int) -> None:
        body = json.dumps(letter(number)).encode()
        head = f"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
        raw = head.encode() + b"Content-Type: application/json\r\n\r\n" + body
        while number not in self.accepted:
            try:
                answer = await self.ask(raw)
            except OSError as error:  # never: who waits, waits in the kernel's backlog
                self.failures.append(repr(error))
                return
            found = HEAD.match(answer)
            if found is None:
                self.failures.append(repr(answer[:200]))
                return
            self.answers[int(found[1])] += 1
            if found[1] == b"202":
                self.accepted[number] = json.loads(answer[found.end() :])["id"]
            elif found[1] == b"429":
                await asyncio.sleep(int(re.search(rb"retry-after: (\d+)", answer)[1]))  # type: ignore[index]
            else:
                self.failures.append(repr(answer[:500]))
                return

    async def ask(self, raw: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        question = Question(raw, loop.create_future())
        await loop.create_connection(lambda: question, "127.0.0.1", self.port)
        return await question.answer

    async def all(self) -> None:
        await asyncio.gather(*(self.client(number) for number in range(MANY)))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_H6_ten_thousand_sends_at_once(
    relay: Callable[..., Relay], ledger: Callable[[], Ledger], descriptors: None
) -> None:
    """Slow because ten thousand clients, the relay and its upstream share the processors; about half a minute."""
    upstream = ledger()
    one = relay(providers=[provider("p", upstream.port)]).start()
    assert one.get("/readyz", tcp=True)[0] == 200
    before = one.memory()
    crowd = Crowd(one.http_port)
    slowest = 0.0

    async def ready(done: asyncio.Event) -> None:
        """Over the control socket, which has room of its own."""
        nonlocal slowest
        while not done.is_set():
            began = time.monotonic()
            status, _ = await asyncio.to_thread(one.get, "/readyz")
            slowest = max(slowest, time.monotonic() - began)
            assert status == 200
            await asyncio.sleep(0.2)

    async def rush() -> None:
        done = asyncio.Event()
        asking = asyncio.create_task(ready(done))
        await crowd.all()
        done.set()
        await asking

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(rush())
    assert crowd.failures == []
    assert set(crowd.answers) <= {202, 429}
    assert crowd.answers[202] == MANY == len(set(crowd.accepted.values()))
    assert one.peak_memory() - before < 150_000_000
    assert slowest < 5
    until(lambda: len(upstream.taken) >= MANY, 120, "all are upstream")
    arrived = collections.Counter(mail.recipients[0] for mail in upstream.taken)
    assert arrived == {f"{number:05}@load.test": 1 for number in range(MANY)}
    print(f"answers {dict(crowd.answers)}, grown {(one.peak_memory() - before) / 1e6:.0f} MB, readyz {slowest:.2f} s")


@pytest.mark.slow
def test_H6_a_thousand_slow_clients_lock_nobody_out(relay: Callable[..., Relay]) -> None:
    """More than may be connected at once say half a request each, and are let go for who means it.

    Slow because each has two seconds of the relay's patience and a second for its farewell.
    """
    one = relay().start()
    crowd = []
    for _ in range(1100):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", one.http_port))
        crowd.append(client)
    try:
        time.sleep(0.2)  # all of them are in or in line; what is waited for is nothing that can be seen from here
        for client in crowd:
            client.send(b"GET /healthz HTTP/1.1\r\nX: ")
        assert one.get("/readyz")[0] == 200
        began = time.monotonic()
        assert one.get("/readyz", tcp=True)[0] == 200
        assert time.monotonic() - began < 8
    finally:
        for client in crowd:
            client.close()


def test_H6_large_bodies_at_once_fill_a_budget_and_no_more(relay: Callable[..., Relay]) -> None:
    """Over the control socket, whose budget is the smaller one."""
    one = relay().start()
    assert one.get("/readyz")[0] == 200
    before = one.memory()
    text = json.dumps(letter(1) | {"attachments": []}).encode()[:-3]
    body = text + b'[{"filename":"a","content":"' + b"QUFB" * 7_000_000 + b'"}]}'

    def send(_: int) -> int:
        with contextlib.closing(UnixHTTP(one.control)) as client:
            client.putrequest("POST", "/v1/messages")
            client.putheader("Content-Type", "application/json")
            client.putheader("Content-Length", str(len(body)))
            client.endheaders()
            with contextlib.suppress(ConnectionError):  # its answer is there already
                client.send(body)
            return client.getresponse().status

    with ThreadPoolExecutor(8) as pool:
        statuses = collections.Counter(pool.map(send, range(16)))
    assert set(statuses) <= {202, 429}
    assert statuses[202] >= 1
    print(f"answers {dict(statuses)}, grown {(one.peak_memory() - before) / 1e6:.0f} MB")
    assert one.peak_memory() - before < 300_000_000
