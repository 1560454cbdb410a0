"""The circuit and the suspension by themselves."""

from __future__ import annotations

import pytest

from relay.delivery.circuit import Circuit, CircuitPolicy, Suspension, host_scoped
from relay.model import Phase, Reply

GONE = Reply(code=0, text="connection refused")
NOW = 1000.0


def opened() -> Circuit:
    circuit = Circuit(CircuitPolicy())
    assert [circuit.failed(GONE, NOW) for _ in range(3)] == [False, False, True]
    return circuit


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    circuit = Circuit(CircuitPolicy(failures=2))
    circuit.failed(GONE, NOW)
    circuit.succeeded()
    circuit.failed(GONE, NOW)
    assert circuit.state == "closed"

    circuit.failed(GONE, NOW)
    assert (circuit.state, circuit.until, circuit.reply) == ("open", NOW + 5, GONE)


def test_what_was_in_flight_when_it_opened_changes_nothing() -> None:
    circuit = opened()

    assert not any(circuit.failed(GONE, NOW + 1) for _ in range(40))
    circuit.succeeded()
    assert (circuit.state, circuit.until) == ("open", NOW + 5)


def test_probes_that_fail_double_the_pause_up_to_the_maximum() -> None:
    circuit, pauses = opened(), []
    for _ in range(5):
        circuit.probing(NOW)
        assert circuit.state == "half_open"
        circuit.probe_failed(GONE, NOW)
        pauses.append(circuit.until - NOW)

    assert pauses == [10, 20, 30, 30, 30]


def test_a_host_that_only_greets_is_not_probed_faster_each_time() -> None:
    circuit = opened()
    circuit.close()
    for _ in range(3):
        circuit.failed(GONE, NOW)
    assert circuit.until == NOW + 10

    circuit.close()
    circuit.succeeded()  # mail went through
    for _ in range(3):
        circuit.failed(GONE, NOW)
    assert circuit.until == NOW + 5


def test_a_suspension_is_probed_after_five_minutes_doubling_to_an_hour() -> None:
    suspension, pauses = Suspension(), []
    assert suspension.suspend(Reply(code=535), NOW)
    assert not suspension.suspend(Reply(code=535), NOW + 1)  # in flight at the same time
    for _ in range(5):
        pauses.append(suspension.until - NOW)
        suspension.probing(NOW)
        suspension.probe_failed(Reply(code=535), NOW)

    assert pauses == [300, 600, 1200, 2400, 3600]
    suspension.hurry(NOW)
    assert suspension.until == NOW


@pytest.mark.parametrize(
    ("code", "phase", "counted"),
    [
        (0, Phase.CONNECT, True),
        (0, Phase.TLS, True),
        (0, Phase.BANNER, True),
        (454, Phase.AUTH, True),
        (535, Phase.AUTH, False),
        (421, Phase.RCPT, True),
        (421, Phase.DOT, True),
        (451, Phase.MAIL, False),
        (0, Phase.MAIL, False),
        (550, Phase.RCPT, False),
        (0, Phase.DOT, False),
    ],
)
def test_F1_only_faults_of_the_host_count(make, code: int, phase: Phase, counted: bool) -> None:
    assert host_scoped(make.said(code, phase)) is counted
