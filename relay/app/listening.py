"""The listeners of a running relay: started together, replaced together at a reload, stopped together.

Part of `running`. If a new one cannot start, those of before are as they were.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from relay.listener.server import Listener
from relay.listener.service import Ports
from relay.listener.settings import ListenerError, Settings

Run = Callable[[Coroutine[Any, Any, None], str], None]
"""Runs something beside everything else, under a name."""


class Listeners:
    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._open: dict[str, Listener] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    async def start(self, wanted: Sequence[Settings]) -> None:
        """Raises ListenerError; `stop` closes those that were started before it."""
        for settings in wanted:
            listener = Listener(settings, self._ports)
            await listener.start()
            self._open[settings.name] = listener

    async def stop(self, seconds: float) -> None:
        """Accept no more, let what is being accepted end within so many seconds."""
        listeners, self._open = self._open, {}
        await asyncio.gather(*(one.stop(seconds) for one in listeners.values()))

    async def replace(self, wanted: Sequence[Settings], seconds: float, run: Run) -> None:
        """One at the same address is the same one; the others end within so many seconds. Raises ListenerError."""
        before = {listener.settings.address: listener for listener in self._open.values()}
        kept = {s.address: before.pop(s.address) for s in wanted if s.address in before}
        fresh = [Listener(settings, self._ports) for settings in wanted if settings.address not in kept]
        old = [(listener, listener.settings) for listener in kept.values()]
        try:
            for settings in wanted:
                if settings.address in kept:
                    kept[settings.address].reconfigure(settings)
            await _exchange(tuple(before.values()), fresh)
        except ListenerError:
            for listener, settings in old:
                listener.reconfigure(settings)
            raise
        self._open = {listener.settings.name: listener for listener in (*kept.values(), *fresh)}
        for listener in before.values():
            run(listener.stop(seconds), f"closing {listener.settings.name}")


async def _exchange(gone: Sequence[Listener], fresh: Sequence[Listener]) -> None:
    """Start `fresh`. Should an address overlap one of `gone` (0.0.0.0 after 127.0.0.1), those make way."""
    try:
        await _start_all(fresh)
    except ListenerError:
        for listener in gone:
            await listener.close()
        try:
            await _start_all(fresh)
        except ListenerError:
            for listener in gone:
                await listener.open()
            raise


async def _start_all(fresh: Sequence[Listener]) -> None:
    started: list[Listener] = []
    try:
        for listener in fresh:
            await listener.start()
            started.append(listener)
    except ListenerError:
        for listener in started:
            await listener.stop(0)
        raise
