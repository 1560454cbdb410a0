"""kill -9 amid events: each one's mails are there all or none, and the same event told again with its key is one.

`RELAY_EVENTS=20000 RELAY_EVENT_KILLS=40 pytest -s tests/integration/test_events_crash.py` is the long form.
"""

from __future__ import annotations

import http.client
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from http_door import Answer, Http, http_of
from ledger import Ledger
from relay_process import Relay, provider
from waiting import until

MAKE = Callable[..., Relay]
EVENTS = int(os.environ.get("RELAY_EVENTS", "900"))
KILLS = int(os.environ.get("RELAY_EVENT_KILLS", "4"))
TELLERS, CONNECTIONS = 12, 10

RULES = [
    {
        "name": "order",
        "trigger": {"type": "event", "event": "order.placed"},
        "actions": [
            {
                "service": "smtp.send_email",
                "data": {"to": "a-{{ number }}@example.com", "subject": "Order {{ number }}", "body": "{{ text }}"},
            },
            {
                "service": "smtp.send_email",
                "data": {"to": "b-{{ number }}@example.com", "subject": "To pack", "html": "<b>{{ text }}</b>"},
            },
        ],
    },
    {
        "name": "books",
        "trigger": {"type": "event", "event": "order.placed"},
        "actions": [
            {
                "service": "smtp.send_email",
                "data": {"to": "c-{{ number }}@example.com", "subject": "Sold", "body": "{{ number }}: {{ text }}"},
            }
        ],
    },
]


class Tellers:
    """Programs that tell events, each until it is answered: who gets no answer tells it again, with the same key."""

    def __init__(self, door: Http) -> None:
        self.answered: dict[int, list[str]] = {}
        self.again = 0
        self.changed: list[int] = []
        self._door = door
        self._numbers = iter(range(EVENTS))
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._tell_all) for _ in range(TELLERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    @property
    def busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _tell_all(self) -> None:
        while not self._over.is_set():
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                return
            self._tell(number)

    def _tell(self, number: int) -> None:
        order = {"event": "order.placed", "data": {"number": number, "text": f"<{number}> & so on"}}
        while not self._over.is_set():
            try:
                answer = self._door("POST", "/v1/events", order, Idempotency_Key=f"event {number}")
            except (OSError, http.client.HTTPException):
                self.again += 1
                time.sleep(0.05)  # nobody is there
                continue
            if self._done(number, answer):
                return

    def _done(self, number: int, answer: Answer) -> bool:
        if answer.status in (409, 429, 503):
            time.sleep(min(0.2, float(answer.headers["retry-after"])))
            return False
        outcome: dict[str, Any] = answer.must(202)
        assert (outcome["failed"], outcome["skipped"]) == ([], [])
        assert [fired["workflow"] for fired in outcome["fired"]] == ["order", "books"]
        self.answered[number] = outcome["messages"]
        return True


@pytest.mark.slow
@pytest.mark.timeout(90 + EVENTS // 10)
def test_G1_H7_no_mail_of_an_event_is_lost_or_made_twice_through_kill_9(
    relay: MAKE, ledger: Callable[[], Ledger]
) -> None:
    """Slow: the relay starts again after each kill, and thousands of mails go out."""
    upstream = ledger()
    limits = {"connections": CONNECTIONS}
    one = relay(providers=[provider("one", upstream.port, limits=limits)], workflows=RULES).start()
    tellers, dice = Tellers(http_of(one)), random.Random(6)
    tellers.start()
    began, down = time.monotonic(), 0.0
    try:
        for kill in range(1, KILLS + 1):
            wanted = EVENTS * kill // (KILLS + 1)
            until(lambda w=wanted: len(tellers.answered) >= w, 120 + EVENTS / 40, f"{wanted} answers")  # type: ignore[misc]
            time.sleep(dice.uniform(0, 0.05))  # a random moment is what is wanted
            one.kill()
            stopped = time.monotonic()
            one.start(write=False)
            down += time.monotonic() - stopped
        until(lambda: not tellers.busy, 60 + EVENTS / 40, "every event is answered")
    finally:
        tellers.end()
    told = time.monotonic() - began - down
    expected = {f"{letter}-{number}@example.com" for letter in "abc" for number in range(EVENTS)}
    until(lambda: arrived(upstream, expected), 60 + EVENTS / 30, "every mail arrived", every=0.2)
    until(lambda: one.queue("--state", "queued", "--state", "deferred", "--state", "sending") == [], 20, "all is sent")
    took = time.monotonic() - began - down
    print(f"{EVENTS} events of 3 mails, {KILLS} kills: {EVENTS / told:.0f}/s answered, {EVENTS / took:.0f}/s delivered")
    assert tellers.again > 0 or KILLS == 0, "some told theirs while nobody was there"
    check(tellers, upstream, expected)
    door = http_of(one)
    some = dice.sample(range(EVENTS), 20)
    for number in some:
        assert mails_of(door, tellers.answered[number]) == {f"{letter}-{number}@example.com" for letter in "abc"}


def arrived(upstream: Ledger, expected: set[str]) -> bool:
    return len(upstream.taken) >= len(expected) and {mail.recipients[0] for mail in list(upstream.taken)} >= expected


def check(tellers: Tellers, upstream: Ledger, expected: set[str]) -> None:
    """Nothing but what was answered, by its id; twice only what was on the wire when a kill came."""
    ids = {
        f"{letter}-{n}@example.com": id
        for n, made in tellers.answered.items()
        for letter, id in zip("abc", made, strict=True)
    }
    assert ids.keys() == expected
    assert len(set(ids.values())) == len(ids), "each mail has an id of its own"
    copies = Counter[str]()
    for mail in upstream.taken:
        (recipient,) = mail.recipients
        found = re.search(rb"^Message-ID: <([0-9a-z]+)@relay\.test>\r$", mail.data, re.M | re.I)
        assert found is not None
        assert found[1].decode() == ids[recipient], "the mail that was answered, and no other"
        number = recipient.partition("@")[0].partition("-")[2]
        text = f"&lt;{number}&gt; &amp; so on" if recipient.startswith("b") else f"<{number}> & so on"
        assert text.encode() in mail.data
        copies[recipient] += 1
    twice = [recipient for recipient, count in copies.items() if count > 1]
    assert len(twice) <= KILLS * 2 * CONNECTIONS, "at most what was on the wire: two for each connection"


def mails_of(door: Http, ids: list[str]) -> set[str]:
    return {door.get(f"/v1/messages/{id}")["recipients"][0]["address"] for id in ids}
