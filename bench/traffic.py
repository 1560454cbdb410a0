"""Load and its end. Postfix's `smtp-source` sends, or `bench.web` over HTTP; its `smtp-sink` takes it, or `bench.sink`.

`push` times the whole way: from the first connection until the sink has the last message.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from bench.process import ROOT, Child
from bench.waiting import Failed, free_port, greeted, program, until

SENDER = "app@bench.test"
_NUMBER = re.compile(rb"\d+")


class Sink(Child):
    """`smtp-sink`, which counts what it took into a file."""

    def __init__(self, folder: Path) -> None:
        super().__init__("sink")
        self.port = free_port()
        self._counter = folder / f"sink-{self.port}.count"

    def command(self) -> list[str]:
        return [program("smtp-sink"), "-u", "postfix", "-c", f"127.0.0.1:{self.port}", "2000"]

    def start(self) -> None:
        self.launch(self.command(), output=self._counter)
        greeted(self.port, 10)

    def stop(self) -> None:
        self.end()
        self._counter.unlink(missing_ok=True)

    def count(self) -> int:
        """Messages taken so far: the last number that it printed."""
        with self._counter.open("rb") as file:
            file.seek(max(0, self._counter.stat().st_size - 80))
            numbers = _NUMBER.findall(file.read())
        return int(numbers[-1]) if numbers else 0


class OwnSink(Sink):
    """`bench.sink`: for what smtp-sink cannot do, and for large bodies, which it reads character by character."""

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder)
        self._options = options

    def command(self) -> list[str]:
        return [sys.executable, "-m", "bench.sink", str(self.port), *self._options]


@dataclass(frozen=True)
class Load:
    """What `smtp-source` sends. `kept`: over the same connections, else a new one for each message."""

    messages: int
    size: int = 4096
    sessions: int = 20
    recipients: int = 1
    kept: bool = False

    def command(self, port: int) -> list[str]:
        kept = ["-d"] if self.kept else []
        many = ["-r", str(self.recipients)] if self.recipients > 1 else []
        numbers = ["-s", str(self.sessions), "-m", str(self.messages), "-l", str(self.size)]
        return [
            program("smtp-source"),
            *numbers,
            *many,
            *kept,
            "-f",
            SENDER,
            "-t",
            "user@example.test",
            f"[127.0.0.1]:{port}",
        ]

    def warm(self) -> Load:
        """A little of the same, so that processes and connections are there."""
        return Load(min(self.messages, 2 * self.sessions), self.size, self.sessions, self.recipients, self.kept)


@dataclass(frozen=True)
class WebLoad(Load):
    """What `bench.web` sends: JSON with a text of `size` bytes, on kept connections."""

    kept: bool = True

    def command(self, port: int) -> list[str]:
        numbers = [str(self.messages), "--connections", str(self.sessions), "--size", str(self.size)]
        return [sys.executable, "-m", "bench.web", str(port), *numbers]

    def warm(self) -> WebLoad:
        return WebLoad(min(self.messages, 2 * self.sessions), self.size, self.sessions)


@dataclass(frozen=True)
class EventLoad(WebLoad):
    """What `bench.web --event` sends: `messages` counts mails, `each` of them for every event."""

    each: int = 3

    def command(self, port: int) -> list[str]:
        events = replace(self, messages=self.messages // self.each)
        return [*WebLoad.command(events, port), "--event", "order.placed"]

    def warm(self) -> EventLoad:
        return replace(self, messages=min(self.messages, 2 * self.sessions * self.each))


def push(load: Load, server: Child, port: int, sink: Sink, seconds: float = 300) -> float:
    """Send to `server` at `port`, wait until the sink has them all, and give the seconds it took."""
    wanted = sink.count() + load.messages
    began = time.monotonic()
    source = subprocess.Popen(load.command(port), cwd=ROOT, stdin=subprocess.DEVNULL)

    def arrived() -> bool:
        server.check()
        if source.poll():
            raise Failed(f"the load ended with {source.returncode} at {server.name}")
        return sink.count() >= wanted

    try:
        until(arrived, seconds, f"{load.messages} messages through {server.name}")
        took = time.monotonic() - began
        source.wait(30)  # it still says QUIT
    finally:
        if source.poll() is None:
            source.kill()
        source.wait()
    return took
