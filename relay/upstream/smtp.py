"""SMTP upstreams: the Transport that sends shipments over kept, pipelined connections.

`app` builds it; the worker sends with it; `provider test` and the half-open circuit probe with it. Never raises for
what an upstream did, never chooses a provider.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from relay.model import Body, DeliveryOutcome, Phase, Provider, Recipient, Reply, Shipment
from relay.upstream.causes import Failure
from relay.upstream.connect import Connected, connect
from relay.upstream.content import content_of
from relay.upstream.conversation import Conversation, Job
from relay.upstream.dial import Resolver, system
from relay.upstream.outcomes import of_failure, of_reply, of_unreadable
from relay.upstream.pool import CLOSING, Pool


class SmtpTransport:
    """One pool of connections for each provider, by name. Implements ports.Transport.

    `hostname`: what we call ourselves in EHLO. `idle_seconds`: how long an unused connection is kept. The pool of a
    provider keeps the settings it was made with until `replace` brings others. `resolver`: host names to addresses.
    """

    def __init__(self, hostname: str, *, idle_seconds: float = 30.0, resolver: Resolver = system) -> None:
        self._hostname = hostname
        self._resolver = resolver
        self._idle_seconds = idle_seconds
        self._pools: dict[str, Pool] = {}
        self._retired: list[Pool] = []
        self._held = False
        self._closed = False

    async def send(self, shipment: Shipment, body: Body) -> Sequence[DeliveryOutcome]:
        try:
            content = await content_of(shipment, body)
        except OSError as error:
            return of_unreadable(shipment.provider, shipment.recipients, error)
        except ValueError as error:
            reply = Reply(code=554, enhanced="5.6.0", text=str(error))
            return of_reply(shipment.provider, shipment.recipients, Phase.BODY, reply)
        if self._closed or not shipment.recipients:
            return of_reply(shipment.provider, shipment.recipients, Phase.CONNECT, CLOSING)
        if self._held:
            return ()
        job = Job(shipment, content, asyncio.get_running_loop().create_future())
        self._pool(shipment.provider).submit(job)
        return await job.future

    async def probe(self, provider: Provider) -> DeliveryOutcome | None:
        made = await self._connect(provider)
        if isinstance(made, Failure):
            return of_failure(provider, (Recipient(address=""),), made)[0]
        farewell = Pool(provider, self._connect, self._idle_seconds)
        farewell.retire()
        conversation = Conversation(farewell, made.transport, made.offer)
        conversation.start()  # finds nothing to do, says QUIT
        await conversation.wait_closed()
        return None

    async def replace(self, providers: Sequence[Provider]) -> None:
        wanted = {provider.name: provider for provider in providers if provider.active}
        for name, pool in list(self._pools.items()):
            if wanted.get(name) != pool.provider:
                pool.retire()
                self._retired.append(self._pools.pop(name))
        for provider in wanted.values():
            self._pool(provider)

    def hold(self) -> None:
        self._held = True
        for pool in (*self._pools.values(), *self._retired):
            pool.hold()

    def connections(self) -> Mapping[str, int]:
        self._retired = [pool for pool in self._retired if not pool.done]
        count: Counter[str] = Counter()
        for pool in (*self._pools.values(), *self._retired):
            count[pool.provider.name] += pool.connections
        return count

    async def close(self) -> None:
        self._closed = True
        await asyncio.gather(*(pool.close() for pool in (*self._pools.values(), *self._retired)))

    def _pool(self, provider: Provider) -> Pool:
        pool = self._pools.get(provider.name)
        if pool is None:
            pool = self._pools[provider.name] = Pool(provider, self._connect, self._idle_seconds)
        return pool

    async def _connect(self, provider: Provider) -> Connected | Failure:
        return await connect(provider, self._hostname, self._resolver)
