"""How long a client waits for its 250 at a rate that is held: messages begin on the clock, not when the last is done.

One connection a message, as applications do it. A wait counts from when the message was due, so that a server that
stalls is charged for all who queue up meanwhile, and one that turns clients away (421) for their coming again. Run in
the benchmark's own process.
"""

from __future__ import annotations

import asyncio
import time
from typing import cast

import uvloop

from bench.traffic import SENDER
from bench.waiting import Failed

LETTER = b"From: app@bench.test\r\nSubject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 57
DIALOG = (
    (b"220", b"EHLO bench.test\r\n"),
    (b"250", b"MAIL FROM:<%s>\r\n" % SENDER.encode()),
    (b"250", b"RCPT TO:<user@example.test>\r\n"),
    (b"250", b"DATA\r\n"),
    (b"354", LETTER + b".\r\n"),
    (b"250", b"QUIT\r\n"),
)
"""What is answered to each reply, one step a round trip, as most clients do it."""

PATIENCE = 30.0
AGAIN = 0.05
"""Seconds after which a client that was turned away comes again."""


class TurnedAway(Failed):
    """421 instead of the banner."""


class Client(asyncio.Protocol):
    """One message. `done`: the time at which its 250 came."""

    def __init__(self, done: asyncio.Future[float]) -> None:
        self.done = done
        self._step = 0
        self._left = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no asyncio.Transport

    def data_received(self, data: bytes) -> None:
        *lines, self._left = (self._left + data).split(b"\r\n")
        for line in lines:
            if line[3:4] != b"-" and not self.done.done():
                self._answered(line)

    def _answered(self, line: bytes) -> None:
        code, answer = DIALOG[self._step]
        if not line.startswith(code):
            kind = TurnedAway if self._step == 0 and line.startswith(b"421") else Failed
            self.done.set_exception(kind(f"the server answered {line.decode(errors='replace')!r}"))
            self._transport.close()
            return
        self._step += 1
        self._transport.write(answer)
        if self._step == len(DIALOG):
            self.done.set_result(time.monotonic())  # not uvloop's time, which knows whole milliseconds only
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(Failed(f"the server closed the connection ({exc or 'at once'})"))


async def one(port: int, due: float) -> float:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await _accepted(port) - due
            except TurnedAway:
                await asyncio.sleep(AGAIN)


async def _accepted(port: int) -> float:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[float] = loop.create_future()
    await loop.create_connection(lambda: Client(done), "127.0.0.1", port)
    return await done


async def paced(port: int, rate: float, seconds: float) -> list[float]:
    began, tasks = time.monotonic(), []
    for number in range(int(rate * seconds)):
        due = began + number / rate
        if due > time.monotonic():
            await asyncio.sleep(due - time.monotonic())
        tasks.append(asyncio.create_task(one(port, min(due, time.monotonic()))))
    return list(await asyncio.gather(*tasks))


def latencies(port: int, rate: float, seconds: float) -> list[float]:
    """Sorted seconds of every message sent at `rate` a second for so many `seconds`."""
    return sorted(uvloop.run(paced(port, rate, seconds)))


def percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
