"""The short way to a provider comes to what the long one comes to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.delivery.circuit import CircuitPolicy
from relay.delivery.limits import Meter
from relay.delivery.order import alone, origin, pick, unaccompanied, undisputed, walk
from relay.delivery.provider import ProviderState
from relay.events import nobody
from relay.model import (
    DeliveryOutcome,
    Envelope,
    Fault,
    Limits,
    Message,
    MessageId,
    Phase,
    Provider,
    Recipient,
    Reply,
    Source,
    Verdict,
)

NOW = 1_800_000_000.0
TO = Recipient(address="b@example.org")
MAIL = Message(
    id=MessageId("0cmfxxv008yf8"),
    envelope=Envelope(sender="a@example.com", recipients=(TO,)),
    prefix=b"",
    size=100,
    source=Source(kind="smtp"),
    received_at=NOW,
    expires_at=NOW + 1,
)
OUT, PACED, TOO_SMALL, FULL = "out", "paced", "too small", "full"


def state(number: int, priority: int, active: bool, trouble: str) -> ProviderState:
    provider = Provider(
        name=f"p{number}", host="h.example", port=25, priority=priority, active=active, limits=Limits(connections=2)
    )
    made = ProviderState(provider, CircuitPolicy(), Meter(provider.name, provider.limits), nobody)
    if trouble in (OUT, PACED, TOO_SMALL):
        made.learn([refusal(trouble)], 50, NOW)
    if trouble == FULL:
        made.in_flight = 1000
    return made


def refusal(trouble: str) -> DeliveryOutcome:
    return DeliveryOutcome(
        recipient=TO,
        verdict=Verdict.DEFERRED,
        fault=Fault.PROVIDER,
        provider="p",
        reply=Reply(code=450),
        phase=Phase.MAIL,
        suspend=trouble == OUT,
        signal={PACED: "throttled", TOO_SMALL: "size"}.get(trouble, ""),
    )


STATES = st.lists(
    st.tuples(st.integers(1, 3), st.booleans(), st.sampled_from(["", "", OUT, PACED, TOO_SMALL, FULL])), max_size=4
).map(lambda given: [state(n, *one) for n, one in enumerate(sorted(given, key=lambda one: one[0]))])


@given(STATES, st.booleans())
def test_the_undisputed_provider_is_the_one_that_would_be_picked(states: list[ProviderState], impatient: bool) -> None:
    first = undisputed(states, MAIL, NOW)
    options = walk(states, MAIL, (), (), NOW)
    chosen = pick(options, MAIL, impatient)
    if first is None:
        return  # the long way it is
    assert chosen is not None and chosen.state is first
    assert origin(options, chosen) is None
    assert alone(options, chosen, ()) == unaccompanied(states, first)
