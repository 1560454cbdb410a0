"""A provider as metrics, the API and people see it at one moment.

Made by dispatcher for observe and api. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from relay.delivery.circuit import CLOSED
from relay.delivery.hints import account_hint, explained, host_hint
from relay.delivery.provider import ProviderState
from relay.model import Reply


class ProviderStatus(Struct, frozen=True, kw_only=True):
    """A provider as metrics and people see it. `quota`: what remains, by window. `reason`: why it is not used.

    `obstacle`: the kind of that reason, as in Obstacle, "" for none. `reply`: what suspended it or opened its circuit.
    """

    name: str
    healthy: bool
    circuit: str
    suspended: bool
    in_flight: int
    window: int
    quota: Mapping[str, int]
    reason: str = ""
    until: float = 0.0
    obstacle: str = ""
    reply: Reply | None = None

    @property
    def out(self) -> bool:
        """Its host or our account there fails: it gets no mail until a probe has found it well."""
        return self.suspended or self.circuit != CLOSED

    @property
    def detail(self) -> str:
        """What put it out, cause and fix; "" when it is not out."""
        if not self.out or self.reply is None:
            return self.reason if self.out else ""
        return explained(self.reply, account_hint(self.reply) if self.suspended else host_hint(self.reply))


def status(state: ProviderState, now: float) -> ProviderStatus:
    barrier, obstacle = state.barrier(), state.obstacle(now)
    return ProviderStatus(
        name=state.provider.name,
        healthy=barrier is None,
        circuit=state.circuit.state,
        suspended=state.suspension.reply is not None,
        in_flight=state.in_flight,
        window=state.window,
        quota=state.meter.left(now),
        reason=obstacle.reason if obstacle else "",
        until=obstacle.until if obstacle else 0.0,
        obstacle=obstacle.kind if obstacle else "",
        reply=state.suspension.reply or state.circuit.reply,
    )
