"""`relay queue …` on a running relay: what a person does at three in the morning, and its --json for scripts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from clients import letter, send
from ledger import Ledger
from relay_process import Relay, provider
from waiting import never, until

MAKE = Callable[..., Relay]
QUICK = {"failures": 1, "open": "1s", "max_open": "1s"}


@pytest.fixture
def stuck(relay: MAKE, ledger: Callable[[], Ledger]) -> tuple[Relay, Ledger]:
    """A relay with three messages it cannot send, and its provider, which is down."""
    upstream = ledger()
    upstream.stop()
    one = relay(providers=[provider("one", upstream.port)], circuit=QUICK).start()
    for number in range(3):
        send(one.door, [f"r{number}@example.com"], letter(), sender=f"s{number}@client.test")
    return one, upstream


def test_capture_then_a_provider_then_release(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    one = relay().start()
    message = send(one.door, ["you@example.com"], letter())
    assert one.queue()[0]["state"] == "captured"
    assert one.metric("relay_queue_messages", state="captured") == 1
    one.config["providers"] = [provider("one", upstream.port)]
    one.reload()
    assert '"mode":"relay"' in one.get("/readyz")[1]
    never(lambda: upstream.taken, 1.5, "captured mail leaves by itself")
    assert one.ask("queue", "release", "--id", message)["changed"] == [message]
    upstream.wait_for(1)
    one.wait_for_states(message, you="accepted")


def test_list_filters_and_stats(stuck: tuple[Relay, Ledger]) -> None:
    one, _ = stuck
    assert len(one.queue()) == 3
    assert [m["from"] for m in one.queue("--from", "s1@*")] == ["s1@client.test"]
    assert [m["recipients"][0]["address"] for m in one.queue("--to", "R2@example.com")] == ["r2@example.com"]
    assert one.queue("--state", "held") == []
    assert one.queue("--older", "1h") == []
    stats = one.ask("queue", "stats")
    assert sum(stats["states"].get(state, 0) for state in ("queued", "sending", "deferred")) == 3
    assert stats["healthy"] is True
    plain = one.cli("queue", "stats")
    assert plain.returncode == 0
    assert "\x1b" not in plain.stdout


def test_hold_and_release(stuck: tuple[Relay, Ledger]) -> None:
    one, upstream = stuck
    held = one.queue("--from", "s0@*")[0]["id"]
    assert one.ask("queue", "hold", "--id", held, "--dry-run")["changed"] == [held]
    assert one.queue("--state", "held") == []
    assert one.ask("queue", "hold", "--id", held)["changed"] == [held]
    upstream.start()
    upstream.wait_for(2)
    never(lambda: len(upstream.taken) > 2, 1.5, "held mail leaves")
    assert [m["id"] for m in one.queue()] == [held]
    assert one.cli("queue", "release", "--id", held).returncode == 0
    upstream.wait_for(3)
    one.wait_for_states(held, r0="accepted")


def test_cancel(stuck: tuple[Relay, Ledger]) -> None:
    one, upstream = stuck
    gone = one.queue("--from", "s1@*")[0]["id"]
    assert one.ask("queue", "cancel", "--id", gone)["changed"] == [gone]
    assert one.states(gone) == {"r1@example.com": "cancelled"}
    assert gone not in [m["id"] for m in one.queue()]
    upstream.start()
    upstream.wait_for(2)
    assert upstream.to("r1@example.com") == []


def test_reroute(stuck: tuple[Relay, Ledger], ledger: Callable[[], Ledger]) -> None:
    one, upstream = stuck
    other = ledger()
    one.config["providers"].append(provider("other", other.port, priority=9))
    one.config["routes"] = [{"match": {"recipient": "*"}, "providers": ["one"]}]
    one.reload()
    moved = one.queue("--from", "s2@*")[0]["id"]
    assert one.cli("queue", "reroute", "--id", moved, "--provider", "nobody").returncode != 0
    assert one.ask("queue", "reroute", "--id", moved, "--provider", "other")["changed"] == [moved]
    assert other.wait_for(1)[0].recipients == ("r2@example.com",)
    one.wait_for_states(moved, r2="accepted")
    assert upstream.taken == []


def test_repaired_route_takes_effect_on_mail_already_queued(
    stuck: tuple[Relay, Ledger], ledger: Callable[[], Ledger]
) -> None:
    one, _ = stuck
    other = ledger()
    one.config["providers"].append(provider("other", other.port, priority=2))
    one.reload()
    other.wait_for(3)
    until(lambda: one.queue() == [], 5, "the queue is empty")


def test_retry_now(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    upstream.script.recipients["you@example.com"] = "450 4.2.0 Greylisted"
    one = relay(providers=[provider("one", upstream.port)], retry={"first": "1h", "max": "1h"}).start()
    message = send(one.door, ["you@example.com"], letter())
    one.wait_for_states(message, you="deferred")
    assert "450 4.2.0 Greylisted" in one.queue()[0]["reason"]
    upstream.script.recipients.clear()
    assert one.ask("queue", "retry", "--id", message)["changed"] == [message]
    upstream.wait_for(1)
    one.wait_for_states(message, you="accepted")


def test_bulk_by_filter(stuck: tuple[Relay, Ledger]) -> None:
    one, upstream = stuck
    assert len(one.ask("queue", "hold", "--to", "*@example.com")["changed"]) == 3
    assert {m["state"] for m in one.queue()} == {"held"}
    assert len(one.ask("queue", "release", "--state", "held")["changed"]) == 3
    upstream.start()
    upstream.wait_for(3)


def test_unknown_message_and_wrong_usage(stuck: tuple[Relay, Ledger]) -> None:
    one, _ = stuck
    unknown = one.cli("queue", "show", "0000000000000")
    assert unknown.returncode == 1
    assert "Traceback" not in unknown.stderr
    assert one.cli("queue", "list", "--state", "lost").returncode == 2
    assert one.cli("queue", "frobnicate").returncode == 2


def test_no_relay_running_is_one_sentence(relay: MAKE) -> None:
    one = relay()
    one.write()
    done = one.cli("explain", "--from", "a@client.test", "--to", "b@example.com")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert str(one.control) in done.stderr


def test_explain_names_route_providers_and_reasons(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    one = relay(
        providers=[
            provider("off", upstream.port, active=False),
            provider("on", upstream.port, priority=2, limits={"per_day": 10}),
        ],
        routes=[
            {
                "match": {"sender": "*@billing.example.com"},
                "providers": ["on"],
                "rewrite": {"header_from": "Billing <billing@example.com>"},
            }
        ],
    ).start()
    billing = one.cli("explain", "--from", "x@billing.example.com", "--to", "b@example.com")
    assert billing.returncode == 0
    assert "Billing <billing@example.com>" in billing.stdout
    assert "on" in billing.stdout
    other = one.cli("explain", "--from", "a@client.test", "--to", "b@example.com", "--size", "1000")
    assert other.returncode == 0
    assert "off" in other.stdout
    assert one.ask("explain", "--from", "a@client.test", "--to", "b@example.com")


def test_queue_of_a_relay_that_does_not_run(stuck: tuple[Relay, Ledger]) -> None:
    """Then the commands take the spool's lock themselves, and give it back."""
    one, upstream = stuck
    one.kill()
    messages = [message["id"] for message in one.queue()]
    assert len(messages) == 3
    assert one.ask("queue", "cancel", "--id", messages[0])["changed"] == [messages[0]]
    assert one.states(messages[0]) == {"r0@example.com": "cancelled"}
    upstream.start()
    one.start()
    upstream.wait_for(2)
    assert upstream.to("r0@example.com") == []
