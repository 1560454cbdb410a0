"""kill -9: what was acknowledged before arrives after, byte for byte."""

from __future__ import annotations

import hashlib
import random
import smtplib
import threading
from collections import Counter
from collections.abc import Callable

import pytest
from clients import Door, letter, smtp, submit
from ledger import Ledger
from relay_process import Relay, provider
from waiting import until

MAKE = Callable[..., Relay]
SENDERS = 10
LARGE = 300_000  # beyond 256 KiB a body is a file


class Load:
    """`SENDERS` threads that send until the relay dies; `acked` has number and digest of what got its 250."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.acked: dict[str, str] = {}
        self.unknown: set[str] = set()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _send(self, sender: int) -> None:
        dice = random.Random(sender)
        number = 0
        try:
            with smtp(self.door) as client:
                while not self._stop.is_set():
                    name, message = make(f"{sender}-{number}", dice)
                    self.unknown.add(name)
                    submit(client, [f"{name}@example.com"], message)
                    self.acked[name] = digest(message)
                    self.unknown.discard(name)
                    number += 1
        except (OSError, smtplib.SMTPException):
            return


def make(name: str, dice: random.Random) -> tuple[str, bytes]:
    """A message of its own bytes: dots at line starts, every byte but CR and LF, and now and then a large one."""
    size = LARGE if dice.random() < 0.01 else dice.randrange(100, 4000)
    noise = dice.randbytes(size).translate(bytes.maketrans(b"\r\n\0", b"..."))
    lines = b"\r\n".join(noise[start : start + 70] for start in range(0, size, 70))
    return name, letter(subject=name, Message_ID=f"<{name}@x>", Date="today", body="") + lines + b"\r\n"


def digest(message: bytes) -> str:
    return hashlib.sha256(message).hexdigest()


def without_received(data: bytes) -> bytes:
    """What is left when our one Received header is taken off."""
    assert data.startswith(b"Received: ")
    return data[data.index(b"From: App") :]


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_G1_kill_9_with_2000_messages_under_way(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    """Slow: 2,000 messages are made, sent, and after the crash sent on."""
    upstream = ledger()
    upstream.script.dot_delay = 1.0
    one = relay(providers=[provider("one", upstream.port, limits={"connections": 20})]).start()
    load = Load(one.door)
    try:
        until(lambda: len(load.acked) - len(upstream.taken) >= 2000, 60, "2,000 messages are under way")
        one.kill()
    finally:
        load.end()
    under_way = len(load.acked) - len({mail.recipients[0] for mail in upstream.taken})
    assert under_way >= 1900
    upstream.script.dot_delay = 0
    one.start()

    def missing() -> set[str]:
        return load.acked.keys() - {mail.recipients[0].split("@")[0] for mail in list(upstream.taken)}

    until(lambda: not missing(), 20, "every acknowledged message arrived")
    assert_ledger_is_clean(load, upstream)
    until(lambda: one.queue() == [], 5, "the queue is empty")


def assert_ledger_is_clean(load: Load, upstream: Ledger) -> None:
    """Nothing lost, forged or changed; twice only what was between its dot and its recorded 250 when the kill came."""
    times = Counter(mail.recipients[0].split("@")[0] for mail in upstream.taken)
    forged = times.keys() - load.acked.keys() - load.unknown
    assert not forged
    twice = [name for name, count in times.items() if count > 1]
    assert len(twice) <= 2 * 20, "at most what was on the wire: two for each of 20 connections"
    for mail in upstream.taken:
        assert len(mail.recipients) == 1
        name = mail.recipients[0].split("@")[0]
        if name in load.acked:
            assert digest(without_received(mail.data)) == load.acked[name], name


def test_G1_kill_9_again_and_again_at_once_after_start(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    upstream.stop()
    one = relay(providers=[provider("one", upstream.port)], circuit={"failures": 1, "open": "1s", "max_open": "1s"})
    sent = []
    for crash in range(3):
        one.start()
        with smtp(one.door) as client:
            sent += [submit(client, [f"r{crash}-{number}@example.com"], letter()) for number in range(20)]
        one.kill()
    upstream.start()
    one.start()
    upstream.wait_for(60)
    assert len(upstream.taken) == len(sent) == 60, "nobody was there before: nothing can have gone twice"
    assert len(set(sent)) == 60, "no id is given twice, over restarts too"
