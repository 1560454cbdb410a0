"""Whether a provider may be used: the circuit (its host is at fault) and the suspension (our account is).

Called by provider. Both are probed with EHLO and AUTH, never with somebody's mail; neither sends the probe itself.
"""

from __future__ import annotations

from msgspec import Struct

from relay.model import DeliveryOutcome, Fault, Phase, Reply

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"
PROBE_PATIENCE = 300.0
"""Seconds after which a probe that never came back is due again."""

FIRST_PROBE = 300.0
LAST_PROBE = 3600.0
"""A suspended provider is probed alone after five minutes, doubling to an hour."""

_HOST_PHASES = frozenset({Phase.CONNECT, Phase.TLS, Phase.BANNER, Phase.EHLO, Phase.STARTTLS, Phase.AUTH})


class CircuitPolicy(Struct, frozen=True, kw_only=True):
    """`failures` in a row open it for `open` seconds, doubling to `max_open` while probes fail."""

    failures: int = 3
    open: float = 5.0
    max_open: float = 30.0


def host_scoped(outcome: DeliveryOutcome) -> bool:
    """Whether this says something about the host, not about one message or one account."""
    if outcome.fault is not Fault.PROVIDER or outcome.suspend:
        return False
    return outcome.phase in _HOST_PHASES or outcome.reply.code == 421


class Circuit:
    """closed -> open after `failures` in a row -> half_open while the probe runs -> closed, or open for longer.

    Once closed by a probe the next opening starts from the last pause, until a message has gone through: a host that
    only greets does not make us hammer it.
    """

    def __init__(self, policy: CircuitPolicy) -> None:
        self.policy = policy
        self.state = CLOSED
        self.until = 0.0
        self.reply: Reply | None = None
        self._failures = 0
        self._pause = 0.0

    def failed(self, reply: Reply, now: float) -> bool:
        """A transaction failed by the host's fault. True: it opened. What was in flight when it opened is no news."""
        if self.state != CLOSED:
            return False
        self._failures += 1
        if self._failures < self.policy.failures:
            return False
        self._open(reply, now)
        return True

    def succeeded(self) -> None:
        """The host took part in a transaction. While open it proves nothing: it may have begun before the fault."""
        if self.state == CLOSED:
            self._failures = 0
            self._pause = 0.0

    def probing(self, now: float) -> None:
        self.state = HALF_OPEN
        self.until = now + PROBE_PATIENCE

    def probe_failed(self, reply: Reply, now: float) -> None:
        self._open(reply, now)

    def close(self) -> None:
        self.state = CLOSED
        self._failures = 0
        self.reply = None

    def hurry(self, now: float) -> None:
        """The configuration changed: probe at once and start again from the shortest pause."""
        self._pause = 0.0
        if self.state != CLOSED:
            self.state = OPEN
            self.until = now

    def _open(self, reply: Reply, now: float) -> None:
        self._pause = min(self._pause * 2 or self.policy.open, self.policy.max_open)
        self.state = OPEN
        self.until = now + self._pause
        self.reply = reply


class Suspension:
    """Set while the provider refuses our account (535 and the like). `reply`: what it said, None: not suspended."""

    def __init__(self) -> None:
        self.reply: Reply | None = None
        self.until = 0.0
        self._pause = 0.0

    def suspend(self, reply: Reply, now: float) -> bool:
        """True: it is new. Further refusals of what was in flight change nothing."""
        if self.reply is not None:
            return False
        self._wait(reply, now)
        return True

    def probing(self, now: float) -> None:
        self.until = now + PROBE_PATIENCE

    def probe_failed(self, reply: Reply, now: float) -> None:
        self._wait(reply, now)

    def lift(self) -> None:
        self.reply = None
        self._pause = 0.0

    def hurry(self, now: float) -> None:
        """The provider was changed or activated: probe at once and start again from the shortest pause."""
        self._pause = 0.0
        self.until = now

    def _wait(self, reply: Reply, now: float) -> None:
        self._pause = min(self._pause * 2 or FIRST_PROBE, LAST_PROBE)
        self.until = now + self._pause
        self.reply = reply
