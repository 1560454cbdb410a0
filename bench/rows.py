"""The rows there are, in the order they run and are shown: a function each, and the figures it gives.

Used by `__main__`.
"""

from __future__ import annotations

from collections.abc import Callable

from bench import distance, resources, throughput
from bench.results import Figure
from bench.rig import Bench

ROWS: dict[str, Callable[[Bench], list[Figure]]] = {
    "new": throughput.new,
    "kept": throughput.kept,
    "100k": throughput.hundred,
    "10m": throughput.large,
    "50": throughput.recipients,
    "http": throughput.web,
    "events": throughput.events,
    "far": distance.far,
    "chunking": distance.chunked,
    "tls": throughput.encrypted,
    "latency": distance.latency,
    "start": resources.start,
    "memory": resources.memory,
    "waiting": resources.waiting,
}

ORDER = (
    "new",
    "kept",
    "100k",
    "10m",
    "50",
    "http",
    "events",
    "far",
    "far trips",
    "chunking",
    "tls",
    "latency",
    "cpu new",
    "cpu kept",
    "waiting",
    "ready",
    "ready waiting",
    "idle",
    "idle bare",
    "memory",
    "memory waiting",
)
