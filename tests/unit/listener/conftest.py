"""A listener on a free port of 127.0.0.1, a spool in memory, and a client that speaks raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from relay.events import CommandRejected, Event
from relay.listener.server import Listener
from relay.listener.service import Ports
from relay.listener.settings import Patience, Settings
from relay.testing.fakes import FakeIntake
from tests.registry import FakeAccounts

NOW = 1_800_000_000.0
QUICK = Patience(slow=0.0, auth_delay=0.0, linger=0.2)


class Client:
    """Sends bytes as they are, reads whole replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def reply(self) -> str:
        """One reply, its lines joined by newlines; "" at the end."""
        lines = []
        while line := await asyncio.wait_for(self.reader.readline(), 10):
            lines.append(line.decode().removesuffix("\r\n"))
            if line[3:4] != b"-":
                break
        return "\n".join(lines)

    async def say(self, line: str | bytes) -> str:
        self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return await self.reply()

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        return await asyncio.wait_for(self.reader.read(), 10)

    async def greeted(self) -> Client:
        assert (await self.reply()).startswith("220 ")
        assert (await self.say("EHLO client.example")).startswith("250")
        return self

    async def upto_data(self) -> Client:
        self.send(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n")
        assert [(await self.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
        return self

    async def message(self, content: bytes) -> str:
        """One message; the reply to its final dot."""
        await self.upto_data()
        self.send(content + b".\r\n")
        return await self.reply()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@dataclass
class Rig:
    """A running listener and what it did."""

    listener: Listener
    intake: FakeIntake
    events: list[Event] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)

    async def connect(self, **options: Any) -> Client:
        address = self.listener.addresses()[0]
        if isinstance(address, str):
            streams = await asyncio.open_unix_connection(address, **options)
        else:
            streams = await asyncio.open_connection(address[0], address[1], **options)
        self.clients.append(Client(*streams))
        return self.clients[-1]

    async def client(self, **options: Any) -> Client:
        return await (await self.connect(**options)).greeted()

    def reasons(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, CommandRejected)]

    def bodies(self) -> list[bytes]:
        return [one.body.data or b"" for one in self.intake.submissions]

    async def until(self, true: Callable[[], bool]) -> None:
        """Let the loop run until this holds."""
        async with asyncio.timeout(10):
            while not true():  # noqa: ASYNC110 — there is no event for everything
                await asyncio.sleep(0.001)

    async def close(self) -> None:
        for client in self.clients:
            await client.close()
        await self.listener.stop(5)


Serve = Callable[..., Awaitable[Rig]]


async def serve_one(**changes: Any) -> Rig:
    capturing = changes.pop("capturing", lambda: False)
    accounts = changes.pop("accounts", None) or FakeAccounts(changes.pop("users", None))
    patience = replace(QUICK, **changes.pop("patience", {}))
    settings = Settings(name="test", address="127.0.0.1:0", hostname="relay.test", patience=patience)
    intake, events = FakeIntake(), []
    ports = Ports(
        intake=intake,
        accounts=accounts,
        observe=events.append,
        clock=lambda: NOW,
        monotonic=time.monotonic,
        capturing=capturing,
    )
    rig = Rig(Listener(replace(settings, **changes), ports), intake, events)
    await rig.listener.start()
    return rig


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(auth="any", patience={"command": 1})`: a Rig with these settings changed.

    `users`: names and passwords of those who may log in, or `accounts` that know them.
    """
    rigs: list[Rig] = []

    async def start(**changes: Any) -> Rig:
        rigs.append(await serve_one(**changes))
        return rigs[-1]

    yield start
    for rig in rigs:
        await rig.close()


@pytest.fixture
def run_rig() -> Callable[..., Awaitable[Rig]]:
    """`serve_one` itself, for tests that bring their own event loop."""
    return serve_one
