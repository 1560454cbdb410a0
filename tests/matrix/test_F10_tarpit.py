"""Hazard F10: one provider that answers a byte now and then costs the others less than 5 %.

Two relays take the same load in turns, so that whatever else the machine does falls on both: one has a tarpit beside
its good providers, with every connection stuck in it and a backlog behind. `pytest -s` prints the figure;
RELAY_F10_ROUNDS=50 makes it a long measurement.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from clients import letter, smtp, submit
from ledger import Ledger
from relay_process import Relay, provider
from waiting import until

from relay.testing.upstream import Raw, Upstreams

MAKE = Callable[..., Relay]
ROUNDS = int(os.environ.get("RELAY_F10_ROUNDS", "5"))
LOAD, CLIENTS, BACKLOG, STUCK = 100, 2, 300, 20
TAR = {"dot": Raw(b"250 2.0.0 taken at last\r\n", pause=0.5)}
GOOD = ("one", "two", "three")


@dataclass
class Side:
    """One of the two relays; `walls` and `costs`: seconds of the clock and of its processor, a round each."""

    relay: Relay
    upstream: Ledger
    walls: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    def round(self) -> None:
        before, processor, start = len(self.upstream.taken), self.processor(), time.monotonic()
        clients = [threading.Thread(target=self._load) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        until(lambda: len(self.upstream.taken) >= before + LOAD * CLIENTS, 60, "all of the load is out", every=0.002)
        self.walls.append(time.monotonic() - start)
        self.costs.append(self.processor() - processor)

    def _load(self) -> None:
        with smtp(self.relay.door) as client:
            for number in range(LOAD):
                submit(client, [f"r{number}@{GOOD[number % len(GOOD)]}.test"], letter())

    def processor(self) -> float:
        fields = Path(f"/proc/{self.relay.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def side(relay: MAKE, upstream: Ledger, tar: int) -> Side:
    names = (*GOOD, "tar")
    one = relay(
        providers=[provider(name, tar if name == "tar" else upstream.port) for name in names],
        routes=[{"match": {"recipient": f"*@{name}.test"}, "providers": [name]} for name in names],
    )
    return Side(one.start(), upstream)


@pytest.mark.slow
@pytest.mark.timeout(60 + 20 * ROUNDS)
def test_F10_a_tarpit_costs_the_others_little(
    relay: MAKE, ledger: Callable[[], Ledger], upstreams: Callable[..., Upstreams]
) -> None:
    """Slow: it measures, in several rounds."""
    tar = upstreams([TAR])[0]
    without, beside = side(relay, ledger(), tar.port), side(relay, ledger(), tar.port)
    with smtp(beside.relay.door) as client:
        for number in range(BACKLOG):
            submit(client, [f"r{number}@tar.test"], letter())
    until(lambda: tar.counts.open == STUCK, 20, "all of its connections are in the tar")
    for one in (without, beside):
        one.round()  # warm
        one.walls.clear()
        one.costs.clear()
    for number in range(ROUNDS):
        for one in (without, beside)[:: 1 if number % 2 else -1]:
            one.round()
    wall = statistics.median(beside.walls) / statistics.median(without.walls) - 1
    cost = sum(beside.costs) / sum(without.costs) - 1  # a clock's tick is a twentieth of a round's cost
    rate = LOAD * CLIENTS / statistics.median(without.walls)
    print(f"\nF10: beside a tarpit {wall:+.1%} time, {cost:+.1%} processor ({ROUNDS} rounds, {rate:.0f} messages/s)")
    assert len(beside.upstream.taken) == len(without.upstream.taken) == (ROUNDS + 1) * LOAD * CLIENTS
    assert len(beside.relay.queue("--to", "*@tar.test", "--limit", "1000")) > BACKLOG / 3, "it was stuck all along"
    assert cost < 0.25, "what it costs in processor; the clock is printed only, since others use the machine"


@pytest.mark.slow
def test_F10_a_tarpit_among_equals_stops_none_of_them(
    relay: MAKE, ledger: Callable[[], Ledger], upstreams: Callable[..., Upstreams]
) -> None:
    """Slow: more mail than may be in flight. What is not the tarpit's share alone goes to its equal."""
    tar, upstream = upstreams([TAR])[0], ledger()
    one = relay(providers=[provider("tar", tar.port), provider("good", upstream.port)]).start()
    with smtp(one.door) as client:
        for number in range(2500):
            submit(client, [f"r{number}@there.test"], letter())
    until(lambda: len(upstream.taken) >= 2200, 20, "the good one has taken all but what the tarpit has")
