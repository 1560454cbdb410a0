"""Providers that are renamed, removed, made again and limited while their mail is on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clients import letter, smtp, submit
from http_door import PROVIDERS, Http, http_of, local
from ledger import Ledger
from relay_process import Relay, provider
from waiting import never, until

MAKE = Callable[..., Relay]
OPEN: dict[str, Any] = {"allow_private_providers": True}


def started(relay: MAKE) -> tuple[Relay, Http]:
    one = relay()
    one.config["http"] |= OPEN
    return one.start(), http_of(one)


def add(http: Http, port: int, **more: Any) -> int:
    return int(http("POST", PROVIDERS, local(port, **more)).must(201)["id"])


def submitted(one: Relay, count: int) -> None:
    with smtp(one.door) as client:
        for number in range(count):
            submit(client, [f"r{number}@example.com"], letter())


def patch(http: Http, id: int, **settings: Any) -> None:
    http("PATCH", f"{PROVIDERS}{id}/", settings).must(200)


def test_F9_a_limit_holds_over_renames_amid_the_mail_and_over_a_crash(
    relay: MAKE, ledger: Callable[[], Ledger]
) -> None:
    upstream = ledger()
    upstream.script.dot_delay = 0.05
    one, http = started(relay)
    id = add(http, upstream.port, name="a", daily_limit=40)
    submitted(one, 120)
    for name in ("b", "c", "a", "b") * 3:
        patch(http, id, name=name)
    upstream.wait_for(40)
    never(lambda: len(upstream.taken) > 40, 0.5, "one more than its limit")
    one.kill()
    one.start()
    never(lambda: len(upstream.taken) > 40, 0.7, "one more after a crash")
    patch(http, id, daily_limit=45)
    upstream.wait_for(45)
    never(lambda: len(upstream.taken) > 45, 0.3, "one more than the new limit")


def test_F9_a_limit_counts_what_went_before_it_was_set(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    one, http = started(relay)
    id = add(http, upstream.port)
    submitted(one, 3)
    upstream.wait_for(3)
    until(lambda: http.get(f"{PROVIDERS}statistics/")[0]["emails_sent_today"] == 3, 5, "they are counted")
    patch(http, id, daily_limit=5)
    submitted(one, 6)
    upstream.wait_for(5)
    never(lambda: len(upstream.taken) > 5, 0.5, "the sixth of five a day")


def test_one_of_the_same_name_begins_anew(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    first, second = ledger(), ledger()
    one, http = started(relay)
    id = add(http, first.port, name="a", daily_limit=2)
    submitted(one, 4)
    first.wait_for(2)
    http("DELETE", f"{PROVIDERS}{id}/").must(204)
    add(http, second.port, name="a", daily_limit=2)
    second.wait_for(2)


def test_what_only_waits_for_a_removed_one_goes_to_others(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    slow, quick = ledger(), ledger()
    slow.script.dot_delay = 1
    one, http = started(relay)
    id = add(http, slow.port, name="slow")
    submitted(one, 100)
    until(lambda: slow.dots >= 20, 10, "its connections are busy")
    add(http, quick.port, name="quick", priority=2)
    http("DELETE", f"{PROVIDERS}{id}/").must(204)
    until(lambda: len(slow.taken) + len(quick.taken) == 100, 10, "all are sent")
    assert len(slow.taken) <= 40, "one on the wire and one behind its dot for each connection"
    assert len({address for mail in (*slow.taken, *quick.taken) for address in mail.recipients}) == 100


def test_a_name_in_the_file_and_made_by_hand_can_be_mended_while_none_runs(
    relay: MAKE, ledger: Callable[[], Ledger]
) -> None:
    upstream = ledger()
    one, http = started(relay)
    add(http, upstream.port, name="x")
    assert one.terminate() == 0
    one.config["providers"] = [provider("x", upstream.port)]
    refused = one.run_to_end()
    assert refused.returncode in (1, 2)
    assert "relay provider remove x" in refused.stderr
    done = one.cli("provider", "remove", "x")
    assert (done.returncode, done.stderr) == (0, "")
    one.start()
    assert [found["name"] for found in http.get(PROVIDERS)] == ["x"]
