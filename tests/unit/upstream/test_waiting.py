"""Shipments that wait: for the socket to take a body, and for a connection after one was refused."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from relay.model import Limits, Provider, Timeouts, Tls, Verdict
from relay.testing.mail import body_of, shipment_to
from relay.testing.upstream import Action, Say, ScriptedUpstream, Stall
from relay.upstream.pool import RESPITE
from relay.upstream.smtp import SmtpTransport

Authority = Any  # conftest.Authority
ProviderFor = Callable[..., Provider]
LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
LARGE = body_of(b"Subject: x\r\n\r\n" + b"1234567\r\n" * 2_000_000)


class Unread(asyncio.Protocol):
    """Says 354 and reads nothing more, or goes on to read and to accept when told."""

    def __init__(self, made: list[Unread], reads: bool) -> None:
        self._reads = reads
        self._last = b""
        made.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.transport.write(b"220 hello\r\n")

    def data_received(self, data: bytes) -> None:
        self._last = (self._last + data)[-5:]
        if data.startswith(b"EHLO"):
            self.transport.write(b"250-hello\r\n250 PIPELINING\r\n")
        elif data.startswith(b"MAIL"):
            self.transport.write(b"250 a\r\n250 b\r\n354 c\r\n")
            if not self._reads:
                self.transport.pause_reading()
        elif data.startswith(b"QUIT"):
            self.transport.close()
        elif self._last == b"\r\n.\r\n":
            self.transport.write(b"250 ok\r\n")


@LOOPS
@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("encrypted", [False, True])
def test_F2_what_the_socket_never_took_is_not_uncertain(
    loop: Callable[[], asyncio.AbstractEventLoop], encrypted: bool, reads: bool, authority: Authority
) -> None:
    """A body from memory whose dot is still here when the upstream stops reading: it has nothing to deliver."""
    made: list[Unread] = []

    async def scenario() -> None:
        context: ssl.SSLContext | None = authority.context() if encrypted else None
        server = await asyncio.get_running_loop().create_server(
            lambda: Unread(made, reads), "127.0.0.1", 0, ssl=context
        )
        transport = SmtpTransport("relay.example")
        provider = Provider(
            name="p",
            host="127.0.0.1",
            port=server.sockets[0].getsockname()[1],
            tls=Tls.IMPLICIT if encrypted else Tls.NONE,
            ca_file=authority.ca_file,
            timeouts=Timeouts(connect=2.0, command=2.0, data=5.0 if reads else 0.2),
        )
        [outcome] = await transport.send(shipment_to(provider), LARGE)
        await transport.close()
        server.close()
        made[0].transport.abort()
        expected = ("accepted", "none", "dot") if reads else ("deferred", "provider", "body")
        assert (outcome.verdict.value, outcome.fault.value, outcome.phase.value) == expected, outcome

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(scenario(), 10))


class Hurried(asyncio.SelectorEventLoop):
    """Its clock can be put forward."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


class OneMore(ScriptedUpstream):
    """Takes the first connection and never answers its second dot; refuses the second connection; takes the third."""

    def action(self, phase: str) -> Action | None:
        super().action(phase)
        if phase == "banner" and self.counts.connections == 2:
            return Say(421, "4.7.0 too many connections")
        return Stall() if phase == "dot" and self.counts.phases["dot"] == 2 else None


def test_F10_what_waits_behind_a_slow_connection_tries_another_after_the_respite(provider_for: ProviderFor) -> None:
    async def scenario() -> None:
        async with OneMore() as upstream:
            transport = SmtpTransport("relay.example")
            timeouts = Timeouts(connect=60.0, command=60.0, data=60.0)
            provider = provider_for(upstream, limits=Limits(connections=3), timeouts=timeouts)
            await transport.send(shipment_to(provider), body_of())
            slow = asyncio.ensure_future(transport.send(shipment_to(provider), body_of()))
            await upstream.until(lambda seen: seen.counts.phases["dot"] == 2)
            riding = asyncio.ensure_future(transport.send(shipment_to(provider), body_of()))
            await upstream.until(lambda seen: seen.counts.phases["banner"] == 2 and seen.counts.open == 1)
            waiting = asyncio.ensure_future(transport.send(shipment_to(provider), body_of()))
            await asyncio.sleep(0)
            loop.ahead = RESPITE
            [outcome] = await waiting
            assert outcome.verdict is Verdict.ACCEPTED and upstream.counts.connections == 3
            await transport.close()
            await asyncio.gather(slow, riding)

    loop = Hurried()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(asyncio.wait_for(scenario(), 20))
