"""G9: the relay's process stands still for longer than its timeouts: a paused container, or a busy host."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest
from clients import letter, send
from relay_process import Relay, provider
from waiting import until

from relay.testing.upstream import Do
from relay.testing.upstream.threads import Upstreams


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["dot", "mail"])
def test_G9_what_the_provider_said_meanwhile_counts(relay: Callable[..., Relay], phase: str) -> None:
    """Slow: stopped for two seconds of timeouts. A 250 that lay unread in the socket is no reason to send twice."""
    with Upstreams([{phase: Do("slow", 0.7)}]) as ups:
        upstream = ups[0]
        timeouts = {"command": "1s", "data": "1s"}
        one = relay(providers=[provider("p", upstream.port, timeouts=timeouts)]).start()
        sent = [send(one.door, ["bob@example.com"], letter()) for _ in range(5)]
        until(lambda: upstream.counts.phases[phase] == 5, 5, "five connections wait for an answer")
        one.signal(signal.SIGSTOP)
        time.sleep(2)
        one.signal(signal.SIGCONT)
        for message in sent:
            one.wait_for_states(message, bob="accepted")
        assert upstream.counts.dots == 5, "each message was sent once"
        assert one.metric("relay_delivery_attempts_total") == 5
