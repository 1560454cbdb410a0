"""Shipments over kept connections: what an upstream may do to them, and what the sender is told."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from relay.model import DeliveryOutcome, Fault, Limits, Phase, Provider, Timeouts, Tls, Verdict
from relay.testing.mail import body_of, shipment_to
from relay.testing.upstream import Action, Close, Raw, Say, ScriptedUpstream, Stall
from relay.upstream.smtp import SmtpTransport

Authority = Any  # conftest.Authority
ProviderFor = Callable[..., Provider]
QUICK = Timeouts(connect=1.0, command=0.2, data=0.2)
LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


async def sent(transport: SmtpTransport, provider: Provider, *recipients: str, **more: Any) -> list[DeliveryOutcome]:
    return list(await transport.send(shipment_to(provider, *recipients, **more), body_of()))


async def sent_one(transport: SmtpTransport, provider: Provider, recipient: str = "b@example.org") -> DeliveryOutcome:
    [outcome] = await sent(transport, provider, recipient)
    return outcome


def judged(outcomes: list[DeliveryOutcome]) -> list[tuple[str, str, str]]:
    return [(outcome.verdict.value, outcome.fault.value, outcome.phase.value) for outcome in outcomes]


ACCEPTED = ("accepted", "none", "dot")
UNCERTAIN = ("deferred", "uncertain", "dot")


# Round trips and both loops.


async def round_trips(upstream: ScriptedUpstream, provider: Provider, number: int) -> int:
    """Send so many at once over one connection; how often the upstream had to wait meanwhile."""
    transport = SmtpTransport("relay.example")
    try:
        await sent(transport, provider)
        before = upstream.counts.turns
        results = await asyncio.gather(*(sent(transport, provider) for _ in range(number)))
        assert all(judged(result) == [ACCEPTED] for result in results)
        assert upstream.counts.connections == 1
        return upstream.counts.turns - before
    finally:
        await transport.close()


@LOOPS
@pytest.mark.parametrize("tls", ["none", "starttls", "implicit"])
def test_F6_one_round_trip_a_message_on_a_busy_connection(
    loop: Callable[[], asyncio.AbstractEventLoop], tls: str, authority: Authority, provider_for: ProviderFor
) -> None:
    async def scenario() -> None:
        async with ScriptedUpstream(tls=tls, context=authority.context(), auth=("PLAIN",)) as upstream:
            login = {"username": "me", "password": "secret", "ca_file": authority.ca_file}
            number = 40
            # One more: the first of them waits for its 354 alone, behind nobody's dot.
            assert await round_trips(upstream, provider_for(upstream, **login), number) == number + 1
            assert upstream.secrets == [b"\0me\0secret"]
            assert len(upstream.received) == number + 1

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


@LOOPS
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_F6_a_late_reply_is_never_paired_with_the_next_command(
    loop: Callable[[], asyncio.AbstractEventLoop], tls: str, authority: Authority, provider_for: ProviderFor
) -> None:
    async def scenario() -> None:
        script = {"after": [Raw(b"550 5.7.1 late\r\n")]}
        async with ScriptedUpstream(script, tls=tls, context=authority.context()) as upstream:
            transport = SmtpTransport("relay.example")
            provider = provider_for(upstream, ca_file=authority.ca_file)
            first, second = await asyncio.gather(*(sent_one(transport, provider, to) for to in ("x@x.example", "y@x")))
            third = await sent_one(transport, provider)
            await transport.close()
        assert first.verdict is Verdict.ACCEPTED
        assert second.verdict is not Verdict.REJECTED
        assert third.verdict is Verdict.ACCEPTED
        delivered = [rcpt for received in upstream.received for rcpt in received.rcpt]
        assert (b"RCPT TO:<y@x>" in delivered) is (second.verdict is Verdict.ACCEPTED)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


async def test_lock_step_pays_a_round_trip_a_command(provider_for: ProviderFor) -> None:
    async with ScriptedUpstream(offers=("SIZE 0",)) as upstream:
        assert await round_trips(upstream, provider_for(upstream), 10) == 40
    async with ScriptedUpstream() as upstream:
        assert await round_trips(upstream, provider_for(upstream, pipelining="off"), 10) == 40


async def test_one_at_a_time_reuses_the_connection(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    async with ScriptedUpstream() as upstream:
        for _ in range(5):
            assert judged(await sent(transport, provider_for(upstream))) == [ACCEPTED]
        assert upstream.counts.connections == 1
        assert transport.connections() == {"p": 1}


# F: what an upstream does wrong.


@pytest.mark.parametrize("again", [1, 3])
async def test_F1_421_for_the_dot_is_a_retry_and_the_next_ones_are_not_penalised(
    transport: SmtpTransport, provider_for: ProviderFor, again: int
) -> None:
    async with ScriptedUpstream({"dot": [Close(b"421 4.3.2 closing\r\n")]}) as upstream:
        provider = provider_for(upstream)
        first, *others = await asyncio.gather(*(sent(transport, provider) for _ in range(1 + again)))
        assert judged(first) == [("deferred", "provider", "dot")]
        assert [judged(other) for other in others] == [[ACCEPTED]] * again
        assert upstream.counts.taken == again
        assert upstream.counts.connections == 2


@pytest.mark.parametrize("action", [Close(), Close(reset=True), Stall(), Raw(b"2x0 what\r\n"), Raw(b"25")])
async def test_F2_lost_after_the_dot_is_uncertain(
    transport: SmtpTransport, provider_for: ProviderFor, action: Action
) -> None:
    async with ScriptedUpstream({"dot": [action]}) as upstream:
        provider = provider_for(upstream, timeouts=QUICK)
        first, second = await asyncio.gather(*(sent(transport, provider, "x@x", "y@x") for _ in range(2)))
        assert judged(first) == [UNCERTAIN, UNCERTAIN]
        assert "127.0.0.1" in first[0].reply.text
        assert judged(second) == [ACCEPTED, ACCEPTED]


async def test_F2_a_dripped_answer_does_not_stretch_the_deadline(
    transport: SmtpTransport, provider_for: ProviderFor
) -> None:
    async with ScriptedUpstream({"dot": Raw(b"250 " + b"x" * 500 + b"\r\n", pause=0.02)}) as upstream:
        async with asyncio.timeout(2):
            assert judged(await sent(transport, provider_for(upstream, timeouts=QUICK))) == [UNCERTAIN]


async def test_slow_but_in_time_is_accepted(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    async with ScriptedUpstream({"dot": Raw(b"250 ok\r\n", pause=0.005)}) as upstream:
        [outcome] = await sent(transport, provider_for(upstream))
        assert outcome.verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("phase", ["mail", "rcpt", "data"])
@pytest.mark.parametrize("action", [Close(), Close(reset=True), Stall(), Raw(b"\0\xff\r\n"), Raw(b"199 odd\r\n")])
async def test_F2_lost_before_the_dot_is_the_providers_fault(
    transport: SmtpTransport, provider_for: ProviderFor, phase: str, action: Action
) -> None:
    async with ScriptedUpstream({phase: [action]}) as upstream:
        provider = provider_for(upstream, timeouts=QUICK)
        [outcome] = await sent(transport, provider)
        assert (outcome.verdict, outcome.fault) == (Verdict.DEFERRED, Fault.PROVIDER)
        assert outcome.phase in (Phase(phase), Phase.MAIL), "an upstream that dies may take earlier replies with it"
        assert upstream.received == []
        assert judged(await sent(transport, provider)) == [ACCEPTED]


async def test_F3_each_recipient_has_its_own_fate(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    async with ScriptedUpstream({"later-rcpt": [Say(450, "4.2.0 later"), Say(550, "5.1.1 unknown")]}) as upstream:
        outcomes = await sent(transport, provider_for(upstream), "x@x", "y@x", "z@x")
        assert judged(outcomes) == [ACCEPTED, ("deferred", "recipient", "rcpt"), ("rejected", "recipient", "rcpt")]
        assert [outcome.recipient.address for outcome in outcomes] == ["x@x", "y@x", "z@x"]
        assert upstream.received[0].rcpt == (b"RCPT TO:<x@x>",)


@pytest.mark.parametrize("data", [Say(354, "go"), Say(554, "5.5.1 no recipients")])
async def test_F3_all_refused_sends_no_body_and_keeps_the_connection(
    transport: SmtpTransport, provider_for: ProviderFor, data: Say
) -> None:
    async with ScriptedUpstream(
        {"rcpt": [Say(550, "5.1.1 a")], "later-rcpt": [Say(550, "5.1.1 b")], "data": [data]}
    ) as upstream:
        provider = provider_for(upstream)
        refused, fine = await asyncio.gather(sent(transport, provider, "x@x", "y@x"), sent(transport, provider))
        assert judged(refused) == [("rejected", "recipient", "rcpt")] * 2
        assert judged(fine) == [ACCEPTED]
        assert [received.wire for received in upstream.received if not received.rcpt] == [b""] * (data.code == 354)
        assert upstream.counts.connections == 1


async def test_F4_too_many_recipients_asks_for_a_split(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    too_many = Say(452, "4.5.3 too many recipients")
    async with ScriptedUpstream({"later-rcpt": [None, too_many, too_many]}) as upstream:
        outcomes = await sent(transport, provider_for(upstream), "a@x", "b@x", "c@x", "d@x")
        assert judged(outcomes) == [ACCEPTED, ACCEPTED, *[("deferred", "message", "rcpt")] * 2]
        assert [outcome.signal for outcome in outcomes[2:]] == ["split", "split"]


@pytest.mark.parametrize(
    ("script", "suspends", "elsewhere"),
    [
        ({"banner": Say(554, "5.7.1 your account is closed")}, True, False),
        ({"mail": Say(530, "5.7.0 authenticate first")}, True, False),
        ({"mail": Say(550, "5.7.60 not allowed to send as this sender")}, False, True),
    ],
)
async def test_F5_what_our_account_causes_is_never_the_recipients_fault(
    transport: SmtpTransport, provider_for: ProviderFor, script: dict[str, Say], suspends: bool, elsewhere: bool
) -> None:
    async with ScriptedUpstream(script) as upstream:
        [outcome] = await sent(transport, provider_for(upstream))
        assert outcome.fault in (Fault.PROVIDER, Fault.MESSAGE)
        assert (outcome.suspend, outcome.elsewhere) == (suspends, elsewhere)


async def test_F6_an_early_refusal_is_taken_and_closes(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    async with ScriptedUpstream({"data": [Raw(b"354 go\r\n554 5.7.1 policy\r\n")]}) as upstream:
        provider = provider_for(upstream)
        [outcome] = await sent(transport, provider)
        assert (outcome.verdict, outcome.phase) == (Verdict.REJECTED, Phase.BODY)
        assert judged(await sent(transport, provider)) == [ACCEPTED]
        assert upstream.counts.connections == 2


async def test_L13_two_replies_in_one_segment_are_both_heard(
    transport: SmtpTransport, provider_for: ProviderFor
) -> None:
    """What aiosmtplib would drop: the whole envelope answered at once, and a 421 behind the reply to the dot."""
    async with ScriptedUpstream({"after": [Close(b"421 4.3.2 closing\r\n")]}) as upstream:
        provider = provider_for(upstream)
        first, second = await asyncio.gather(sent(transport, provider), sent(transport, provider))
        assert judged(first) == judged(second) == [ACCEPTED]
        assert upstream.counts.connections == 2


# Re-use.


@pytest.mark.parametrize("action", [Close(), Close(b"421 4.4.2 idle\r\n"), Close(reset=True), Raw(b"250 odd\r\n")])
async def test_an_idle_connection_that_ends_is_dropped_silently(
    transport: SmtpTransport, provider_for: ProviderFor, action: Action
) -> None:
    async with ScriptedUpstream({"after": [action]}) as upstream:
        provider = provider_for(upstream)
        assert judged(await sent(transport, provider)) == [ACCEPTED]
        await upstream.until_closed()
        assert judged(await sent(transport, provider)) == [ACCEPTED]
        assert upstream.counts.connections == 2


@pytest.mark.parametrize("action", [Close(), Close(b"421 4.4.2 idle too long\r\n")])
async def test_a_reused_connection_that_is_dead_is_replaced_once(
    transport: SmtpTransport, provider_for: ProviderFor, action: Action
) -> None:
    async with ScriptedUpstream({"mail": [None, action, None, action, action]}) as upstream:
        provider = provider_for(upstream)
        assert judged(await sent(transport, provider)) == [ACCEPTED]
        assert judged(await sent(transport, provider)) == [ACCEPTED]
        assert upstream.counts.connections == 2
        assert judged(await sent(transport, provider)) == [("deferred", "provider", "mail")]
        assert upstream.counts.connections == 3


async def test_G8_a_connection_that_ends_after_hold_is_not_replaced(
    transport: SmtpTransport, provider_for: ProviderFor
) -> None:
    async with ScriptedUpstream({"mail": [None, Stall()]}) as upstream:
        provider = provider_for(upstream)
        assert judged(await sent(transport, provider)) == [ACCEPTED]
        second = asyncio.create_task(sent(transport, provider))
        await upstream.until(lambda up: up.counts.phases["mail"] == 2)
        transport.hold()
        await upstream.stop()
        await upstream.start()
        assert not await second
        assert upstream.counts.connections == 1


async def test_a_fresh_connection_that_is_dead_is_no_reason_to_try_again(
    transport: SmtpTransport, provider_for: ProviderFor
) -> None:
    async with ScriptedUpstream({"mail": Close()}) as upstream:
        assert judged(await sent(transport, provider_for(upstream))) == [("deferred", "provider", "mail")]
        assert upstream.counts.connections == 1


async def test_idle_connections_say_quit(provider_for: ProviderFor) -> None:
    transport = SmtpTransport("relay.example", idle_seconds=0.05)
    async with ScriptedUpstream() as upstream:
        assert judged(await sent(transport, provider_for(upstream))) == [ACCEPTED]
        await upstream.until_closed()
        assert upstream.commands[-1] == b"QUIT"
        assert judged(await sent(transport, provider_for(upstream))) == [ACCEPTED]
        await transport.close()
    assert transport.connections() == {"p": 0}


# Opening.


async def test_one_attempt_decides_for_all_that_wait(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    async with ScriptedUpstream({"banner": Say(421, "4.3.2 busy")}) as upstream:
        provider = provider_for(upstream, limits=Limits(connections=20))
        for attempt in (1, 2):
            outcomes = await asyncio.gather(*(sent_one(transport, provider) for _ in range(30)))
            assert {(outcome.phase, outcome.reply.text) for outcome in outcomes} == {(Phase.BANNER, "busy")}
            assert upstream.counts.connections == attempt


async def test_whoever_tries_again_at_once_is_not_forgotten(
    transport: SmtpTransport, provider_for: ProviderFor
) -> None:
    async def twice(provider: Provider) -> list[DeliveryOutcome]:
        return [await sent_one(transport, provider), await sent_one(transport, provider)]

    async with ScriptedUpstream({"banner": [Say(421, "4.3.2 busy")]}) as upstream:
        async with asyncio.timeout(3):
            results = await asyncio.gather(*(twice(provider_for(upstream)) for _ in range(3)))
        for first, second in results:
            assert (first.phase, second.verdict) == (Phase.BANNER, Verdict.ACCEPTED)


async def test_a_retry_moved_to_a_working_connection_is_the_last_one(
    transport: SmtpTransport, provider_for: ProviderFor
) -> None:
    """Its own connection was dead, a fresh one is refused, and the one it rides on instead ends too."""

    class TwoConnections(ScriptedUpstream):
        """Refuses a third connection, and closes on whoever says MAIL for one sender."""

        def action(self, phase: str) -> object:  # type: ignore[override]
            super().action(phase)
            if phase == "banner" and self.counts.connections > 2:
                return Say(421, "4.7.0 too many connections")
            return Close() if phase == "mail" and self.commands[-1].startswith(b"MAIL FROM:<dead@") else None

    async with TwoConnections() as upstream:
        provider = provider_for(upstream, limits=Limits(connections=2))
        while {received.connection for received in upstream.received} != {1, 2}:
            await asyncio.gather(*(sent(transport, provider) for _ in range(4)))
        busy = asyncio.create_task(sent(transport, provider))
        await asyncio.sleep(0)
        [outcome] = await sent(transport, provider, sender="dead@example.com")
        assert judged([outcome]) == [("deferred", "provider", "mail")]
        await busy
        assert upstream.counts.phases["banner"] <= 4


async def test_connections_are_opened_on_demand_up_to_the_limit(
    transport: SmtpTransport, provider_for: ProviderFor
) -> None:
    async with ScriptedUpstream() as upstream:
        provider = provider_for(upstream, limits=Limits(connections=3))
        await sent(transport, provider)
        assert transport.connections() == {"p": 1}
        results = await asyncio.gather(*(sent(transport, provider) for _ in range(60)))
        assert all(judged(result) == [ACCEPTED] for result in results)
        assert upstream.counts.connections == 3


async def test_a_refused_further_connection_fails_nothing(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    full = Say(421, "4.7.0 too many connections")
    async with ScriptedUpstream({"banner": [None, *[full] * 50]}) as upstream:
        provider = provider_for(upstream, limits=Limits(connections=5))
        await sent(transport, provider)
        results = await asyncio.gather(*(sent(transport, provider) for _ in range(40)))
        assert all(judged(result) == [ACCEPTED] for result in results)
        assert upstream.counts.connections <= 5


async def test_replace_closes_only_what_changed(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    async with ScriptedUpstream() as one, ScriptedUpstream() as two:
        kept, moved = provider_for(one, name="kept"), provider_for(one, name="moved")
        await asyncio.gather(sent(transport, kept), sent(transport, moved))
        target = provider_for(two, name="moved")
        await transport.replace([kept, target])
        assert judged(await sent(transport, target)) == judged(await sent(transport, kept)) == [ACCEPTED]
        assert (len(one.received), len(two.received), one.counts.connections) == (3, 1, 2)
        await transport.replace([])
        await one.until_closed()
        await two.until_closed()
        assert one.counts.phases["quit"] == 2


# The end.


async def test_close_leaves_nobody_waiting(provider_for: ProviderFor) -> None:
    transport = SmtpTransport("relay.example")
    async with ScriptedUpstream({"dot": Stall()}) as upstream:
        provider = provider_for(upstream)
        sends = [asyncio.create_task(sent(transport, provider)) for _ in range(4)]
        await upstream.until(lambda seen: seen.counts.phases["dot"] == 1)
        await transport.close()
        results = [judged(await send) for send in sends]
        assert results[0] == [UNCERTAIN]
        assert all(verdict == "deferred" and fault == "provider" for [(verdict, fault, _)] in results[1:])
        [late] = await sent(transport, provider)
        assert late.reply.text == "the relay is shutting down"
    assert transport.connections() == {"p": 0}


async def test_a_cancelled_send_that_waited_is_never_sent(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    async with ScriptedUpstream() as upstream:
        provider = provider_for(upstream)
        kept = asyncio.create_task(sent(transport, provider, "kept@x"))
        dropped = asyncio.create_task(sent(transport, provider, "dropped@x"))
        await asyncio.sleep(0)
        dropped.cancel()
        assert judged(await kept) == [ACCEPTED]
        assert judged(await sent(transport, provider, "later@x")) == [ACCEPTED]
        assert [received.rcpt[0] for received in upstream.received] == [b"RCPT TO:<kept@x>", b"RCPT TO:<later@x>"]


async def test_a_cancelled_send_on_the_wire_disturbs_nobody(
    transport: SmtpTransport, provider_for: ProviderFor
) -> None:
    async with ScriptedUpstream({"dot": [Raw(b"250 ok\r\n", pause=0.01)]}) as upstream:
        provider = provider_for(upstream)
        first = asyncio.create_task(sent(transport, provider))
        await upstream.until(lambda seen: seen.counts.phases["dot"] == 1)
        second = asyncio.create_task(sent(transport, provider))
        first.cancel()
        assert judged(await second) == [ACCEPTED]
        assert len(upstream.received) == 2 and upstream.counts.connections == 1


# What an offer cannot carry.


@pytest.mark.parametrize(
    ("offers", "more", "code"),
    [
        (("PIPELINING",), {"eight_bit": True}, "554 5.6.3"),
        (("PIPELINING",), {"utf8": True}, "550 5.6.7"),
        (("PIPELINING",), {"sender": "ü@example.com"}, "550 5.6.7"),
        (("SIZE 20",), {}, "552 5.3.4"),
    ],
)
async def test_E3_E4_what_is_not_offered_goes_elsewhere_without_being_said(
    transport: SmtpTransport, provider_for: ProviderFor, offers: tuple[str, ...], more: dict[str, Any], code: str
) -> None:
    async with ScriptedUpstream(offers=offers) as upstream:
        [outcome] = await sent(transport, provider_for(upstream), **more)
        assert (outcome.verdict, outcome.fault, outcome.elsewhere) == (Verdict.REJECTED, Fault.MESSAGE, True)
        assert f"{outcome.reply.code} {outcome.reply.enhanced}" == code
        assert upstream.counts.phases["mail"] == 0


async def test_E3_E4_what_is_offered_goes(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    async with ScriptedUpstream() as upstream:
        provider = provider_for(upstream)
        assert judged(await sent(transport, provider, "ü@x", eight_bit=True, utf8=True)) == [ACCEPTED]
        assert upstream.received[0].mail.endswith(b" BODY=8BITMIME SMTPUTF8")
        assert upstream.received[0].rcpt == ("RCPT TO:<ü@x>".encode(),)


async def test_an_envelope_that_would_be_two_lines_is_refused(
    transport: SmtpTransport, provider_for: ProviderFor
) -> None:
    async with ScriptedUpstream() as upstream:
        provider = provider_for(upstream)
        [outcome] = await sent(transport, provider, "x@x>\r\nRCPT TO:<evil@x")
        assert (outcome.verdict, outcome.reply.enhanced) == (Verdict.REJECTED, "5.1.3")
        assert judged(await sent(transport, provider)) == [ACCEPTED]
        assert upstream.counts.phases["rcpt"] == 1


async def test_acceptance_says_whether_dsn_went_along(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    async with ScriptedUpstream() as with_dsn, ScriptedUpstream(offers=()) as without:
        assert (await sent_one(transport, provider_for(with_dsn))).signal == "dsn"
        provider = dataclasses.replace(provider_for(without, name="q"), tls=Tls.NONE)
        assert (await sent_one(transport, provider)).signal == ""
