"""What every Transport promises, whatever it speaks: one suite over all of them.

A kind of transport joins by a `Rig`: an upstream that accepts, refuses one recipient or is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest

from relay.delivery.classify import lost, outcome
from relay.model import Fault, Limits, Phase, Provider, Recipient, Timeouts, Tls, Verdict
from relay.ports import Transport
from relay.testing.mail import body_of, shipment_to
from relay.testing.transport import FakeTransport, says, takes
from relay.testing.upstream import Say, ScriptedUpstream
from relay.upstream.smtp import SmtpTransport

BAD = "bad@example.org"


@dataclass(frozen=True)
class Rig:
    """A transport and providers to send to: `fine` accepts all but BAD, `dead` cannot be reached."""

    transport: Transport
    fine: Provider
    dead: Provider


class Picky(ScriptedUpstream):
    """Refuses BAD and nobody else."""

    def action(self, phase: str) -> object:  # type: ignore[override]
        bad = phase in ("rcpt", "later-rcpt") and BAD.encode() in self.commands[-1]
        return Say(550, "5.1.1 unknown") if bad else super().action(phase)


@asynccontextmanager
async def smtp() -> AsyncIterator[Rig]:
    async with Picky() as upstream:
        transport = SmtpTransport("relay.example")
        fine = _provider("fine", upstream.port)
        dead = _provider("dead", 1)
        yield Rig(transport, fine, dead)
        await transport.close()


@asynccontextmanager
async def fake() -> AsyncIterator[Rig]:
    transport = FakeTransport()
    unknown = says(Phase.RCPT, 550, "5.1.1", "unknown")
    transport.answers["fine"] = lambda shipment, to: (unknown if to.address == BAD else takes)(shipment, to)
    transport.answers["dead"] = says(Phase.CONNECT, 0, text="connection refused")
    transport.sick["dead"] = outcome(Recipient(address=""), "dead", "", Phase.CONNECT, lost("connection refused"))
    yield Rig(transport, _provider("fine", 25), _provider("dead", 25))


def _provider(name: str, port: int) -> Provider:
    timeouts = Timeouts(connect=2.0, command=2.0, data=2.0)
    return Provider(
        name=name, host="127.0.0.1", port=port, tls=Tls.NONE, limits=Limits(connections=2), timeouts=timeouts
    )


@pytest.fixture(params=[smtp, fake], ids=["smtp", "fake"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    make: Callable[[], AbstractAsyncContextManager[Rig]] = request.param
    async with make() as made:
        yield made


async def test_one_outcome_for_each_recipient_in_order(rig: Rig) -> None:
    addresses = ["a@example.org", BAD, "c@example.org"]
    outcomes = await rig.transport.send(shipment_to(rig.fine, *addresses), body_of())
    assert [each.recipient.address for each in outcomes] == addresses
    assert [each.verdict for each in outcomes] == [Verdict.ACCEPTED, Verdict.REJECTED, Verdict.ACCEPTED]
    assert [each.fault for each in outcomes] == [Fault.NONE, Fault.RECIPIENT, Fault.NONE]
    assert {each.provider for each in outcomes} == {"fine"}


async def test_all_refused_is_said_of_each(rig: Rig) -> None:
    [refused] = await rig.transport.send(shipment_to(rig.fine, BAD), body_of())
    assert (refused.verdict, refused.phase, refused.reply.enhanced) == (Verdict.REJECTED, Phase.RCPT, "5.1.1")


async def test_an_unreachable_provider_is_its_own_fault_and_no_exception(rig: Rig) -> None:
    outcomes = await rig.transport.send(shipment_to(rig.dead, "a@example.org", "b@example.org"), body_of())
    assert [(each.verdict, each.fault, each.phase) for each in outcomes] == [
        (Verdict.DEFERRED, Fault.PROVIDER, Phase.CONNECT)
    ] * 2
    assert all("connection refused" in each.reply.text for each in outcomes)


async def test_many_at_once_all_end(rig: Rig) -> None:
    shipments = [shipment_to(rig.fine, f"r{number}@example.org") for number in range(30)]
    results = await asyncio.gather(*(rig.transport.send(shipment, body_of()) for shipment in shipments))
    assert [[each.recipient for each in result] for result in results] == [
        list(shipment.recipients) for shipment in shipments
    ]
    assert {each.verdict for result in results for each in result} == {Verdict.ACCEPTED}


async def test_probe_finds_nothing_or_what_is_wrong(rig: Rig) -> None:
    assert await rig.transport.probe(rig.fine) is None
    wrong = await rig.transport.probe(rig.dead)
    assert wrong is not None
    assert (wrong.provider, wrong.recipient.address, wrong.phase) == ("dead", "", Phase.CONNECT)


async def test_sending_goes_on_after_a_reload(rig: Rig) -> None:
    await rig.transport.send(shipment_to(rig.fine), body_of())
    await rig.transport.replace([rig.fine])
    [again] = await rig.transport.send(shipment_to(rig.fine), body_of())
    assert again.verdict is Verdict.ACCEPTED


async def test_a_cancelled_send_does_not_harm_the_next(rig: Rig) -> None:
    sending = asyncio.ensure_future(rig.transport.send(shipment_to(rig.fine), body_of()))
    await asyncio.sleep(0)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    [after] = await rig.transport.send(shipment_to(rig.fine), body_of())
    assert after.verdict is Verdict.ACCEPTED


async def test_G8_after_hold_nothing_is_begun(rig: Rig) -> None:
    await rig.transport.send(shipment_to(rig.fine), body_of())
    rig.transport.hold()
    assert not await rig.transport.send(shipment_to(rig.fine), body_of())
    assert not await rig.transport.send(shipment_to(rig.dead), body_of())


async def test_close_may_be_said_twice_and_leaves_no_connection(rig: Rig) -> None:
    await rig.transport.send(shipment_to(rig.fine), body_of())
    await rig.transport.close()
    await rig.transport.close()
    assert sum(rig.transport.connections().values()) == 0
