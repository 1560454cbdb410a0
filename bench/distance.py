"""Rows over a path with a round trip of 50 ms between server and upstream, and the wait of a client for its 250.

Called through `rows`.
"""

from __future__ import annotations

import socket
import sys
import time
from dataclasses import replace
from statistics import median

from bench.ours import CONNECTIONS
from bench.paced import latencies, percentile
from bench.process import Child
from bench.results import Figure
from bench.rig import Bench, Server, rig, turns
from bench.throughput import most_of_postfix, rates
from bench.traffic import Load, OwnSink, Sink
from bench.waiting import free_port, greeted

ROUND_TRIP = 0.05
MEASURED = "round trip measured, s"


class Path(Child):
    """The proxy of `bench.path` in front of `upstream`."""

    def __init__(self, upstream: int) -> None:
        super().__init__("path")
        self.port, self._upstream = free_port(), upstream

    def start(self) -> None:
        self.launch([sys.executable, "-m", "bench.path", str(self.port), str(self._upstream), str(ROUND_TRIP)])

    def stop(self) -> None:
        self.end()

    def round_trip(self) -> float:
        """Seconds, of a command that is answered at once: timers are never early, so it is a little above 50 ms."""
        greeted(self.port, 10)
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as client:
            client.recv(1000)
            return median(_noop(client) for _ in range(11))


def _noop(client: socket.socket) -> float:
    began = time.perf_counter()
    client.sendall(b"NOOP\r\n")
    client.recv(1000)
    return time.perf_counter() - began


def over(bench: Bench, row: str, title: str, load: Load, connections: int, sink: Sink, mark: float) -> list[Figure]:
    """Both held to so many connections. Postfix keeps them from the first message on, not only after a backlog."""
    most = str(connections)
    settings = {
        "initial_destination_concurrency": most,
        "default_destination_concurrency_limit": most,
        "smtp_connection_cache_destinations": "static:all",
        "smtp_connection_reuse_time_limit": "3600s",
    }
    path = Path(sink.port)
    path.start()
    try:
        with rig(bench, sink, path.port, settings, {"limits": {"connections": connections}}) as servers:
            round_trip = path.round_trip()
            rate, _ = rates(bench, row, load, sink, servers)
    finally:
        path.stop()
    notes = {"load": str(load), MEASURED: round_trip, "postfix": settings}
    return [
        Figure(
            row=row,
            title=title,
            unit="messages/s",
            ours=rate["relay"],
            theirs=rate["Postfix"],
            mark=mark,
            notes=notes,
        )
    ]


def far(bench: Bench) -> list[Figure]:
    """The ceiling is one round trip a message on each of the connections."""
    load = Load(bench.many(2500))
    [figure] = over(bench, "far", "4 KiB over a 50 ms path", load, CONNECTIONS, Sink(bench.folder), 3.0)
    ceiling = CONNECTIONS / figure.notes[MEASURED]
    share = [rate / ceiling for rate in figure.ours]
    return [
        replace(figure, ceiling=ceiling),
        Figure(row="far trips", title="… of one round trip a message", unit="share", ours=share, mark=0.9),
    ]


def chunked(bench: Bench) -> list[Figure]:
    """Postfix's client knows no CHUNKING (3.7): it pipelines and sends DATA, on a connection it keeps."""
    load = Load(bench.many(150), sessions=10)
    sink = OwnSink(bench.folder, "--chunking")
    title = "4 KiB, 50 ms, CHUNKING, one connection"
    return over(bench, "chunking", title, load, 1, sink, 5.0)


def latency(bench: Bench) -> list[Figure]:
    """At half of the most that Postfix can do, in messages that begin on the clock."""
    rate = most_of_postfix(bench) / 2
    middle: dict[str, list[float]] = {"Postfix": [], "relay": []}

    def measure(server: Server) -> float:
        latencies(server.port, rate, 0.5)
        took = latencies(server.port, rate, max(4.0, 10 * bench.scale))
        middle[server.name].append(percentile(took, 0.5) * 1000)
        return percentile(took, 0.99) * 1000

    with rig(bench, Sink(bench.folder)) as servers:
        sides = {server.name: (lambda server=server: measure(server)) for server in servers}
        worst = turns(bench, "latency", "ms", sides)
    return [
        Figure(
            row="latency",
            title=f"accept latency, p99 at {rate:.0f} messages/s",
            unit="ms",
            ours=worst["relay"],
            theirs=worst["Postfix"],
            mark=1.0,
            higher=False,
            notes={"messages/s": rate, "median, ms": middle},
        )
    ]
