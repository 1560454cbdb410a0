"""A connection that came to nothing is closed by us, at once, on both event loops: the upstream may never do it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from relay.model import Provider, Timeouts, Verdict
from relay.testing.mail import body_of, shipment_to
from relay.testing.upstream import Action, Raw, Say, ScriptedUpstream, Stall
from relay.upstream.smtp import SmtpTransport

Authority = Any  # conftest.Authority
ProviderFor = Callable[..., Provider]
LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
QUICK = Timeouts(connect=0.3, command=0.3, data=0.3)
REFUSALS: dict[str, Action] = {
    "banner": Say(554, "5.7.1 go away"),
    "ehlo": Say(550, "5.7.1 bad name"),
    "starttls": Say(454, "4.7.0 not now"),
    "auth": Say(535, "5.7.8 bad credentials"),
}


def run(loop: Callable[[], asyncio.AbstractEventLoop], scenario: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(scenario, 5))


@LOOPS
@pytest.mark.parametrize("tls", ["none", "starttls", "implicit"])
@pytest.mark.parametrize("phase", list(REFUSALS))
def test_F5_C7_a_refused_connection_is_closed(
    loop: Callable[[], asyncio.AbstractEventLoop], phase: str, tls: str, authority: Authority, provider_for: ProviderFor
) -> None:
    async def scenario() -> None:
        upstream = ScriptedUpstream({phase: REFUSALS[phase]}, tls=tls, context=authority.context(), auth=("PLAIN",))
        async with upstream:
            transport = SmtpTransport("relay.example")
            provider = provider_for(upstream, ca_file=authority.ca_file, username="me", password="secret")
            outcome = await transport.probe(provider)
            await upstream.until_closed()
            assert outcome is None or (outcome.verdict, outcome.phase) == (Verdict.DEFERRED, phase)
            [outcome] = await transport.send(shipment_to(provider), body_of())
            await transport.close()
            await upstream.until_closed()
            assert upstream.counts.connections == 2

    run(loop, scenario())


@LOOPS
@pytest.mark.parametrize(
    "script",
    [{"auth": Raw(b"235 ok\r\n250 more\r\n")}, {"auth": Stall()}, {"ehlo": Stall()}, {"connect": Stall()}],
    ids=str,
)
def test_F6_a_connection_out_of_step_or_silent_is_closed(
    loop: Callable[[], asyncio.AbstractEventLoop], script: dict[str, Action], provider_for: ProviderFor
) -> None:
    async def scenario() -> None:
        async with ScriptedUpstream(script, auth=("PLAIN",)) as upstream:
            transport = SmtpTransport("relay.example")
            provider = provider_for(upstream, username="me", password="secret", timeouts=QUICK)
            assert await transport.probe(provider) is not None
            await upstream.until_closed()

    run(loop, scenario())


@LOOPS
@pytest.mark.parametrize("phase", ["connect", "ehlo", "auth"])
def test_a_cancelled_probe_leaves_no_connection(
    loop: Callable[[], asyncio.AbstractEventLoop], phase: str, provider_for: ProviderFor
) -> None:
    async def scenario() -> None:
        async with ScriptedUpstream({phase: Stall()}, auth=("PLAIN",)) as upstream:
            timeouts = Timeouts(connect=60.0, command=60.0, data=60.0)
            provider = provider_for(upstream, username="me", password="secret", timeouts=timeouts)
            probe = asyncio.ensure_future(SmtpTransport("relay.example").probe(provider))
            await upstream.until(lambda seen: seen.counts.phases[phase] == 1)
            probe.cancel()
            await asyncio.gather(probe, return_exceptions=True)
            await upstream.until_closed()

    run(loop, scenario())
