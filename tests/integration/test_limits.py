"""Limits of a provider hold: never more than N in any 60 s, over restarts too, and no more connections than allowed."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from clients import letter, send, smtp, submit
from ledger import Ledger
from relay_process import Relay, provider
from waiting import never, until

MAKE = Callable[..., Relay]
LIMIT, MESSAGES, WINDOW = 30, 60, 60.0


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("restart", ["", "terminate", "kill"])
def test_F9_per_minute_holds_in_every_window(relay: MAKE, ledger: Callable[[], Ledger], restart: str) -> None:
    """Slow: the window is a minute of real time."""
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port, limits={"per_minute": LIMIT})]).start()
    started = time.monotonic()
    with smtp(one.door) as client:
        for number in range(MESSAGES):
            submit(client, [f"r{number}@example.com"], letter())
    upstream.wait_for(LIMIT)
    if restart:
        until(lambda: one.metric("relay_delivery_attempts_total", outcome="accepted") == LIMIT, 5, "all are settled")
        getattr(one, restart)()
        one.start()
    never(lambda: len(upstream.taken) > LIMIT, 20, "one more before its minute is over", every=0.5)
    assert one.metric("relay_provider_quota_remaining", window="minute") == 0
    upstream.wait_for(MESSAGES, seconds=60)
    times = sorted(mail.at for mail in upstream.taken)
    assert len(times) == MESSAGES
    for early, late in zip(times, times[LIMIT:], strict=False):
        assert late - early >= WINDOW, "more than the limit in one window"
    assert 60 <= times[-1] - started <= 65
    assert one.metric("relay_failovers_total") == 0


def test_day_limit_moves_on_to_the_next_provider(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    first, second = ledger(), ledger()
    one = relay(
        providers=[
            provider("first", first.port, limits={"per_day": 3}),
            provider("second", second.port, priority=2),
        ]
    ).start()
    for number in range(5):
        send(one.door, [f"r{number}@example.com"], letter())
        upstreams_have(number + 1, first, second)
    assert (len(first.taken), len(second.taken)) == (3, 2)
    until(lambda: one.queue() == [], 5, "all of them are settled")
    one.kill()
    one.start()
    send(one.door, ["after@example.com"], letter())
    second.wait_for(3)
    assert len(first.taken) == 3, "the count survives a crash"
    assert one.metric("relay_provider_quota_remaining", provider="first", window="day") == 0
    assert one.metric("relay_failovers_total") == 1


def upstreams_have(count: int, *upstreams: Ledger) -> None:
    until(lambda: sum(len(one.taken) for one in upstreams) == count, 10, f"{count} message(s) arrived")


def test_connections_and_recipients_per_transaction(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    upstream.script.dot_delay = 0.02
    limits = {"connections": 2, "recipients": 4}
    one = relay(providers=[provider("one", upstream.port, limits=limits)]).start()
    with smtp(one.door) as client:
        for number in range(30):
            submit(client, [f"r{number}-{part}@example.com" for part in range(10)], letter())
    until(lambda: sum(len(mail.recipients) for mail in upstream.taken) == 300, 20, "all 300 recipients")
    assert max(len(mail.recipients) for mail in upstream.taken) == 4
    assert upstream.most_open <= 2
