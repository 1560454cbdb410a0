"""The metrics: names of the contract, promtool, and series that do not grow."""

from __future__ import annotations

import re
import subprocess

from relay import events
from relay.model import DeliveryOutcome, Fault, MessageId, Phase, Recipient, Reply, Source, Verdict
from relay.observe.metrics import Metrics, ProviderSnapshot, Snapshot
from tests.support import need

ID = MessageId("0abcdefgh1234")
NOW = Snapshot(
    states={"queued": 3, "captured": 1, "accepted": 7},
    oldest=12.5,
    free_bytes=1024,
    providers=(
        ProviderSnapshot(name="primary", connections=2, remaining={"day": 1999}),
        ProviderSnapshot(name="backup", healthy=False, circuit="open"),
    ),
)
# contract.md, "Metrics": name to labels.
CONTRACT = {
    "relay_build_info": {"version"},
    "relay_smtp_connections": {"listener"},
    "relay_smtp_commands_rejected_total": {"listener", "reason"},
    "relay_messages_accepted_total": {"source"},
    "relay_message_size_bytes_bucket": {"le"},
    "relay_accept_duration_seconds_bucket": {"le"},
    "relay_queue_messages": {"state"},
    "relay_queue_oldest_message_age_seconds": set(),
    "relay_delivery_attempts_total": {"provider", "outcome"},
    "relay_delivery_duration_seconds_bucket": {"provider", "le"},
    "relay_delivery_delay_seconds_bucket": {"le"},
    "relay_failovers_total": {"from", "to"},
    "relay_bounces_total": set(),
    "relay_events_total": {"kind"},
    "relay_event_mails_failed_total": {"kind"},
    "relay_provider_healthy": {"provider"},
    "relay_provider_circuit_state": {"provider"},
    "relay_provider_quota_remaining": {"provider", "window"},
    "relay_provider_connections": {"provider"},
    "relay_spool_commit_duration_seconds_bucket": {"le"},
    "relay_spool_free_bytes": set(),
    "relay_config_last_reload_successful": set(),
}


def metrics() -> Metrics:
    return Metrics("0.1.0", listeners=("internal",), providers=("primary",))


def accepted(sender: str = "alice@a.example", size: int = 4096) -> events.MessageAccepted:
    source = Source(kind="smtp", listener="internal", client="127.0.0.1")
    return events.MessageAccepted(
        message=ID, source=source, sender=sender, recipients=("bob@b.example",), size=size, seconds=0.004
    )


def attempt(*results: tuple[Verdict, Fault], provider: str = "primary") -> events.AttemptEnded:
    outcomes = tuple(
        DeliveryOutcome(
            recipient=Recipient(address="bob@b.example"),
            verdict=verdict,
            fault=fault,
            provider=provider,
            reply=Reply(code=250),
            phase=Phase.DOT,
        )
        for verdict, fault in results
    )
    return events.AttemptEnded(message=ID, sender="", provider=provider, outcomes=outcomes, seconds=0.2, delay=2.0)


def values(text: bytes) -> dict[str, float]:
    rows = (line.rpartition(" ") for line in text.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}


def everything(observe: Metrics) -> None:
    observe(events.ConnectionOpened(listener="internal"))
    observe(events.CommandRejected(listener="internal", client="192.0.2.1", reason="size", reply=Reply(code=552)))
    observe(accepted())
    observe(attempt((Verdict.ACCEPTED, Fault.NONE)))
    observe(events.FailedOver(message=ID, origin="primary", target="backup", reason="circuit"))
    observe(events.NoticeQueued(message=ID, notice=ID, kind="bounce"))
    observe(events.NoticeQueued(message=ID, notice=ID, kind="delay"))
    observe(events.Committed(operations=1, seconds=0.003))


def test_names_and_labels_are_those_of_the_contract():
    observe = metrics()
    everything(observe)
    found: dict[str, set[str]] = {}
    for line in observe.render(NOW).decode().splitlines():
        parts = re.match(r"(relay_\w+)(?:\{(.*)\})? ", line)
        if parts and not line.startswith("#"):
            found.setdefault(parts[1], set()).update(re.findall(r'(\w+)="', parts[2] or ""))
    ours = {name: labels for name, labels in found.items() if not name.endswith(("_sum", "_count"))}
    assert ours == CONTRACT


def test_promtool_finds_nothing():
    observe = metrics()
    everything(observe)
    text = observe.render(NOW)
    done = subprocess.run(
        [need("promtool", "prometheus"), "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert b"process_resident_memory_bytes" in text


def test_counters_follow_the_events():
    observe = metrics()
    everything(observe)
    got = values(observe.render(NOW))
    assert got['relay_smtp_connections{listener="internal"}'] == 1
    assert got['relay_smtp_commands_rejected_total{listener="internal",reason="size"}'] == 1
    assert got['relay_messages_accepted_total{source="smtp"}'] == 1
    assert got['relay_failovers_total{from="primary",to="backup"}'] == 1
    assert got["relay_bounces_total"] == 1
    assert got["relay_delivery_delay_seconds_sum"] == 2.0
    assert got['relay_build_info{version="0.1.0"}'] == 1


def test_connections_go_down_again():
    observe = metrics()
    observe(events.ConnectionOpened(listener="internal"))
    observe(events.ConnectionClosed(listener="internal"))
    assert values(observe.render(NOW))['relay_smtp_connections{listener="internal"}'] == 0


def test_outcomes_are_counted_per_recipient_and_uncertain_is_one_of_its_own():
    observe = metrics()
    observe(
        attempt(
            (Verdict.ACCEPTED, Fault.NONE),
            (Verdict.DEFERRED, Fault.RECIPIENT),
            (Verdict.REJECTED, Fault.RECIPIENT),
            (Verdict.DEFERRED, Fault.UNCERTAIN),
        )
    )
    got = values(observe.render(NOW))
    for outcome in ("accepted", "deferred", "rejected", "uncertain"):
        assert got[f'relay_delivery_attempts_total{{outcome="{outcome}",provider="primary"}}'] == 1
    assert got['relay_delivery_duration_seconds_count{provider="primary"}'] == 1


def test_a_deferral_is_no_hand_over():
    observe = metrics()
    observe(attempt((Verdict.DEFERRED, Fault.PROVIDER)))
    assert values(observe.render(NOW))["relay_delivery_delay_seconds_count"] == 0


def test_buckets_are_cumulative_and_their_bound_is_inside():
    observe = metrics()
    for size in (1, 1024, 1025, 10**9):
        observe(accepted(size=size))
    got = values(observe.render(NOW))
    assert got['relay_message_size_bytes_bucket{le="1024.0"}'] == 2
    assert got['relay_message_size_bytes_bucket{le="4096.0"}'] == 3
    assert got['relay_message_size_bytes_bucket{le="+Inf"}'] == 4
    assert got["relay_message_size_bytes_count"] == 4


def test_known_providers_start_at_nought_and_new_ones_at_their_first_scrape():
    got = values(metrics().render(NOW))
    assert got['relay_delivery_attempts_total{outcome="rejected",provider="primary"}'] == 0
    assert got['relay_delivery_attempts_total{outcome="accepted",provider="backup"}'] == 0


def test_gauges_are_those_of_the_snapshot():
    got = values(metrics().render(NOW))
    assert got['relay_queue_messages{state="queued"}'] == 3
    assert got['relay_queue_messages{state="held"}'] == 0
    assert 'relay_queue_messages{state="accepted"}' not in got
    assert got["relay_queue_oldest_message_age_seconds"] == 12.5
    assert got["relay_spool_free_bytes"] == 1024
    assert got['relay_provider_healthy{provider="backup"}'] == 0
    assert got['relay_provider_circuit_state{provider="backup"}'] == 2
    assert got['relay_provider_quota_remaining{provider="primary",window="day"}'] == 1999
    assert got['relay_provider_connections{provider="primary"}'] == 2


def test_providers_that_went_leave_the_gauges():
    observe = metrics()
    observe.render(NOW)
    assert 'relay_provider_healthy{provider="backup"}' not in values(observe.render(Snapshot(states={})))


def test_a_refused_reload_shows_until_one_is_accepted():
    observe = metrics()
    observe(events.ConfigurationReloaded(errors=("relay.yaml:3:1: wrong",)))
    assert values(observe.render(NOW))["relay_config_last_reload_successful"] == 0
    observe(events.ConfigurationReloaded())
    assert values(observe.render(NOW))["relay_config_last_reload_successful"] == 1


def test_H10_hostile_senders_add_no_series_and_no_address_shows():
    observe = metrics()
    observe(accepted())
    before = values(observe.render(NOW)).keys()
    for number in range(2000):
        observe(accepted(sender=f"canary{number}@evil.example"))
    after = observe.render(NOW)
    assert values(after).keys() == before
    assert b"canary" not in after


def test_events_and_the_mails_they_could_not_make_are_counted():
    metrics = Metrics("1")
    failed = (("welcome actions.0.data.to", "user.email is missing"), ("welcome if", "no"))
    metrics(events.EventTold(id="0cn", kind="event", name="user.created", user="", failed=failed))
    metrics(events.EventTold(id="0cp", kind="run", name="build", user=""))
    text = metrics.render(Snapshot(states={})).decode()
    for line in (
        'relay_events_total{kind="event"} 1.0',
        'relay_events_total{kind="workflow"} 0.0',
        'relay_events_total{kind="run"} 1.0',
        'relay_event_mails_failed_total{kind="event"} 2.0',
        'relay_event_mails_failed_total{kind="run"} 0.0',
    ):
        assert line in text
