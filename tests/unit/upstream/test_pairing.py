"""Hazard F6: what an upstream says late, unasked or twice is never taken for the answer to a later message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from relay.model import DeliveryOutcome, Provider, Timeouts, Verdict
from relay.testing.mail import body_of, shipment_to
from relay.testing.upstream import Action, Close, Raw, Say, ScriptedUpstream
from relay.upstream.smtp import SmtpTransport

ProviderFor = Callable[..., Provider]
LOCK_STEP = pytest.mark.parametrize("pipelining", ["auto", "off"])


async def sent(transport: SmtpTransport, provider: Provider, *recipients: str) -> list[DeliveryOutcome]:
    return list(await transport.send(shipment_to(provider, *recipients), body_of()))


def verdicts(outcomes: list[DeliveryOutcome]) -> list[str]:
    return [outcome.verdict.value for outcome in outcomes]


class Crossing(ScriptedUpstream):
    """What it says unasked, after the first message, crosses the second MAIL on the wire: both arrive at once."""

    def __init__(self, unasked: Action, **more: Any) -> None:
        super().__init__(**more)
        self.unasked = unasked

    def action(self, phase: str) -> Action | None:
        usual = super().action(phase)
        if phase != "mail" or self.counts.phases["mail"] != 2:
            return usual
        if isinstance(self.unasked, Raw):
            return Raw(self.unasked.data + b"250 2.1.0 ok\r\n", granted=True)
        return self.unasked


@LOCK_STEP
@pytest.mark.parametrize(
    "unasked",
    [
        Raw(b"550 5.4.2 idle for too long\r\n"),
        Raw(b"451 4.4.2 idle for too long\r\n"),
        Raw(b"250 2.0.0 again\r\n"),
        Close(b"521 5.3.2 idle for too long\r\n"),
        Close(b"550 5.4.2 idle for too long\r\n"),
    ],
)
async def test_F6_what_an_idle_upstream_says_is_no_answer_to_the_mail_it_crosses(
    transport: SmtpTransport, provider_for: ProviderFor, unasked: Action, pipelining: str
) -> None:
    async with Crossing(unasked) as upstream:
        provider = provider_for(upstream, pipelining=pipelining)
        assert verdicts(await sent(transport, provider)) == ["accepted"]
        assert verdicts(await sent(transport, provider)) == ["accepted"]
        assert len(upstream.received) == 2 and upstream.counts.connections == 2


@LOCK_STEP
async def test_F6_a_refusal_by_a_fresh_connection_that_closes_stands(
    transport: SmtpTransport, provider_for: ProviderFor, pipelining: str
) -> None:
    async with ScriptedUpstream({"mail": [None, *[Close(b"550 5.7.1 not you\r\n")] * 2]}) as upstream:
        provider = provider_for(upstream, pipelining=pipelining)
        assert verdicts(await sent(transport, provider)) == ["accepted"]
        [outcome] = await sent(transport, provider)
        assert (outcome.verdict, outcome.reply.text) == (Verdict.REJECTED, "not you")
        assert upstream.counts.connections == 2


@LOCK_STEP
async def test_F6_a_second_refusal_of_one_recipient_is_not_that_of_the_next(
    transport: SmtpTransport, provider_for: ProviderFor, pipelining: str
) -> None:
    script = {"rcpt": [Raw(b"550 5.1.1 unknown\r\n550 5.1.1 I said\r\n")]}
    async with ScriptedUpstream(script) as upstream:
        provider = provider_for(upstream, pipelining=pipelining)
        outcomes = await sent(transport, provider, "x@x", "y@x")
        assert Verdict.REJECTED not in [outcome.verdict for outcome in outcomes]


async def test_F6_an_extra_reply_to_a_reset_costs_the_message_that_rides_behind_nothing(
    transport: SmtpTransport, provider_for: ProviderFor
) -> None:
    script = {"rcpt": [Say(550, "5.1.1 unknown")], "rset": [Raw(b"250 ok\r\n250 ok\r\n", granted=True)]}
    async with ScriptedUpstream(script) as upstream:
        provider = provider_for(upstream)
        refused, behind = await asyncio.gather(sent(transport, provider, "x@x"), sent(transport, provider, "y@x"))
        assert (verdicts(refused), verdicts(behind)) == (["rejected"], ["accepted"])
        assert [received.rcpt for received in upstream.received] == [(b"RCPT TO:<y@x>",)]


@LOCK_STEP
@pytest.mark.parametrize("reset", [Say(500, "5.5.1 what"), Raw(b"2x0\r\n"), Close(b"421 4.7.0 too many errors\r\n")])
async def test_F6_a_refusal_without_proof_is_asked_for_once_more(
    transport: SmtpTransport, provider_for: ProviderFor, reset: Action, pipelining: str
) -> None:
    """All were refused, and what should have shown that both sides are in step did not."""
    unknown = Say(550, "5.1.1 unknown")
    async with ScriptedUpstream({"rcpt": [None, unknown, unknown], "rset": [reset]}) as upstream:
        provider = provider_for(upstream, pipelining=pipelining, timeouts=Timeouts(connect=1.0, command=0.5, data=0.5))
        assert verdicts(await sent(transport, provider)) == ["accepted"]
        assert verdicts(await sent(transport, provider, "x@x")) == ["rejected"]
        assert upstream.counts.connections == 2
