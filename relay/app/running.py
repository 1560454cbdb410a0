"""The composition root: builds the rooms, joins them, reloads, drains.

`relay.app.process` is its only caller. The only place that builds things; it decides nothing about mail.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from relay import __version__
from relay.api.parts import Readiness
from relay.api.serving.door import Door
from relay.api.serving.sockets import control_socket, tcp_socket
from relay.app.core import Core
from relay.app.listening import Listeners
from relay.app.plan import Plan, restart_needed, without_restart
from relay.app.upkeep import Upkeep
from relay.app.uptime import Uptime
from relay.events import ConfigurationReloaded, Event
from relay.listener.admission import Room
from relay.listener.service import Ports
from relay.observe.log import Log, LogObserver, configure
from relay.observe.metrics import Metrics, ProviderSnapshot, Snapshot
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
        self._room = Room()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = contextlib.AsyncExitStack()
        self._log_observer = LogObserver(log)
        self._metrics = Metrics(__version__, [settings.name for settings in plan.listeners])

    @property
    def capturing(self) -> bool:
        """No provider exists nor did: mail is accepted and kept, and goes nowhere."""
        return self._core.capturing

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
        self._core = await Core.open(plan, rng=self._rng, observe=self.observe)
        self._closing.push_async_callback(self._core.close)
        self._warn()
        self._core.managed.check(plan)
        self._listeners = Listeners(self._ports())
        door = self._door()
        self._closing.push_async_callback(self._stop_listening)
        await self._listeners.start(plan.listeners)
        self._deliver()
        await door.start()

    def _warn(self) -> None:
        for warning in (*self.plan.warnings, *self._core.managed.accounts.warnings):
            self._log.warning(warning)

    def _door(self) -> Door:
        """Before mail is served, so that a port in use is found at once; it is opened after it."""
        http = self.plan.http
        tcp = tcp_socket(http.host, http.port) if http else None
        parts = self._core.parts(readiness=self.readiness, metrics=self.metrics)
        door = Door(parts, tcp=tcp, control=control_socket(self.plan.control), failed=self._no_http)
        self._closing.push_async_callback(door.stop)
        return door

    def _ports(self) -> Ports:
        return Ports(
            intake=self._core.spool,
            accounts=self._core.managed.accounts,
            observe=self.observe,
            clock=time.time,
            monotonic=time.monotonic,
            capturing=lambda: self.capturing,
            room=self._room,
        )

    def _deliver(self) -> None:
        core = self._core
        parts = Delivery(
            work=core.spool,
            budget=core.spool,
            transport=core.transport,
            dispatcher=core.dispatcher,
            providers=lambda: core.providers,
            new_id=core.spool.new_id,
            clock=time.time,
            uptime=self._uptime,
            rng=self._rng,
            observe=core.observe,
        )
        upkeep = Upkeep(
            dispatcher=core.dispatcher,
            checks=core.checks,
            registry=core.managed.registry,
            maintain=core.maintain,
            count=core.managed.registry.maintain,
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
        stats = await self._core.spool.stats()
        checks = {
            "spool": "ok" if stats.healthy else stats.detail,
            "listeners": "ok" if self._listeners else "none listens",
        }
        return Readiness(mode="capture" if self.capturing else "relay", checks=checks)

    async def metrics(self) -> bytes:
        now, stats = time.time(), await self._core.spool.stats()
        connections = self._core.transport.connections()
        providers = tuple(
            ProviderSnapshot(
                name=status.name,
                healthy=status.healthy,
                circuit=status.circuit,
                remaining=status.quota,
                connections=connections.get(status.name, 0),
            )
            for status in self._core.dispatcher.statuses(now)
        )
        oldest = max(0.0, now - stats.oldest) if stats.oldest is not None else 0.0
        return self._metrics.render(
            Snapshot(states=stats.states, oldest=oldest, free_bytes=stats.free_bytes, providers=providers)
        )

    # Reload.

    async def reload(self, wanted: Plan) -> None:
        """Put a plan in force, all of it but what needs a restart. ListenerError or SpoolError keep the old one."""
        restart = restart_needed(self.plan, wanted)
        plan = without_restart(self.plan, wanted)
        self._core.managed.check(plan)
        await self._listeners.replace(plan.listeners, plan.shutdown_timeout, self._run)
        await self._core.adopt(plan)
        if plan.log != self.plan.log:
            self._log = configured(plan)
            self._log_observer = LogObserver(self._log)
        self.plan = plan
        self.observe(ConfigurationReloaded(restart=restart))
        self._warn()

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
        await self._listeners.stop(self.plan.shutdown_timeout)
