"""What rows are made of: sink, Postfix and relay started together, and turns A B A B.

Used by the rows. Whatever a row starts ends with it; between rows nothing runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.ours import Config, Relay, provider
from bench.postfix import Postfix
from bench.results import number
from bench.traffic import Sink

Values = dict[str, list[float]]
"""By who did it, one for each round."""

Server = Postfix | Relay


@dataclass
class Bench:
    """Where and how long. `scale` shortens every load, `waiting`: how many messages wait; `say` shows progress."""

    folder: Path
    rounds: int
    scale: float
    waiting: int
    say: Callable[[str], None]
    facts: dict[str, float] = field(default_factory=dict)
    """What one row found and another needs: Postfix's maximum rate."""

    def many(self, messages: int) -> int:
        return max(20, int(messages * self.scale))


class Startable(Protocol):
    def start(self) -> object: ...
    def stop(self) -> None: ...


@contextmanager
def running(*servers: Startable) -> Iterator[None]:
    """All of them, started in this order and stopped in the other."""
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.stop)
            server.start()
        yield


def relay_to(bench: Bench, upstream: int, more: Config | None = None, config: Config | None = None) -> Relay:
    """With an empty spool. `more`: of its provider; `config`: top-level keys."""
    relay = Relay(bench.folder / "relay", {"providers": [provider("sink", upstream, more)]} | dict(config or {}))
    relay.clear()
    return relay


@contextmanager
def rig(
    bench: Bench,
    sink: Sink,
    upstream: int = 0,
    postfix: Mapping[str, str] | None = None,
    relay: Config | None = None,
) -> Iterator[tuple[Postfix, Relay]]:
    """Both with empty queues, handing over to `upstream`, which is the sink unless a path lies between.

    `postfix`: settings of Postfix besides, `relay`: of the relay's provider.
    """
    one = Postfix(bench.folder / "postfix", upstream or sink.port, postfix)
    other = relay_to(bench, upstream or sink.port, relay)
    with running(sink, one, other):
        yield one, other


def turns(bench: Bench, row: str, unit: str, sides: Mapping[str, Callable[[], float]]) -> Values:
    """Each side once a round, in this order, and what each gave."""
    values: Values = {name: [] for name in sides}
    for turn in range(bench.rounds):
        for name, measure in sides.items():
            values[name].append(measure())
        shown = ", ".join(f"{name} {number(each[-1])}" for name, each in values.items())
        bench.say(f"{row} {turn + 1}/{bench.rounds}: {shown} {unit}")
    return values
