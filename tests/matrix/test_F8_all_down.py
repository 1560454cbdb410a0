"""Hazard F8: all providers are down for long: the queue fills to its limit, then 452; no storm when they are back."""

from __future__ import annotations

import smtplib
from collections.abc import Callable

import pytest
from clients import letter, send, smtp, submit
from relay_process import Relay, provider
from waiting import until

from relay.testing.upstream import Script, Upstreams
from relay.testing.upstream.script import Plan

MAKE = Callable[..., Relay]
CONNECTIONS = 8
DOWN = Script(phases={"banner": "421 4.3.2 down for the day"})
BIG = letter(body="All work and no play makes a full queue.\r\n" * 500)


def full(one: Relay) -> list[str]:
    """Send until the relay says 452; gives the ids it took."""
    taken: list[str] = []
    with smtp(one.door) as client, pytest.raises(smtplib.SMTPResponseException) as refused:
        while len(taken) < 1000:
            taken.append(submit(client, [f"r{len(taken)}@example.com"], BIG))
    assert (refused.value.smtp_code, refused.value.smtp_error[:5]) == (452, b"4.3.1")
    return taken


@pytest.mark.slow
def test_F8_the_queue_fills_to_its_limit_and_recovers_without_a_storm(
    relay: MAKE, upstreams: Callable[..., Upstreams]
) -> None:
    """Slow: some probes have to fail, and each waits for its timer."""
    ups = upstreams([DOWN, DOWN])
    one = relay(
        providers=[
            provider(f"p{number}", up.port, priority=number + 1, limits={"connections": CONNECTIONS})
            for number, up in enumerate(ups)
        ],
        retry={"first": "1s", "max": "1s"},
        circuit={"failures": 3, "open": 0.2, "max_open": 0.5},
        spool={"url": "sqlite:///spool/spool.db", "max_size": "2MiB"},
    ).start()
    taken = full(one)
    assert 60 <= len(taken) <= 110
    until(lambda: all(up.counts.connections >= 6 for up in ups), 20, "both have been probed for a while")
    calls = [up.counts.connections for up in ups]
    probes = [len(one.events("provider being probed", provider=f"p{number}")) for number in range(2)]
    for called, probed in zip(calls, probes, strict=True):
        assert called <= probed + 4, "what is down is probed by its timer, not once for every message that waits"
    waiting = one.queue("--limit", "1000")
    assert sorted(message["id"] for message in waiting) == sorted(taken)
    assert all("p0: circuit open" in message["reason"] for message in waiting)

    before = ups[0].counts.connections
    ups[0].plan = Plan({})
    until(lambda: one.queue() == [], 30, "the queue is empty", every=0.2)
    later = [got for got in ups[0].received if got.taken]
    assert sorted(got.rcpt[0] for got in later) == sorted(b"RCPT TO:<r%d@example.com>" % n for n in range(len(taken)))
    start = before + 2  # one failed probe may have crossed the recovery, one succeeded
    for done, got in enumerate(later):
        assert got.connection <= start + 1 + done, "one more connection at most for each message that went through"
    assert ups[0].counts.connections <= start + CONNECTIONS
    assert [got.rcpt for got in ups[1].received] == []
    assert one.metric("relay_bounces_total") == 0
    send(one.door, ["again@example.com"], letter())
    until(lambda: len(ups[0].received) == len(taken) + 1, 10, "new mail is taken and goes out")
