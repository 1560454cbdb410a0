"""What scrapers read: counters and histograms kept from events, gauges taken from a snapshot at scrape time.

`app` makes it an observer and hands `render` to the HTTP side. The only importer of prometheus_client. It never has a
label with an address: series grow with providers and listeners only (hazard H10). Plain numbers, no locks: each kind of
event comes from one thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from relay import events
from relay.model import Fault, State, Verdict

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CIRCUIT_STATES = {"closed": 0, "half_open": 1, "open": 2}
OUTCOMES = ("accepted", "deferred", "rejected", "uncertain")
SOURCES = ("smtp", "http", "event", "run", "notice")
KINDS = ("event", "workflow", "run")
WAITING = ("queued", "sending", "deferred", "scheduled", "held", "captured")

_SIZES = tuple(float(1024 * 4**power) for power in range(9))  # 1 KiB to 64 MiB
_SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LONG = (0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0, 432000.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSnapshot:
    """A provider at scrape time. `circuit`: a key of CIRCUIT_STATES; `remaining`: by window, where there is a limit."""

    name: str
    healthy: bool = True
    circuit: str = "closed"
    remaining: Mapping[str, int] = field(default_factory=dict)
    connections: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The relay at scrape time. `states`: messages by state; `oldest`: seconds the oldest waiting one has waited."""

    states: Mapping[str, int]
    oldest: float = 0.0
    free_bytes: int = 0
    providers: tuple[ProviderSnapshot, ...] = ()


class _Histogram:
    """Counts per bucket, the last one for everything above the bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        names = [*map(floatToGoString, self.bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self.counts)), strict=True))


class Metrics(Collector):
    """Counts events; renders them, with a snapshot, in the text format of Prometheus."""

    def __init__(self, version: str, listeners: Iterable[str] = (), providers: Iterable[str] = ()) -> None:
        self._version = version
        self._connections = dict.fromkeys(listeners, 0)
        self._refused: dict[tuple[str, str], int] = {}
        self._accepted = dict.fromkeys(SOURCES, 0)
        self._sizes = _Histogram(_SIZES)
        self._accepting = _Histogram(_SHORT)
        self._attempts: dict[tuple[str, str], int] = {}
        self._sending: dict[str, _Histogram] = {}
        self._delays = _Histogram(_LONG)
        self._failovers: dict[tuple[str, str], int] = {}
        self._bounces = 0
        self._told = dict.fromkeys(KINDS, 0)
        self._untold = dict.fromkeys(KINDS, 0)
        self._commits = _Histogram(_SHORT)
        self._reloaded = True
        self._snapshot = Snapshot(states={})
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        self._know(providers)
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            events.ConnectionOpened: self._on_opened,
            events.ConnectionClosed: self._on_closed,
            events.CommandRejected: self._on_refused,
            events.MessageAccepted: self._on_accepted,
            events.AttemptEnded: self._on_attempt,
            events.FailedOver: self._on_failed_over,
            events.NoticeQueued: self._on_notice,
            events.Committed: self._on_committed,
            events.ConfigurationReloaded: self._on_reloaded,
            events.EventTold: self._on_told,
        }

    def __call__(self, event: events.Event) -> None:
        handle = self._handlers.get(type(event))
        if handle is not None:
            handle(event)

    def render(self, snapshot: Snapshot) -> bytes:
        """All metrics now, as `CONTENT_TYPE`."""
        self._snapshot = snapshot
        self._know(provider.name for provider in snapshot.providers)
        return generate_latest(self._registry)

    def _know(self, providers: Iterable[str]) -> None:
        """Series that exist from the start: a rate over one that appears with its first event misses that event."""
        for provider in providers:
            if provider not in self._sending:
                self._sending[provider] = _Histogram(_SHORT)
                self._attempts.update({(provider, outcome): 0 for outcome in OUTCOMES})

    def _on_opened(self, event: events.ConnectionOpened) -> None:
        self._connections[event.listener] = self._connections.get(event.listener, 0) + 1

    def _on_closed(self, event: events.ConnectionClosed) -> None:
        self._connections[event.listener] = self._connections.get(event.listener, 0) - 1

    def _on_refused(self, event: events.CommandRejected) -> None:
        key = (event.listener, event.reason)
        self._refused[key] = self._refused.get(key, 0) + 1

    def _on_accepted(self, event: events.MessageAccepted) -> None:
        kind = event.source.kind
        self._accepted[kind] = self._accepted.get(kind, 0) + 1
        self._sizes.add(event.size)
        self._accepting.add(event.seconds)

    def _on_attempt(self, event: events.AttemptEnded) -> None:
        provider = event.provider
        if provider not in self._sending:
            self._know((provider,))
        self._sending[provider].add(event.seconds)
        handed_over = False
        for outcome in event.outcomes:
            verdict: str = outcome.verdict
            if verdict == Verdict.ACCEPTED:
                handed_over = True
            elif outcome.fault is Fault.UNCERTAIN:
                verdict = "uncertain"
            self._attempts[provider, verdict] += 1
        if handed_over:
            self._delays.add(event.delay)

    def _on_failed_over(self, event: events.FailedOver) -> None:
        key = (event.origin, event.target)
        self._failovers[key] = self._failovers.get(key, 0) + 1

    def _on_notice(self, event: events.NoticeQueued) -> None:
        self._bounces += event.kind == "bounce"

    def _on_told(self, event: events.EventTold) -> None:
        self._told[event.kind] += 1
        self._untold[event.kind] += len(event.failed)

    def _on_committed(self, event: events.Committed) -> None:
        self._commits.add(event.seconds)

    def _on_reloaded(self, event: events.ConfigurationReloaded) -> None:
        self._reloaded = not event.errors

    def describe(self) -> list[Metric]:
        """Asked once, at registration; no names are promised, so the registry does not call `collect` for them."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family, with the snapshot of this scrape."""
        yield _gauge("build_info", "Version of this relay; the value is always 1.", ("version",), {(self._version,): 1})
        yield from self._collect_intake()
        yield from self._collect_delivery()
        yield from self._collect_providers()
        yield from self._collect_automation()
        yield _histogram("spool_commit_duration_seconds", "Time to make one transaction durable.", self._commits)
        yield _plain("spool_free_bytes", "Bytes the spool can still take.", self._snapshot.free_bytes)
        reloaded = "1 if the last reload of the configuration was accepted, 0 if it was refused."
        yield _plain("config_last_reload_successful", reloaded, self._reloaded)

    def _collect_intake(self) -> Iterator[Metric]:
        connections = {(listener,): count for listener, count in self._connections.items()}
        yield _gauge("smtp_connections", "Open connections of clients.", ("listener",), connections)
        refused = "Commands refused to clients, by reason."
        yield _counter("smtp_commands_rejected", refused, ("listener", "reason"), self._refused)
        accepted = {(source,): count for source, count in self._accepted.items()}
        yield _counter("messages_accepted", "Messages made durable, by where they came in.", ("source",), accepted)
        yield _histogram("message_size_bytes", "Size of accepted messages.", self._sizes)
        yield _histogram("accept_duration_seconds", "From MAIL or request to durable.", self._accepting)
        states = dict.fromkeys(WAITING, 0) | {str(k): n for k, n in self._snapshot.states.items() if k in _STATES}
        queue = "Messages that have not ended, by state."
        yield _gauge("queue_messages", queue, ("state",), {(state,): states[state] for state in WAITING})
        oldest = "How long the oldest message that is not captured has waited."
        yield _plain("queue_oldest_message_age_seconds", oldest, self._snapshot.oldest)

    def _collect_delivery(self) -> Iterator[Metric]:
        attempts = "Recipients attempted, by what became of them."
        yield _counter("delivery_attempts", attempts, ("provider", "outcome"), self._attempts)
        duration = HistogramMetricFamily(
            "relay_delivery_duration_seconds", "Length of one transaction with a provider.", labels=("provider",)
        )
        for provider, histogram in self._sending.items():
            duration.add_metric((provider,), histogram.buckets(), histogram.total)
        yield duration
        yield _histogram("delivery_delay_seconds", "From acceptance to hand-over to a provider.", self._delays)
        failovers = "Messages for which a provider was chosen because an earlier one failed or was out."
        yield _counter("failovers", failovers, ("from", "to"), self._failovers)
        yield _counter("bounces", "Bounces queued.", (), {(): self._bounces})

    def _collect_automation(self) -> Iterator[Metric]:
        told = "Events and workflow runs that were told, by kind."
        yield _counter("events", told, ("kind",), {(kind,): count for kind, count in self._told.items()})
        failed = "Mails of events and workflow runs that could not be made, by kind."
        yield _counter("event_mails_failed", failed, ("kind",), {(kind,): n for kind, n in self._untold.items()})

    def _collect_providers(self) -> Iterator[Metric]:
        providers, labels = self._snapshot.providers, ("provider",)
        healthy = {(p.name,): int(p.healthy) for p in providers}
        yield _gauge("provider_healthy", "1 if mail can go to the provider now.", labels, healthy)
        circuit = {(p.name,): CIRCUIT_STATES[p.circuit] for p in providers}
        yield _gauge("provider_circuit_state", "Circuit: 0 closed, 1 half-open, 2 open.", labels, circuit)
        remaining = {(p.name, window): left for p in providers for window, left in p.remaining.items()}
        quota = "What the limit of a window still allows."
        yield _gauge("provider_quota_remaining", quota, ("provider", "window"), remaining)
        connections = {(p.name,): p.connections for p in providers}
        yield _gauge("provider_connections", "Open connections to the provider.", labels, connections)


_STATES = frozenset(map(str, State))
_Values = Mapping[Any, float]


def _counter(name: str, help: str, labels: tuple[str, ...], values: _Values) -> Metric:
    family = CounterMetricFamily(f"relay_{name}", help, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _gauge(name: str, help: str, labels: tuple[str, ...], values: _Values) -> Metric:
    family = GaugeMetricFamily(f"relay_{name}", help, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _plain(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(f"relay_{name}", help, value=float(value))


def _histogram(name: str, help: str, histogram: _Histogram) -> Metric:
    family = HistogramMetricFamily(f"relay_{name}", help)
    family.add_metric((), histogram.buckets(), histogram.total)
    return family
