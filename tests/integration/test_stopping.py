"""SIGTERM in each phase: what is on the wire is finished, what is accepted is kept, nothing goes twice (G8)."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Callable

from clients import letter, send, smtp, submit
from ledger import Ledger
from relay_process import Relay, provider
from waiting import until

MAKE = Callable[..., Relay]


def test_G8_idle_relay_ends_at_once(relay: MAKE) -> None:
    one = relay().start()
    began = time.monotonic()
    assert one.terminate() == 0
    assert time.monotonic() - began < 3
    assert not one.control.exists()


def test_G8_ctrl_c_ends_it_too(relay: MAKE) -> None:
    one = relay().start()
    one.signal(signal.SIGINT)
    assert one.wait(10) == 0


def test_G8_message_on_the_wire_is_finished(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    upstream.script.dot_delay = 2.0
    one = relay(providers=[provider("one", upstream.port)]).start()
    message = send(one.door, ["you@example.com"], letter())
    until(lambda: upstream.dots == 1, 10, "the dot is on its way")
    assert one.terminate() == 0
    assert len(upstream.taken) == 1
    one.start()
    assert one.states(message) == {"you@example.com": "accepted"}
    assert upstream.dots == 1, "it did not go twice"


def test_G8_waiting_mail_is_kept_and_idle_clients_are_told(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    upstream.script.dot_delay = 0.3
    one = relay(providers=[provider("one", upstream.port, limits={"connections": 1})]).start()
    with contextlib.closing(smtp(one.door)) as client:
        for number in range(40):
            submit(client, [f"r{number}@example.com"], letter())
        assert one.terminate() == 0
        assert client.getreply()[0] == 421
    taken = len(upstream.taken)
    assert taken < 40
    upstream.script.dot_delay = 0
    one.start()
    upstream.wait_for(40)
    until(lambda: one.queue() == [], 5, "the queue is empty")
    assert len(upstream.taken) == 40, "each arrived once"


def test_G8_what_is_only_in_hand_stays_untried(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    """A connection carries two; the third and its place in the day's quota are there again at the next start."""
    upstream = ledger()
    upstream.script.dot_delay = 1.0
    limits = {"connections": 1, "per_day": 6}
    one = relay(providers=[provider("one", upstream.port, limits=limits)]).start()
    with smtp(one.door) as client:
        for number in range(6):
            submit(client, [f"r{number}@example.com"], letter())
    until(lambda: upstream.dots == 1, 10, "the first dot is on its way")
    assert one.terminate() == 0
    assert upstream.dots == len(upstream.taken) == 2
    waiting = one.queue()
    assert [(message["state"], message["recipients"][0]["tries"]) for message in waiting] == [("queued", 0)] * 4
    upstream.script.dot_delay = 0
    one.start()
    upstream.wait_for(6)
    assert upstream.dots == 6


def test_G8_upstream_that_never_answers_does_not_hold_it_up(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    upstream.script.dot_delay = 60
    one = relay(providers=[provider("one", upstream.port)], shutdown_timeout="2s").start()
    send(one.door, ["you@example.com"], letter())
    until(lambda: upstream.dots == 1, 10, "the dot is on its way")
    began = time.monotonic()
    assert one.terminate() == 0
    assert 1 < time.monotonic() - began < 6
    upstream.stop()
    upstream.script.dot_delay = 0
    upstream.start()
    one.start()
    upstream.wait_for(1)


def test_G8_client_in_the_middle_of_data(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    """Either it may finish and gets a 250 that holds, or it is sent away with 421 and nothing of it is sent."""
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)], shutdown_timeout="3s").start()
    with socket.create_connection(("127.0.0.1", one.smtp_port)) as client, client.makefile("rb") as replies:
        client.settimeout(10)
        client.sendall(b"EHLO x\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<you@example.com>\r\nDATA\r\nSubject: x\r\n")
        while not replies.readline().startswith(b"354"):
            pass
        one.signal(signal.SIGTERM)
        client.sendall(b"\r\nend\r\n.\r\n")
        reply = replies.readline()
    assert one.wait(15) == 0
    assert reply[:3] in (b"250", b"421")
    one.start()
    if reply.startswith(b"250"):
        upstream.wait_for(1)
    assert len(upstream.taken) == reply.startswith(b"250")
    assert one.queue() == []


def test_G8_a_client_that_stalls_does_not_use_up_the_time_of_what_is_sent(
    relay: MAKE, ledger: Callable[[], Ledger]
) -> None:
    upstream = ledger()
    upstream.script.dot_delay = 0.7
    one = relay(providers=[provider("one", upstream.port, limits={"connections": 1})], shutdown_timeout="3s").start()
    with socket.create_connection(("127.0.0.1", one.smtp_port)) as stalled:
        stalled.sendall(b"EHLO x\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nhalf a li")
        for number in range(12):
            send(one.door, [f"r{number}@example.com"], letter())
        until(lambda: upstream.dots >= 1, 10, "the first dot is on its way")
        assert one.terminate() == 0
    assert upstream.dots <= 2, "nothing is begun while it stops but what rode behind the first dot already"
    upstream.script.dot_delay = 0
    one.start()
    upstream.wait_for(12)
    until(lambda: one.queue() == [], 5, "the queue is empty")
    assert upstream.dots == 12, "each went once: none was cut"
