"""An Idempotency-Key makes one message of a request that is sent again, whatever happened to its answer."""

from __future__ import annotations

import http.client
import itertools
import random
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
QUICK = {"failures": 1, "open": "1s", "max_open": "1s"}
ROUNDS, SENDERS = 12, 6


def order(name: str) -> dict[str, Any]:
    return {"from": "app@client.test", "to": [f"{name}@example.com"], "subject": name, "text": "Once.\n"}


def post(door: Http, name: str, key: str = "") -> Answer:
    return door("POST", "/v1/messages", order(name), Idempotency_Key=key or f"key of {name}")


class Callers:
    """Threads that post messages of their own until the relay is gone. `answered`: name to id; `tried`: all names."""

    def __init__(self, door: Http, round: int) -> None:
        self.answered: dict[str, str] = {}
        self.tried: list[str] = []
        self._door = door
        self._threads = [threading.Thread(target=self._post, args=(f"{round}-{n}",)) for n in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _post(self, caller: str) -> None:
        for number in itertools.count():
            name = f"{caller}-{number}"
            self.tried.append(name)
            try:
                self.answered[name] = post(self._door, name).must(202)["id"]
            except (OSError, http.client.HTTPException):
                return


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_H7_kill_9_between_request_and_answer_then_again_is_one_message(
    relay: MAKE, ledger: Callable[[], Ledger]
) -> None:
    """Slow: the relay starts again after each of the kills. Nothing leaves meanwhile, so no attempt is in doubt."""
    upstream = ledger()
    upstream.stop()
    one = relay(providers=[provider("one", upstream.port)], circuit=QUICK).start()
    dice, names, unanswered = random.Random(7), list[str](), 0
    for round in range(ROUNDS):
        callers = Callers(http_of(one), round)
        until(lambda made=callers: made.answered, 10, "the first is answered")  # type: ignore[misc]
        time.sleep(dice.uniform(0, 0.05))  # a random moment is what is wanted
        one.kill()
        callers.join()
        one.start()
        door = http_of(one)
        for name in callers.tried:
            again = post(door, name).must(202)
            assert callers.answered.get(name, again["id"]) == again["id"], "the same answer again"
        names += callers.tried
        unanswered += len(callers.tried) - len(callers.answered)
    assert unanswered >= ROUNDS
    upstream.start()
    until(lambda: len({mail.recipients[0] for mail in upstream.taken}) == len(names), 60, "every message arrived")
    until(lambda: one.queue("--state", "queued", "--state", "deferred", "--state", "sending") == [], 20, "all is sent")
    twice = [name for name, count in Counter(mail.recipients[0] for mail in upstream.taken).items() if count > 1]
    assert twice == []


def test_H7_the_stored_answer_and_what_a_key_does_not_allow(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)]).start()
    door = http_of(one)
    first = post(door, "bob", "k1")
    again = post(door, "bob", "k1")
    assert first.must(202) == again.must(202)
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    door("POST", "/v1/messages", order("eve"), Idempotency_Key="k1").refused(422)
    assert post(door, "bob", "k2").must(202)["id"] != first.json["id"]
    upstream.wait_for(2)
    until(lambda: one.queue() == [], 5, "no third one")
    assert [mail.recipients for mail in upstream.taken] == [("bob@example.com",)] * 2


def test_H7_the_same_request_many_times_at_once_is_one_message(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)]).start()
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(post(http_of(one), "bob", "same"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {answer.status for answer in answers} <= {202, 409}
    assert all(answer.headers["retry-after"] for answer in answers if answer.status == 409)
    assert len({answer.json["id"] for answer in answers if answer.status == 202}) == 1
    assert post(http_of(one), "bob", "same").must(202)["id"] in {a.json.get("id") for a in answers}
    upstream.wait_for(1)
    until(lambda: one.queue() == [], 5, "no second one")
    assert len(upstream.taken) == 1
