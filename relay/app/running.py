"""The composition root: builds the rooms, joins them, reloads, drains.

`relay.app.process` is its only caller. The only place that builds things; it decides nothing about mail.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from random import Random
from typing import Any

from relay import __version__
from relay.api.door import Door
from relay.api.parts import ApiParts, Readiness
from relay.api.sockets import control_socket, tcp_socket
from relay.app.plan import Plan, restart_needed, without_restart
from relay.app.upkeep import Upkeep
from relay.app.uptime import Uptime
from relay.delivery.dispatcher import Dispatcher
from relay.events import ConfigurationReloaded, Event
from relay.listener.admission import Room
from relay.listener.server import Listener
from relay.listener.service import Ports
from relay.listener.settings import ListenerError
from relay.model import Provider
from relay.observe.log import Log, LogObserver, configure
from relay.observe.metrics import Metrics, ProviderSnapshot, Snapshot
from relay.spool.sqlite import SqliteSpool
from relay.upstream.smtp import SmtpTransport
from relay.worker import Delivery, Worker


def configured(plan: Plan) -> Log:
    """The log as the plan wants it."""
    return configure(plan.log.level, plan.log.format, plan.log.redact)


class Relay:
    """One running relay: `start`, then `reload` any number of times, then `stop`."""

    def __init__(self, plan: Plan, log: Log, failed: Callable[[], None]) -> None:
        """`failed` is called when the relay can no longer work; `broken` is then True."""
        self.plan = plan
        self.broken = False
        self._log = log
        self._give_up = failed
        self._rng = Random()  # nosec B311 - jitter and shares, no secret
        self._uptime = Uptime()
        self._providers: Mapping[str, Provider] = {}
        self._listeners: dict[str, Listener] = {}
        self._room = Room()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = contextlib.AsyncExitStack()
        self._log_observer = LogObserver(log)
        self._metrics = Metrics(__version__, [settings.name for settings in plan.listeners])

    @property
    def capturing(self) -> bool:
        """No provider exists: mail is accepted and kept, and goes nowhere."""
        return not self._providers

    def observe(self, event: Event) -> None:
        self._log_observer(event)
        self._metrics(event)

    # Start.

    async def start(self) -> None:
        """Everything is served on return. Raises SpoolError, ListenerError or CannotListen and leaves nothing open."""
        try:
            await self._start()
        except BaseException:
            await self._closing.aclose()
            raise

    async def _start(self) -> None:
        plan = self.plan
        self._warn()
        self._providers = {provider.name: provider for provider in plan.providers}
        self._dispatcher = Dispatcher(
            self._providers.values(),
            plan.routes,
            plan.delivery,
            rng=self._rng,
            observe=self.observe,
            capture=self.capturing,
        )
        self._spool = await SqliteSpool.open(plan.spool, self._dispatcher.place, plan.limits, observe=self.observe)
        self._closing.push_async_callback(self._spool.close)
        self._dispatcher.load(await self._spool.usage(time.time()))
        self._transport = SmtpTransport(plan.hostname)
        self._closing.push_async_callback(self._transport.close)
        door = self._door()
        await self._serve_smtp()
        self._deliver()
        await door.start()

    def _warn(self) -> None:
        for warning in self.plan.warnings:
            self._log.warning(warning)

    def _door(self) -> Door:
        """Before mail is served, so that a port in use is found at once; it is opened after it."""
        http = self.plan.http
        tcp = tcp_socket(http.host, http.port) if http else None
        parts = ApiParts(
            desk=self._spool,
            explain=self._dispatcher,
            readiness=self.readiness,
            metrics=self.metrics,
            providers=lambda: self._providers.keys(),
            clock=time.time,
            version=__version__,
        )
        door = Door(parts, tcp=tcp, control=control_socket(self.plan.control), failed=self._no_http)
        self._closing.push_async_callback(door.stop)
        return door

    async def _serve_smtp(self) -> None:
        self._closing.push_async_callback(self._stop_listening)
        for settings in self.plan.listeners:
            await self._listen(Listener(settings, self._ports()))

    def _ports(self) -> Ports:
        return Ports(
            intake=self._spool,
            observe=self.observe,
            clock=time.time,
            monotonic=time.monotonic,
            capturing=lambda: self.capturing,
            room=self._room,
        )

    async def _listen(self, listener: Listener) -> None:
        await listener.start()
        self._listeners[listener.settings.name] = listener

    def _deliver(self) -> None:
        parts = Delivery(
            work=self._spool,
            budget=self._spool,
            transport=self._transport,
            dispatcher=self._dispatcher,
            providers=lambda: self._providers,
            new_id=self._spool.new_id,
            clock=time.time,
            uptime=self._uptime,
            rng=self._rng,
            observe=self.observe,
        )
        upkeep = Upkeep(
            dispatcher=self._dispatcher,
            transport=self._transport,
            maintain=self._spool.maintain,
            recovered=self._spool.wake,
            clock=time.time,
            failed=self.report,
        )
        self._worker = Worker(parts)
        self._closing.push_async_callback(self._stop_delivering)
        self._run(upkeep.run(), "upkeep")
        self._run(self._worker.run(), "worker")

    def _run(self, job: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(job, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A loop that must run for ever does not end quietly: without it mail would wait and nobody would know."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.report(error)
            self.broken = True
            self._give_up()

    def _no_http(self, error: BaseException) -> None:
        text = "the control socket cannot be served; if the relay was upgraded while it ran, restart it"
        self._log.error(text, exc_info=error)

    def report(self, error: BaseException) -> None:
        """Log the class and place of an exception: a bug."""
        self._log.error("internal error", exc_info=error)

    # While it runs.

    async def readiness(self) -> Readiness:
        stats = await self._spool.stats()
        checks = {
            "spool": "ok" if stats.healthy else stats.detail,
            "listeners": "ok" if self._listeners else "none listens",
        }
        return Readiness(mode="capture" if self.capturing else "relay", checks=checks)

    async def metrics(self) -> bytes:
        now, stats = time.time(), await self._spool.stats()
        connections = self._transport.connections()
        providers = tuple(
            ProviderSnapshot(
                name=status.name,
                healthy=status.healthy,
                circuit=status.circuit,
                remaining=status.quota,
                connections=connections.get(status.name, 0),
            )
            for status in self._dispatcher.statuses(now)
        )
        oldest = max(0.0, now - stats.oldest) if stats.oldest is not None else 0.0
        return self._metrics.render(
            Snapshot(states=stats.states, oldest=oldest, free_bytes=stats.free_bytes, providers=providers)
        )

    # Reload.

    async def reload(self, wanted: Plan) -> None:
        """Put a plan in force, all of it but what needs a restart. ListenerError keeps the old one."""
        restart = restart_needed(self.plan, wanted)
        plan = without_restart(self.plan, wanted)
        await self._relisten(plan)
        self._providers = {provider.name: provider for provider in plan.providers}
        self._dispatcher.replace(
            self._providers.values(), plan.routes, plan.delivery, now=time.time(), capture=self.capturing
        )
        self._spool.limits = plan.limits
        if plan.log != self.plan.log:
            self._log = configured(plan)
            self._log_observer = LogObserver(self._log)
        self.plan = plan
        await self._transport.replace(tuple(self._providers.values()))
        self._spool.wake()
        self.observe(ConfigurationReloaded(restart=restart))
        self._warn()

    async def _relisten(self, plan: Plan) -> None:
        """If a new listener cannot start, those of before are as they were. One at the same address is the same one."""
        wanted = plan.listeners
        before = {listener.settings.address: listener for listener in self._listeners.values()}
        kept = {s.address: before.pop(s.address) for s in wanted if s.address in before}
        fresh = [Listener(settings, self._ports()) for settings in wanted if settings.address not in kept]
        old = [(listener, listener.settings) for listener in kept.values()]
        try:
            for settings in wanted:
                if settings.address in kept:
                    kept[settings.address].reconfigure(settings)
            await self._replace(tuple(before.values()), fresh)
        except ListenerError:
            for listener, settings in old:
                listener.reconfigure(settings)
            raise
        self._listeners = {listener.settings.name: listener for listener in (*kept.values(), *fresh)}
        for listener in before.values():
            self._run(listener.stop(plan.shutdown_timeout), f"closing {listener.settings.name}")

    async def _replace(self, gone: Sequence[Listener], fresh: Sequence[Listener]) -> None:
        """Start `fresh`. Should an address overlap one of `gone` (0.0.0.0 after 127.0.0.1), those make way."""
        try:
            await self._start_all(fresh)
        except ListenerError:
            for listener in gone:
                await listener.close()
            try:
                await self._start_all(fresh)
            except ListenerError:
                for listener in gone:
                    await listener.open()
                raise

    async def _start_all(self, fresh: Sequence[Listener]) -> None:
        started: list[Listener] = []
        try:
            for listener in fresh:
                await listener.start()
                started.append(listener)
        except ListenerError:
            for listener in started:
                await listener.stop(0)
            raise

    # Stop.

    async def stop(self) -> None:
        """Accept no more, finish what is being accepted and sent within `shutdown_timeout`, close everything."""
        # At once, not one after the other: a client that stalls must not use up the time of what is being sent.
        await asyncio.gather(self._stop_listening(), self._worker.drain(self.plan.shutdown_timeout))
        await self._closing.aclose()

    async def _stop_delivering(self) -> None:
        await self._worker.drain(self.plan.shutdown_timeout)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _stop_listening(self) -> None:
        listeners, self._listeners = self._listeners, {}
        await asyncio.gather(*(one.stop(self.plan.shutdown_timeout) for one in listeners.values()))
