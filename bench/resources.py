"""Rows of the relay alone: how soon it is ready, what memory it holds, and whether a long queue slows it down.

Called through `rows`. Their marks are absolute, or against the relay itself with an empty queue.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable

from bench import fill
from bench.ours import Config, Relay, provider
from bench.process import peak_resident, resident
from bench.results import Figure
from bench.rig import Bench, relay_to, running, turns
from bench.traffic import Load, Sink, push
from bench.waiting import free_port

SETTLE = 2.0
"""Seconds after which a relay that does nothing counts as idle."""


def at_most(row: str, title: str, unit: str, ours: list[float], mark: float) -> Figure:
    return Figure(row=row, title=title, unit=unit, ours=ours, mark=mark, higher=False)


def start(bench: Bench) -> list[Figure]:
    """From the command to the first banner, and what it holds when nothing happens."""
    ready: list[float] = []

    def idle(config: Config) -> float:
        relay = relay_to(bench, free_port(), config=config)
        try:
            took = relay.start()
            if not config:
                ready.append(took)
                for page in ("readyz", "metrics"):
                    urllib.request.urlopen(f"http://127.0.0.1:{relay.http}/{page}", timeout=10).read()
            time.sleep(SETTLE)
            return resident(relay.pid)
        finally:
            relay.stop()

    sides: dict[str, Callable[[], float]] = {"http": lambda: idle({}), "http: null": lambda: idle({"http": None})}
    held = turns(bench, "start", "MB", sides)
    return [
        at_most("ready", "ready after start, empty", "s", ready, 0.8),
        at_most("idle", "memory, idle, HTTP asked", "MB", held["http"], 75),
        at_most("idle bare", "memory, idle, http: null", "MB", held["http: null"], 50),
    ]


def memory(bench: Bench) -> list[Figure]:
    """Twenty messages of 10 MB at once, three times over."""
    load = Load(60, 10_000_000)

    def measure() -> float:
        sink = Sink(bench.folder)
        relay = relay_to(bench, sink.port)
        with running(sink, relay):
            push(load, relay, relay.port, sink)
            return peak_resident(relay.pid)

    held = turns(bench, "memory", "MB", {"relay": measure})
    return [at_most("memory", "memory, 20 × 10 MB at once", "MB", held["relay"], 150)]


def waiting(bench: Bench) -> list[Figure]:
    """Mail of a provider that is down waits; mail of a living one goes through. The spool is in the page cache."""
    sink, dead = Sink(bench.folder), free_port()
    empty, full = (Relay(bench.folder / name, _two_ways(sink.port, dead)) for name in ("empty", "full"))
    ready: list[float] = []
    peak: list[float] = []
    load = Load(bench.many(6000), kept=True)

    def rate(relay: Relay) -> float:
        took = relay.start()
        try:
            push(load.warm(), relay, relay.port, sink)
            seconds = push(load, relay, relay.port, sink)
            if relay is full:
                ready.append(took)
                peak.append(peak_resident(relay.pid))
            return load.messages / seconds
        finally:
            relay.stop()

    try:
        full.write()
        fill.fill(full.file, bench.waiting, bench.say)
        with running(sink):
            values = turns(bench, "waiting", "messages/s", {"empty": lambda: rate(empty), "full": lambda: rate(full)})
    finally:
        empty.clear()
        full.clear()
    title = f"{bench.waiting:,} messages waiting"
    return [
        Figure(
            row="waiting",
            title=f"4 KiB, connections kept, {title}",
            unit="messages/s",
            ours=values["full"],
            theirs=values["empty"],
            against="empty queue",
            mark=0.9,
            notes={"load": str(load)},
        ),
        at_most("ready waiting", f"ready after start, {title}", "s", ready, 2.0),
        at_most("memory waiting", f"memory, {title}", "MB", peak, 150),
    ]


def _two_ways(alive: int, dead: int) -> Config:
    """What `fill` made goes to a provider that is down."""
    return {
        "providers": [provider("alive", alive), provider("dead", dead)],
        "routes": [
            {"match": {"sender": fill.SENDER}, "providers": ["dead"]},
            {"match": {}, "providers": ["alive"]},
        ],
    }
