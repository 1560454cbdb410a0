"""How long somebody who gave wrong passwords has to wait."""

from __future__ import annotations

from relay.store.throttle import FORGIVEN, FREE, KNOWN, LONGEST, Throttle


def fail(throttle: Throttle, client: str, name: str, now: float) -> float:
    """Try, wrongly: the seconds there was to wait, when nothing was tried."""
    keys = throttle.keys(client, name)
    wait = throttle.enter(keys, now)
    if not wait:
        throttle.leave(keys, False, now)
    return wait


def test_the_first_failures_are_free_then_waits_double_up_to_a_minute() -> None:
    throttle, now, waits = Throttle(), 0.0, []
    for _ in range(FREE + 10):
        wait = fail(throttle, "10.0.0.1", "crm", now)
        waits.append(wait)
        if wait:
            now += wait
            assert fail(throttle, "10.0.0.1", "crm", now) == 0
    assert waits[: FREE + 1] == [0.0] * (FREE + 1)
    assert waits[FREE + 1 :] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, LONGEST, LONGEST]


def test_a_client_is_held_whatever_the_name_and_a_name_wherever_from() -> None:
    throttle = Throttle()
    for number in range(FREE + 1):
        assert not fail(throttle, "10.0.0.1", f"user{number}", 0.0)
    assert fail(throttle, "10.0.0.1", "another", 0.5) == 0.5
    assert not fail(throttle, "10.0.0.2", "another", 0.5)
    for number in range(FREE + 1):
        assert not fail(throttle, f"10.0.1.{number}", "crm", 0.0)
    assert fail(throttle, "10.0.2.1", "crm", 0.0) == 1.0


def test_an_ipv6_client_is_its_network_and_a_mapped_one_its_ipv4_address() -> None:
    throttle = Throttle()
    for number in range(FREE + 1):
        assert not fail(throttle, f"2001:db8:0:7:{number:x}::1", f"user{number}", 0.0)
    assert fail(throttle, "2001:db8:0:7::ffff", "another", 0.0) == 1.0
    assert not fail(throttle, "2001:db8:0:8::ffff", "another", 0.0)
    for number in range(FREE + 1):
        assert not fail(throttle, "::ffff:10.0.0.9", f"one{number}", 0.0)
    assert fail(throttle, "10.0.0.9", "another", 0.0) == 1.0
    throttle.succeeded("2001:db8:0:7::1", "good")
    assert not fail(throttle, "2001:db8:0:7::2", "good", 0.0)
    assert not fail(throttle, "unix", "another", 0.0)


def test_who_logged_in_from_there_before_answers_for_itself_only() -> None:
    throttle = Throttle()
    throttle.succeeded("10.0.0.1", "good")
    for _ in range(FREE + 1):
        fail(throttle, "10.0.0.1", "bad", 0.0)
        fail(throttle, "10.9.9.9", "good", 0.0)
    assert fail(throttle, "10.0.0.1", "bad", 0.0)
    assert fail(throttle, "10.9.9.9", "good", 0.0)
    for _ in range(FREE + 1):
        assert not fail(throttle, "10.0.0.1", "good", 0.0)
    assert fail(throttle, "10.0.0.1", "good", 0.0)


def test_a_right_password_does_not_wipe_out_what_the_client_did() -> None:
    throttle = Throttle()
    for number in range(FREE + 1):
        fail(throttle, "10.0.0.1", f"user{number}", 0.0)
        throttle.succeeded("10.0.0.1", "mine")
    assert fail(throttle, "10.0.0.1", "victim", 0.0)


def test_who_has_to_wait_tries_one_by_one() -> None:
    throttle = Throttle()
    for _ in range(FREE + 1):
        fail(throttle, "10.0.0.1", "crm", 0.0)
    keys = throttle.keys("10.0.0.1", "crm")
    assert throttle.enter(keys, 1.0) == 0
    assert throttle.enter(keys, 1.0) == 1.0
    throttle.leave(keys, None, 1.0)
    assert throttle.enter(keys, 1.0) == 0
    throttle.leave(keys, True, 1.0)
    assert throttle.enter(keys, 1.0) == 0


def test_a_quiet_quarter_of_an_hour_forgives() -> None:
    throttle = Throttle()
    for _ in range(FREE + 1):
        fail(throttle, "10.0.0.1", "crm", 0.0)
    for _ in range(FREE + 1):
        assert not fail(throttle, "10.0.0.1", "crm", FORGIVEN)
    assert fail(throttle, "10.0.0.1", "crm", FORGIVEN)


def test_H6_memory_is_bounded_and_the_client_who_floods_it_is_not_forgotten() -> None:
    throttle = Throttle()
    now, tried = 0.0, 0
    for number in range(3 * KNOWN):
        now += LONGEST
        tried += not fail(throttle, "10.0.0.1", f"user{number}" + "x" * 10_000, now)
        throttle.succeeded(f"10.{number}", "y" * 10_000)
    assert tried > KNOWN
    assert len(throttle._records) <= KNOWN
    assert len(throttle._trusted) <= KNOWN
    assert max(len(part) for key in (*throttle._records, *throttle._trusted) for part in key) < 200
    assert fail(throttle, "10.0.0.1", "one more", now + 1)
