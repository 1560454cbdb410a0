"""Performing what a script says on a connection, step by step: every kind of step and how it is done.

A session is a Performer that knows SMTP. This knows phases by name only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

from relay.testing.upstream import actions
from relay.testing.upstream.actions import Deed, Step
from relay.testing.upstream.wire import Over, Wire


class Performer(ABC):
    """`_out`: said, but not sent yet. `_answered`: sent since the client was last waited for."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._out = bytearray()
        self._answered = False
        self._early: set[str] = set()  # phases whose reply was said before it was asked for

    @abstractmethod
    def _usual(self, phase: str) -> bytes:
        """The reply that is usual now; b"" at a moment."""

    @abstractmethod
    async def _handshake(self) -> None:
        """The server's half of a TLS handshake, unless it was done."""

    async def _perform(self, phase: str, deed: Deed) -> bool:
        for step in deed.steps:
            await _STEPS[type(step)](self, phase, step)
        return deed.granted

    async def _as_usual(self, phase: str, step: Step) -> None:
        if phase == "handshake":
            await self._handshake()
        elif phase in self._early:
            self._early.discard(phase)
        else:
            self._out += self._usual(phase)

    async def _say(self, phase: str, step: actions.Say) -> None:
        self._out += step.wire

    async def _raw(self, phase: str, step: actions.Raw) -> None:
        if not step.pause:
            self._out += step.data
            return
        await self._flush()
        await self._wire.drip(step.data, step.pause)
        self._answered = True

    async def _close(self, phase: str, step: actions.Close) -> None:
        self._out += step.last
        await self._flush()
        if step.reset:
            self._wire.reset()
        raise Over

    async def _stall(self, phase: str, step: Step) -> None:
        await self._flush()
        await self._wire.ignore()

    async def _wait(self, phase: str, step: actions.Wait) -> None:
        await self._flush()
        await self._wire.wait(step.seconds)

    async def _endless(self, phase: str, step: actions.Endless) -> None:
        await self._flush()
        await self._wire.flood(step.data)

    async def _half_close(self, phase: str, step: Step) -> None:
        await self._flush()
        self._wire.half_close()

    async def _stop_reading(self, phase: str, step: Step) -> None:
        await self._flush()
        await self._wire.stop_reading()

    async def _below(self, phase: str, step: actions.Below) -> None:
        await self._flush()
        await self._wire.beneath(step.data)

    async def _flush(self) -> None:
        if self._out:
            out = bytes(self._out)
            self._out.clear()
            self._answered = True
            await self._wire.write(out)


_STEPS: dict[type, Callable[..., Awaitable[None]]] = {
    actions.Usual: Performer._as_usual,
    actions.Say: Performer._say,
    actions.Raw: Performer._raw,
    actions.Close: Performer._close,
    actions.Stall: Performer._stall,
    actions.Wait: Performer._wait,
    actions.Endless: Performer._endless,
    actions.HalfClose: Performer._half_close,
    actions.StopReading: Performer._stop_reading,
    actions.Below: Performer._below,
}
