"""One process of the sandbox as the relay sees it: started, asked, killed.

Owned by `renderer`, which decides how long it waits. What a process says is judged like anything from outside: one that
ends, or says what is no answer to what it was asked, is `Gone`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import cast

from relay.automation.jobs import Job
from relay.automation.sandbox import wire

START_SECONDS = 10.0


class Gone(Exception):
    """The process ended, or makes no sense any more. It is to be killed."""


class Process:
    """Whoever cannot go on, for whatever reason, kills it: half a conversation is never taken up again."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._stdin = cast(asyncio.StreamWriter, process.stdin)  # both are pipes: see `start`
        self._stdout = cast(asyncio.StreamReader, process.stdout)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def ready(self) -> None:
        """It has shut itself in and can be asked. Raises Gone, TimeoutError."""
        async with asyncio.timeout(START_SECONDS):
            if await self._frame():
                raise Gone

    async def ask(self, frame: bytes) -> None:
        """A call; then comes an `answer` for each of its jobs. Raises Gone."""
        try:
            self._stdin.write(frame)
            await self._stdin.drain()
        except (OSError, RuntimeError) as error:  # RuntimeError: uvloop's, for a pipe that it has closed
            raise Gone from error

    async def answer(self, job: Job) -> tuple[wire.Answer, int]:
        """What became of the next job, and how many bytes that was. Raises Gone."""
        frame = await self._frame()
        try:
            answer = wire.read_answer(frame)
        except ValueError as error:
            raise Gone from error
        done = answer.rendered.held and answer.rendered.problem is None
        if len(answer.rendered.values) != (len(job.texts) if done else 0):
            raise Gone
        return answer, len(frame)

    async def _frame(self) -> bytes:
        try:
            size = int.from_bytes(await self._stdout.readexactly(wire.HEAD), "big")
            if size > wire.MAX_ANSWER:
                raise Gone
            return await self._stdout.readexactly(size)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise Gone from error

    def kill(self) -> None:
        """At once. It is gone for good after `ended`."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._stdin.close()

    async def ended(self) -> None:
        await self._process.wait()


async def start() -> Process:
    """A process that is ready. Raises OSError, Gone, TimeoutError. Not to be cancelled: see `renderer`.

    It gets no environment, since secrets are in ours, no descriptor but three, and a session of its own: Ctrl-C is for
    the relay, which may want to render until it has stopped.
    """
    process = Process(
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-m",
            "relay.automation.sandbox",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            cwd="/",
            close_fds=True,
            start_new_session=True,
        )
    )
    try:
        await process.ready()
    except BaseException:
        process.kill()
        await process.ended()
        raise
    return process
