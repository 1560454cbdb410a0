"""A transport that answers what it is told, without a network.

For tests of the worker, and of anything that is given a `ports.Transport`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from relay.delivery.classify import accepted, outcome
from relay.model import Body, DeliveryOutcome, Phase, Provider, Recipient, Reply, Shipment

Answer = Callable[[Shipment, Recipient], DeliveryOutcome]


def takes(shipment: Shipment, recipient: Recipient) -> DeliveryOutcome:
    """The answer of an upstream that accepts everything."""
    return accepted(recipient, shipment.provider.name, Reply(code=250, enhanced="2.0.0", text="Ok"))


def says(phase: Phase, code: int, enhanced: str = "", text: str = "") -> Answer:
    """The answer of an upstream that says this; code 0: its connection broke."""

    def answer(shipment: Shipment, recipient: Recipient) -> DeliveryOutcome:
        provider = shipment.provider
        return outcome(recipient, provider.name, provider.preset, phase, Reply(code=code, enhanced=enhanced, text=text))

    return answer


class FakeTransport:
    """Implements ports.Transport. `shipments` and `bodies`: what it was given, in order.

    `answers`: by provider name, default `takes`; one that raises stands for a bug. `gate`: sending waits for it.
    `sick`: what a probe of a provider finds.
    """

    def __init__(self) -> None:
        self.shipments: list[Shipment] = []
        self.bodies: list[Body] = []
        self.probed: list[str] = []
        self.answers: dict[str, Answer] = {}
        self.sick: dict[str, DeliveryOutcome] = {}
        self.gate: asyncio.Event | None = None
        self.held = False
        self.closed = False

    async def send(self, shipment: Shipment, body: Body) -> Sequence[DeliveryOutcome]:
        if self.held:
            return ()
        self.shipments.append(shipment)
        self.bodies.append(body)
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answers.get(shipment.provider.name, takes)
        return [answer(shipment, recipient) for recipient in shipment.recipients]

    async def probe(self, provider: Provider) -> DeliveryOutcome | None:
        self.probed.append(provider.name)
        return self.sick.get(provider.name)

    async def replace(self, providers: Sequence[Provider]) -> None:
        """There are no connections to close."""

    def hold(self) -> None:
        self.held = True

    def connections(self) -> Mapping[str, int]:
        return {}

    async def close(self) -> None:
        self.closed = True
