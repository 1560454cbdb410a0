"""What the dispatcher knows of one provider: its health, quota, window, and what it taught us about its limits.

Called by dispatcher only. State changes when something is decided; nothing here waits or picks among providers.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from relay.delivery.circuit import CLOSED, Circuit, CircuitPolicy, Suspension, host_scoped
from relay.delivery.limits import Blocked, Meter
from relay.events import CircuitChanged, Observer, ProviderRecovered, ProviderSuspended
from relay.model import DeliveryOutcome, Fault, Limits, Message, Provider, Reply, Verdict

DEFAULT_CONNECTIONS = 20
MOST_IN_FLIGHT = 1000
IN_HAND = 1
"""Messages for each connection beyond those it carries: its next, so that it need not wait until one is claimed."""
SHARE = MOST_IN_FLIGHT // 2
"""What one provider has of it at most, unless it has more connections: others go on beside a tarpit (hazard F10)."""

FIRST_PAUSE = 5.0
LAST_PAUSE = 60.0


class Obstacle(Struct, frozen=True, kw_only=True):
    """Why a provider is not used now.

    `kind`: inactive | suspended | circuit | day | month (it is out), minute | throttled | busy (it paces us),
    avoided | refused | unfit (it is about this mail). `until`: when that may change, 0 if nobody knows.
    """

    kind: str
    reason: str
    until: float = 0.0

    @property
    def paces(self) -> bool:
        """It is there and only makes us wait a little."""
        return self.kind in ("minute", "throttled", "busy")

    @property
    def out(self) -> bool:
        """The contract's reasons for a failover besides having failed: circuit, suspension, day or month quota."""
        return self.kind in ("suspended", "circuit", "day", "month")


class ProviderState:
    """One provider, live. `window`: transactions at once; below the full one it starts slowly or was throttled.

    `abreast`: messages that a connection carries at once: one on the wire and one riding behind its dot, or as many as
    those that use CHUNKING told with the last acceptance.
    """

    def __init__(self, provider: Provider, circuit: CircuitPolicy, meter: Meter, observe: Observer) -> None:
        self.provider = provider
        self.meter = meter
        self.circuit = Circuit(circuit)
        self.suspension = Suspension()
        self.in_flight = 0
        self.full = provider.limits.connections or DEFAULT_CONNECTIONS
        self.window = self.full
        self.abreast = 2
        self._observe = observe
        self._paused_until = 0.0
        self._pause = 0.0
        self._throttled_by: Reply | None = None
        self._too_large: int | None = None
        self._most_recipients: int | None = None

    # What may be done with it.

    def barrier(self) -> Obstacle | None:
        """What keeps all mail from it: people, our account, or its host."""
        if not self.provider.active:
            return Obstacle(kind="inactive", reason="not active")
        if (reply := self.suspension.reply) is not None:
            reason = f"suspended, it refuses our account: {reply}"
            return Obstacle(kind="suspended", reason=reason, until=self.suspension.until)
        if self.circuit.state != CLOSED:
            return Obstacle(kind="circuit", reason=f"circuit open: {self.circuit.reply}", until=self.circuit.until)
        return None

    def obstacle(self, now: float) -> Obstacle | None:
        """What keeps it from one more transaction now."""
        return self.barrier() or self.quota(now) or self._throttling(now) or self._busy(now)

    def room(self, now: float) -> int:
        """Transactions it can be given now: what its connections carry, and what they begin with next."""
        if self.barrier() is not None or self._throttling(now) is not None:
            return 0
        most = self.window if self.window < self.full else self._carries
        left = self.meter.room(now)
        return max(0, most - self.in_flight if left is None else min(left, most - self.in_flight))

    @property
    def crowded(self) -> bool:
        """Twice what there is room for waits for it: it is slower than its equals, which are to take its share."""
        return self.in_flight >= min(2 * self._carries, SHARE)

    @property
    def _carries(self) -> int:
        return max(self.full, min((self.abreast + IN_HAND) * self.full, SHARE))

    def quota(self, now: float) -> Obstacle | None:
        """The limit that is used up, if one is."""
        blocked = self.meter.blocked(now)
        if blocked is None:
            return None
        return Obstacle(kind=blocked.window, reason=_used_up(blocked, self.provider.limits), until=blocked.until)

    def _throttling(self, now: float) -> Obstacle | None:
        if self._paused_until <= now:
            return None
        return Obstacle(
            kind="throttled", reason=f"asked us to slow down: {self._throttled_by}", until=self._paused_until
        )

    def _busy(self, now: float) -> Obstacle | None:
        """A full window waits in memory for a connection; one that starts slowly must not be stormed."""
        most = self.window if self.window < self.full else MOST_IN_FLIGHT
        return None if self.in_flight < most else Obstacle(kind="busy", reason="busy", until=now + 1.0)

    def fits(self, message: Message) -> bool:
        """False when it taught us that a message of this size is too large for it."""
        return self._too_large is None or message.size < self._too_large

    def most_recipients(self, wanted: int, now: float) -> int:
        """How many recipients of `wanted` one transaction may have now; at least 1."""
        caps = [wanted, self.provider.limits.recipients, self._most_recipients]
        if self.provider.limits.count == "recipients":
            caps.append(self.meter.room(now))
        return max(1, min(cap for cap in caps if cap is not None))

    # What is learned.

    def learn(self, outcomes: Sequence[DeliveryOutcome], size: int, now: float) -> None:
        """Take in one transaction. `size`: of the message, 0 if unknown."""
        for outcome in _distinct(outcomes):
            if outcome.verdict is Verdict.ACCEPTED:
                self.abreast = outcome.abreast or self.abreast
                self._succeeded()
            elif outcome.suspend:
                self._suspend(outcome.reply, now)
            elif host_scoped(outcome):
                self._host_failed(outcome.reply, now)
            elif outcome.signal:
                self._signal(outcome, len(outcomes) - _split(outcomes), size, now)
            elif outcome.fault not in (Fault.PROVIDER, Fault.UNCERTAIN):
                self.circuit.succeeded()  # it talked to us about the mail: the host is well

    def probed(self, outcome: DeliveryOutcome | None, now: float) -> None:
        """A probe came back: None is well. Also for probes that people asked for while it was healthy."""
        if outcome is None:
            self._recovered(now)
        elif outcome.suspend:
            self._close()
            if not self._suspend(outcome.reply, now):
                self.suspension.probe_failed(outcome.reply, now)
        elif self.suspension.reply is not None:
            self.suspension.probe_failed(self.suspension.reply, now)
        elif self.circuit.state == CLOSED:
            self._host_failed(outcome.reply, now)
        else:
            self.circuit.probe_failed(outcome.reply, now)
            self._circuit_changed()

    # Probes.

    @property
    def probe_at(self) -> float:
        """When it is to be probed, 0: not at all."""
        if not self.provider.active:
            return 0.0
        if self.suspension.reply is not None:
            return self.suspension.until
        return 0.0 if self.circuit.state == CLOSED else self.circuit.until

    def probing(self, now: float) -> None:
        """The caller probes it now."""
        if self.suspension.reply is not None:
            self.suspension.probing(now)
        else:
            self.circuit.probing(now)
            self._circuit_changed()

    def hurry(self, now: float) -> None:
        """Somebody says that it is mended: probe it at once if it is out."""
        self.circuit.hurry(now)
        self.suspension.hurry(now)

    def inherit(self, old: ProviderState, now: float) -> None:
        """Become the successor of the same name after a change: still out if it was, but probed at once."""
        self.in_flight = old.in_flight
        self.window = min(old.window, self.full) if old.window < old.full else self.full
        self.circuit.state, self.circuit.reply = old.circuit.state, old.circuit.reply
        self.circuit.hurry(now)
        if old.suspension.reply is not None:
            self.suspension.suspend(old.suspension.reply, now)
            self.suspension.hurry(now)

    def _suspend(self, reply: Reply, now: float) -> bool:
        new = self.suspension.suspend(reply, now)
        if new:
            self._observe(ProviderSuspended(provider=self.provider.name, reply=reply, until=self.suspension.until))
        return new

    def _host_failed(self, reply: Reply, now: float) -> None:
        if self.circuit.failed(reply, now):
            self._circuit_changed()

    def _succeeded(self) -> None:
        """One more at once for each that went through: the window doubles with every round, up to the full one."""
        self.circuit.succeeded()
        self._pause = 0.0
        if self.window < self.full:
            self.window += 1

    def _recovered(self, now: float) -> None:
        """Usable again, slowly: its lanes wake one message first (hazard F8: no storm)."""
        if self.suspension.reply is None and self.circuit.state == CLOSED:
            return
        self.suspension.lift()
        self.window = 1
        self._close()
        self._observe(ProviderRecovered(provider=self.provider.name))

    def _close(self) -> None:
        if self.circuit.state != CLOSED:
            self.circuit.close()
            self._circuit_changed()

    def _signal(self, outcome: DeliveryOutcome, taken: int, size: int, now: float) -> None:
        if outcome.signal == "throttled":
            self._throttled(outcome, now)
        elif outcome.signal in ("day", "month"):
            self.meter.exhaust(outcome.signal, now)
        elif outcome.signal == "size" and size:
            self._too_large = min(size, self._too_large or size)
        elif outcome.signal == "split" and taken:
            self._most_recipients = min(taken, self._most_recipients or taken)

    def _throttled(self, outcome: DeliveryOutcome, now: float) -> None:
        """Half as many at once, after a pause. What was in flight when it began to complain is one complaint."""
        if self._paused_until > now:
            return
        self._pause = min(self._pause * 2 or FIRST_PAUSE, LAST_PAUSE)
        self._paused_until = now + max(self._pause, min(outcome.retry_after or 0.0, LAST_PAUSE))
        self._throttled_by = outcome.reply
        self.window = max(1, self.window // 2)

    def _circuit_changed(self) -> None:
        circuit = self.circuit
        reply = circuit.reply if circuit.state != CLOSED else None
        until = circuit.until if circuit.state != CLOSED else 0.0
        event = CircuitChanged(provider=self.provider.name, state=circuit.state, reply=reply, until=until)
        self._observe(event)


def _used_up(blocked: Blocked, limits: Limits) -> str:
    if blocked.limit is None:
        return f"says that its quota of the {blocked.window} is used up"
    what = "recipients " if limits.count == "recipients" else ""
    return f"limit of {blocked.limit} {what}a {blocked.window} reached"


def _distinct(outcomes: Sequence[DeliveryOutcome]) -> Sequence[DeliveryOutcome]:
    """One of each kind: a transaction that failed for a hundred recipients failed once."""
    if len(outcomes) == 1:
        return outcomes
    return tuple({(o.fault, o.suspend, o.signal): o for o in outcomes}.values())


def _split(outcomes: Sequence[DeliveryOutcome]) -> int:
    return sum(outcome.signal == "split" for outcome in outcomes)
