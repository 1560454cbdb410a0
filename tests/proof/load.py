"""Sends random mail to a relay as fast as it takes it, and writes down what it was told: `python -m proof.load`.

A process of its own, started by `sender`. Raw sockets, pipelined (RFC 2920), and no mail library: it must not forgive.
The intent of a message is on disk before its MAIL is sent; its outcome follows, both in groups with one fsync.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import uvloop
from proof.ending import told_to_end
from proof.letters import Letter, Letters, Mix

GROUP, GROUP_BYTES = 64, 8 * 1024 * 1024
TICK = 0.02
AGAIN = 0.02
LAST_WORDS = 15.0
"""Seconds that messages under way get after SIGTERM."""


class Supply:
    """Letters whose intents are on disk, and the journal. `want`: sessions that wait for one."""

    def __init__(self, journal: Path, letters: Letters, count: int, rate: float) -> None:
        self._file = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._letters = letters
        self._left = count or float("inf")
        self._rate = rate
        self._allowed = time.monotonic()
        self._ready: deque[Letter] = deque()
        self._lines: list[str] = []
        self.want: deque[Session] = deque()
        self.under_way = 0

    @property
    def over(self) -> bool:
        return self._left <= 0 and not self._ready and not self.under_way

    def end(self) -> None:
        self._left = 0
        self._ready.clear()

    def take(self) -> Letter | None:
        if not self._ready:
            return None
        self.under_way += 1
        return self._ready.popleft()

    def note(self, letter: Letter, outcome: str, **more: Any) -> None:
        self.under_way -= 1
        self._lines.append(json.dumps({"id": letter.id, "outcome": outcome, "ended": time.time(), **more}))

    async def run(self) -> None:
        """One write and one fsync for the outcomes since the last and the intents of the next letters."""
        loop = asyncio.get_running_loop()
        while not self.over or self._lines:
            group = self._group() if len(self._ready) < GROUP else []
            lines, self._lines = self._lines, []
            lines += map(_intent, group)
            if lines:
                os.write(self._file, ("\n".join(lines) + "\n").encode())
                await loop.run_in_executor(None, os.fdatasync, self._file)
            self._ready += group
            while self.want and self._ready:
                self.want.popleft().next()
            if len(self._ready) >= GROUP or not group:
                await asyncio.sleep(TICK)

    def _group(self) -> list[Letter]:
        group, size, most = list[Letter](), 0, min(GROUP, self._left, self._due())
        while len(group) < most and size < GROUP_BYTES:
            group.append(self._letters.make())
            size += len(group[-1].content)
        self._left -= len(group)
        return group

    def _due(self) -> float:
        """How many the rate allows now."""
        if not self._rate:
            return GROUP
        now = time.monotonic()
        due = int((now - self._allowed) * self._rate)
        self._allowed = max(self._allowed + due / self._rate, now - 1)
        return due


def _intent(letter: Letter) -> str:
    line: dict[str, Any] = {
        "id": letter.id,
        "sender": letter.sender,
        "to": letter.recipients,
        "sha256": letter.sha256,
        "at": time.time(),
    }
    if letter.whole:
        line["content"] = base64.b64encode(letter.content).decode()
    return json.dumps(line)


class Session(asyncio.Protocol):
    """One connection at a time, again and again. `keeps`: it brings one message after the other, else one each."""

    def __init__(self, supply: Supply, port: int, *, keeps: bool) -> None:
        self.connecting: asyncio.Task[None] | None = None
        self._supply = supply
        self._port = port
        self._keeps = keeps
        self._transport: asyncio.Transport | None = None
        self._letter: Letter | None = None
        self._buffer = b""
        self._greeting = 2
        self._replies: list[str] = []
        self._began = 0.0

    # The connection.

    def connect(self) -> None:
        self.connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)
        except OSError:
            self._later()

    def _later(self) -> None:
        if not self._supply.over:
            asyncio.get_running_loop().call_later(AGAIN, self.connect)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport = transport  # type: ignore[assignment]
        self._buffer, self._greeting = b"", 2

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._letter is not None:
            self._end("unknown")
        self._later()

    # The conversation.

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\r\n")
        for line in lines:
            if line[3:4] == b" ":
                self._reply(line.decode("latin-1"))

    def _reply(self, reply: str) -> None:
        if self._greeting:
            self._greet(reply)
        elif self._letter is not None:
            self._replies.append(reply)
            self._proceed(self._letter, len(self._replies) - 2 - len(self._letter.recipients))

    def _greet(self, reply: str) -> None:
        if not reply.startswith("2"):
            return self._close()
        self._greeting -= 1
        if self._greeting:
            self._write(b"EHLO app.test\r\n")
        else:
            self.next()
        return None

    def next(self) -> None:
        """Send another letter, as soon as there is one. Who waited and was cut off meanwhile may be called twice."""
        if self._letter is not None or self._transport is None or self._transport.is_closing():
            return
        self._letter = self._supply.take()
        if self._letter is None:
            self._supply.want.append(self)
            return
        self._replies, self._began = [], time.time()
        self._write(_envelope(self._letter))

    def _proceed(self, letter: Letter, place: int) -> None:
        """`place`: 0 at the reply to DATA, 1 at that to the dot."""
        reply = self._replies[-1]
        if place == 0 and reply.startswith("3"):
            self._write(letter.wire)
        elif place >= 0:
            self._end("acked" if place == 1 and reply.startswith("2") else "nacked")
            if reply.startswith("421"):
                self._close()
            elif self._keeps:
                self._reset(place)
            else:
                self._close(b"QUIT\r\n")

    def _reset(self, place: int) -> None:
        """After a refused DATA the transaction is still open: a new connection is as good as RSET."""
        if place == 0:
            self._close()
        else:
            self.next()

    def _end(self, outcome: str) -> None:
        letter, self._letter = self._letter, None
        assert letter is not None
        answers = self._replies[1 : 1 + len(letter.recipients)]
        granted = [each for each, reply in zip(letter.recipients, answers, strict=False) if reply.startswith("2")]
        partly = len(granted) < len(answers) and outcome != "nacked"
        unheard = letter.recipients[len(answers) :]
        more = {"to": [*granted, *unheard]} if partly else {}
        self._supply.note(letter, outcome, began=self._began, **more)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _close(self, last: bytes = b"") -> None:
        if self._transport is not None:
            self._write(last)
            self._transport.close()


def _envelope(letter: Letter) -> bytes:
    eight = "" if letter.content.isascii() else " BODY=8BITMIME"
    recipients = "".join([f"RCPT TO:<{each}>\r\n" for each in letter.recipients])
    return f"MAIL FROM:<{letter.sender}>{eight}\r\n{recipients}DATA\r\n".encode()


async def send(options: argparse.Namespace) -> None:
    mix = Mix(**{field.name: getattr(options, f"mix_{field.name}") for field in fields(Mix)})
    letters = Letters(options.seed, options.run, options.domains.split(","), mix)
    supply = Supply(options.journal, letters, options.count, options.rate)
    sessions = [
        Session(supply, options.port, keeps=number < options.sessions)
        for number in range(options.sessions + options.fresh)
    ]
    for session in sessions:
        session.connect()
    running, told = asyncio.create_task(supply.run()), asyncio.create_task(told_to_end())
    await asyncio.wait({running, told}, return_when=asyncio.FIRST_COMPLETED)
    supply.end()
    await asyncio.wait({running}, timeout=LAST_WORDS)
    if last := {session.connecting for session in sessions if session.connecting is not None}:
        await asyncio.wait(last, timeout=LAST_WORDS)  # uvloop has trouble with one that is cut off by the end


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proof.load", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--run", required=True, help="what every id begins with")
    parser.add_argument("--domains", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=0, help="messages; 0: until SIGTERM")
    parser.add_argument("--sessions", type=int, default=8, help="connections that are kept")
    parser.add_argument("--fresh", type=int, default=2, help="connections for one message each, one after the other")
    parser.add_argument("--rate", type=float, default=0, help="messages a second at most")
    for field in fields(Mix):
        parser.add_argument(f"--mix-{field.name}", type=float, default=field.default)
    return parser.parse_args(words)


if __name__ == "__main__":
    uvloop.run(send(arguments()))
