"""Large messages, many recipients, many at once: all pass, and memory does not grow with them."""

from __future__ import annotations

import hashlib
import smtplib
import threading
from collections.abc import Callable

import pytest
from clients import letter, send, smtp, submit
from ledger import Ledger
from relay_process import Relay, provider
from sink import SmtpSink
from waiting import until

MAKE = Callable[..., Relay]
MIB = 1024 * 1024
LINE = "y" * 74 + "\r\n"


def large(size: int) -> bytes:
    """A message of exactly so many bytes."""
    head = letter(Message_ID="<large@x>", Date="today", body="")
    body = (LINE * (size // len(LINE) + 1)).encode()[: size - len(head) - 2]
    return head + body[:-2] + b"zz\r\n"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_L18_35_mib_messages_pass_and_memory_stays_bounded(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    """Slow: 140 MiB go through."""
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)]).start()
    send(one.door, ["warm@example.com"], letter())
    upstream.wait_for(1)
    before = one.memory()
    message = large(35 * MIB - 100)
    threads = [
        threading.Thread(target=send, args=(one.door, [f"r{number}@example.com"], message)) for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = upstream.wait_for(5, seconds=60)[1:]
    digest = hashlib.sha256(message).digest()
    for mail in taken:
        assert hashlib.sha256(mail.data[mail.data.index(b"From: App") :]).digest() == digest
    assert one.peak_memory() - before < 70 * MIB, "less than two of four messages: they are not held in memory"
    until(lambda: one.queue() == [], 5, "the queue is empty")
    big = {path.name for path in (one.folder / "spool").rglob("*") if path.stat().st_size > 30 * MIB}
    assert big <= {"spool.db.reserve"}, "bodies are removed once delivered"


def test_D6_message_size_limit_to_the_byte(relay: MAKE, sink: Callable[..., SmtpSink]) -> None:
    upstream = sink()
    one = relay(providers=[provider("one", upstream.port)])
    one.config["listeners"][0]["max_message_size"] = "100KiB"
    one.start()
    for size in (100 * 1024 - 1, 100 * 1024):
        send(one.door, [f"r{size}@example.com"], large(size))
    with smtp(one.door) as client, pytest.raises(smtplib.SMTPResponseException) as refused:
        submit(client, ["over@example.com"], large(100 * 1024 + 1))
    assert refused.value.smtp_code == 552
    assert b"5.3.4" in refused.value.smtp_error
    assert len(upstream.wait_for(2)) == 2


def test_1000_recipients_in_one_message(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)]).start()
    to = [f"r{number}@example.com" for number in range(1000)]
    message = send(one.door, to, letter())
    until(lambda: sum(len(mail.recipients) for mail in upstream.taken) == 1000, 20, "all recipients")
    assert sorted(address for mail in upstream.taken for address in mail.recipients) == sorted(to)
    until(lambda: set(one.states(message).values()) == {"accepted"}, 10, "all are accepted")
    with smtp(one.door) as client, pytest.raises(smtplib.SMTPResponseException) as refused:
        submit(client, [*to, "one-too-many@example.com"], letter())
    assert refused.value.smtp_code == 452
    assert b"4.5.3" in refused.value.smtp_error


def test_duplicate_recipients_get_one_copy(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)]).start()
    send(one.door, ["you@example.com", "you@example.com"], letter())
    upstream.wait_for(1)
    until(lambda: one.queue() == [], 5, "the queue is empty")
    assert [mail.recipients for mail in upstream.taken] == [("you@example.com",)]
