"""Renders the texts of events in processes of their own, so that no template can hold or harm the relay.

Asked by `firing`. It decides how many processes there are, how long each may take and when one is killed; it never
looks into a template, and never raises for what one does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar

from relay.automation.jobs import Job, Problem, Rendered
from relay.automation.process import Gone, Process, start
from relay.automation.sandbox import wire
from relay.automation.turns import Turn, Turns

MAX_CALL = 32 << 20
"""Bytes of all that is rendered for one event."""

T = TypeVar("T")


class Overloaded(Exception):
    """Nothing was rendered: others are, or no process can be started. Trying again later helps."""


class _End(Enum):
    """Why a process was not asked to the end."""

    SLOW = "took longer than {seconds:g} s to render: look for loops inside loops and for very large numbers"
    DIED = "ended the process that renders it, twice"
    LATE = "is not rendered: all actions together took longer than {in_all:g} s"
    LARGE = f"is not rendered: what all actions made is more than {MAX_CALL >> 20} MiB"
    UNFIT = "is not rendered: the event's data is no JSON, is nested too deeply, or holds half a character"
    UNSTARTED = "is not rendered: the process that does it could not be started again"


class Renderer:
    """At most `processes` at work, one event in each at a time; started when needed, stopped when idle. Events whose
    rules are slow leave one for the others.

    `seconds`: of the wall clock for a job; `slow`: who takes more is slow; `in_all`: for all jobs of an event;
    `patience`: until the first is begun.
    """

    def __init__(
        self,
        *,
        processes: int = 2,
        idle_seconds: float = 60.0,
        seconds: float = 2.0,
        slow: float = 0.5,
        in_all: float = 10.0,
        patience: float = 10.0,
    ) -> None:
        self._idle_seconds, self._seconds, self._in_all, self._patience = idle_seconds, seconds, in_all, patience
        self._turns, self._slow = Turns(processes), slow
        self._idle: dict[Process, asyncio.TimerHandle] = {}
        self._busy: set[Process] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def render(self, jobs: Sequence[Job], data: Mapping[str, Any]) -> Sequence[Rendered]:
        """One Rendered for each job, in order. Raises Overloaded."""
        if not jobs:
            return ()
        turn = Turn(self._turns, jobs)
        try:
            process = await self._begin(turn)
            return await self._all(turn, process, jobs, dict(data))
        finally:
            turn.end()

    async def close(self) -> None:
        """Every process is gone afterwards, and with it what it was asked."""
        self._closed = True
        for process in (*self._idle, *self._busy):
            self._kill(process)
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _begin(self, turn: Turn) -> Process:
        """The turn and a process for it."""
        try:
            async with asyncio.timeout(self._patience):
                await turn.take()
                return await self._process()
        except TimeoutError:
            raise Overloaded(f"other events are being rendered for more than {self._patience:g} s") from None
        except (OSError, Gone) as error:
            raise Overloaded("the process that renders templates cannot be started") from error

    async def _all(
        self, turn: Turn, process: Process | None, jobs: Sequence[Job], data: dict[str, Any]
    ) -> Sequence[Rendered]:
        """Job by job, in a fresh process after each that was killed."""
        until = asyncio.get_running_loop().time() + self._in_all
        done: list[Rendered] = []
        died_at = -1
        while len(done) < len(jobs):
            end = await self._some(turn, process, jobs[len(done) :], data, until, done)
            process = None
            if end is _End.DIED and died_at < len(done):
                died_at = len(done)  # it may have been killed by others, for which a template is not to blame
            elif end in (_End.DIED, _End.SLOW):
                self._turns.mark(jobs[len(done)])
                done.append(self._failed(end))
            elif end is not None:
                done.extend([self._failed(end)] * (len(jobs) - len(done)))
        return done

    async def _some(
        self,
        turn: Turn,
        process: Process | None,
        jobs: Sequence[Job],
        data: dict[str, Any],
        until: float,
        done: list[Rendered],
    ) -> _End | None:
        """As many jobs as one process does; their results are added to `done`."""
        try:
            async with asyncio.timeout_at(until):
                if process is None:
                    await turn.justify()
                    process = await self._process()
        except TimeoutError:
            return _End.LATE
        except (OSError, Gone, Overloaded):
            return _End.UNSTARTED
        usable = False
        try:
            end, usable = await self._asked(process, jobs, data, until, done)
        finally:  # also when the caller is cancelled: its answers would be taken for the next one's
            if usable and not self._closed:
                self._busy.discard(process)
                self._keep(process)
            else:
                self._kill(process)
        return end

    async def _asked(
        self, process: Process, jobs: Sequence[Job], data: dict[str, Any], until: float, done: list[Rendered]
    ) -> tuple[_End | None, bool]:
        """Why it stopped, and whether the process is as good as new."""
        loop = asyncio.get_running_loop()
        size = 0
        try:
            frame = wire.call(wire.Call(jobs=tuple(jobs), data=data, seconds=self._seconds))
        except (TypeError, ValueError, OverflowError, RecursionError):
            return _End.UNFIT, True
        try:
            async with asyncio.timeout_at(until):
                await process.ask(frame)
            for left, job in zip(range(len(jobs))[::-1], jobs, strict=True):
                began = loop.time()
                async with asyncio.timeout_at(min(until, began + self._seconds)):
                    answer, length = await process.answer(job)
                size += length
                if size > MAX_CALL:
                    return _End.LARGE, False
                done.append(answer.rendered)
                long = answer.spent or loop.time() - began > self._slow
                if long and (self._turns.mark(job) or answer.spent):
                    return None, not (left or answer.spent)  # what is left waits its turn
        except TimeoutError:
            return (_End.LATE if loop.time() >= until else _End.SLOW), False
        except Gone:
            return _End.DIED, False
        return None, True

    def _failed(self, end: _End) -> Rendered:
        text = end.value.format(seconds=self._seconds, in_all=self._in_all)
        return Rendered(problem=Problem(place=(), text=text))

    async def _process(self) -> Process:
        """One that waits, or a new one. Raises OSError, Gone, TimeoutError, Overloaded."""
        while self._idle:
            process, timer = self._idle.popitem()  # the last one used: the others may grow old
            timer.cancel()
            if process.alive:
                self._busy.add(process)
                return process
            self._kill(process)
        if self._closed:
            raise Overloaded("the relay stops")
        # A start is not cancelled with who asked for it: nobody would know the process.
        starting = self._task(self._started())
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(self._unwanted)
            raise

    async def _started(self) -> Process:
        process = await start()
        self._busy.add(process)
        if self._closed:
            self._kill(process)
            raise Gone
        return process

    def _unwanted(self, starting: asyncio.Task[Process]) -> None:
        if not starting.cancelled() and starting.exception() is None:
            self._kill(starting.result())

    def _keep(self, process: Process) -> None:
        timer = asyncio.get_running_loop().call_later(self._idle_seconds, self._kill, process)
        self._idle[process] = timer

    def _kill(self, process: Process) -> None:
        self._busy.discard(process)
        if timer := self._idle.pop(process, None):
            timer.cancel()
        process.kill()
        self._task(process.ended())  # no zombie stays

    def _task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
