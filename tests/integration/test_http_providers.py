"""Providers made over HTTP while mail flows: at once in routing, mended without a restart, and there after one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from certificates import Certificate
from clients import letter, send
from http_door import PROVIDERS, Http, http_of, local
from ledger import Ledger
from postfix import Postfix
from relay_process import Relay, provider
from seed_world import trusting
from waiting import never, until

MAKE = Callable[..., Relay]
OPEN: dict[str, Any] = {"allow_private_providers": True}


def started(relay: MAKE, **config: Any) -> tuple[Relay, Http]:
    one = relay(**config)
    one.config["http"] |= OPEN
    return one.start(), http_of(one)


def add(http: Http, port: int, **more: Any) -> int:
    return int(http("POST", PROVIDERS, local(port, **more)).must(201)["id"])


def compose(http: Http, to: str) -> str:
    order = {"from": "app@client.test", "to": [to], "subject": "hello", "text": "Hello.\n"}
    return str(http("POST", "/v1/messages", order).must(202)["id"])


def sent_today(http: Http) -> int:
    return int(http.get(f"{PROVIDERS}statistics/")[0]["emails_sent_today"])


def test_a_wrong_password_shows_and_corrected_delivers_what_waits(
    relay: MAKE, postfix: Callable[..., Postfix], certificate: Certificate
) -> None:
    upstream = postfix(auth=True)
    one = trusting(relay(), certificate).start()
    http = http_of(one)
    secured = {"smtp_host": "localhost", "smtp_use_tls": True, "smtp_username": "app@relay.test"}
    id = add(http, upstream.port, **secured, smtp_password="wr0ng-one")
    here = f"{PROVIDERS}{id}/"
    waiting = compose(http, "bob@example.com")
    until(lambda: http.get(here)["health_status"] == "unhealthy", 10, "it shows unhealthy")
    shown = http.get(here)
    assert "535" in shown["health_detail"]
    assert "password" in shown["health_detail"]

    def waits() -> bool:
        message = http.get(f"/v1/messages/{waiting}")
        return message["state"] in ("queued", "deferred") and "535" in message["reason"]

    until(waits, 5, "the message waits, and says why")
    assert [one["can_send_email"] for one in http.get(f"{PROVIDERS}health_status/")] == [False]

    pid = one.pid
    http("POST", f"{here}update_credentials/", {"smtp_password": "right"}).must(200)
    assert upstream.wait_for("bob@example.com", seconds=10)[0].sender == "app@client.test"
    one.wait_for_states(waiting, bob="accepted")
    until(lambda: http.get(here)["health_status"] == "healthy", 5, "it shows healthy")
    assert "health_detail" not in http.get(here)
    assert one.pid == pid
    assert "wr0ng-one" not in one.log_text()


def test_the_sixth_of_five_a_day_waits_and_says_when_it_goes(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    _, http = started(relay)
    id = add(http, upstream.port, daily_limit=5)
    sent = [compose(http, f"r{number}@example.com") for number in range(6)]
    upstream.wait_for(5)
    for message in sent[:5]:
        until(lambda which=message: http.get(f"/v1/messages/{which}")["state"] == "accepted", 5, "it is accepted")  # type: ignore[misc]
    sixth = http.get(f"/v1/messages/{sent[5]}")
    assert sixth["state"] in ("queued", "deferred")
    assert "limit of 5 a day" in sixth["reason"]
    assert re.search(r"goes at \d{4}-\d\d-\d\dT00:00:00Z", sixth["reason"]), sixth["reason"]
    never(lambda: len(upstream.taken) > 5, 1, "the sixth leaves")
    counted = http.get(f"{PROVIDERS}statistics/")[0]
    assert (counted["emails_sent_today"], counted["daily_usage_percentage"]) == (5, 100.0)
    http("PATCH", f"{PROVIDERS}{id}/", {"daily_limit": 6}).must(200)
    upstream.wait_for(6)


def test_what_failed_at_a_wrong_port_goes_as_soon_as_it_is_corrected(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream, nobody = ledger(), ledger()
    nobody.stop()
    _, http = started(relay, retry={"first": "1h", "max": "1h"})
    id = add(http, nobody.port)
    waiting = compose(http, "bob@example.com")
    until(lambda: "refused" in http.get(f"/v1/messages/{waiting}")["reason"], 5, "it failed, and says why")
    http("POST", f"{PROVIDERS}{id}/update_credentials/", {"smtp_port": upstream.port}).must(200)
    assert upstream.wait_for(1)[0].recipients == ("bob@example.com",)


def test_deactivated_and_deleted_ones_give_their_mail_to_others(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    first, second = ledger(), ledger()
    first.stop()
    one, http = started(relay, retry={"first": "1h", "max": "1h"})
    id = add(http, first.port, name="first")
    compose(http, "bob@example.com")
    add(http, second.port, name="second", priority=2, is_active=False)
    never(lambda: second.taken, 0.5, "an inactive one gets mail")

    http("POST", f"{PROVIDERS}2/activate/").must(200)
    http("POST", f"{PROVIDERS}{id}/deactivate/").must(200)
    assert second.wait_for(1)[0].recipients == ("bob@example.com",)

    http("POST", f"{PROVIDERS}2/deactivate/").must(200)
    waiting = compose(http, "ann@example.com")
    reason = http.get(f"/v1/messages/{waiting}")["reason"]
    assert "active" in reason, reason
    http("POST", f"{PROVIDERS}{id}/activate/").must(200)
    http("POST", f"{PROVIDERS}2/activate/").must(200)
    http("DELETE", f"{PROVIDERS}{id}/").must(204)
    assert second.wait_for(2)[1].recipients == ("ann@example.com",)
    assert one.get("/readyz")[0] == 200


def test_mail_pinned_to_one_that_is_deleted_goes_elsewhere(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    first, second = ledger(), ledger()
    first.stop()
    second.stop()
    one, http = started(relay, providers=[provider("first", first.port)], retry={"first": "1h", "max": "1h"})
    id = add(http, second.port, name="second", priority=2)
    waiting = compose(http, "bob@example.com")
    until(lambda: "second" in http.get(f"/v1/messages/{waiting}")["reason"], 5, "both were tried")
    http("POST", f"/v1/messages/{waiting}/reroute", {"provider": "second"}).must(200)
    first.start()
    never(lambda: first.taken, 1.5, "pinned mail goes elsewhere")
    http("DELETE", f"{PROVIDERS}{id}/").must(204)
    assert first.wait_for(1)[0].recipients == ("bob@example.com",)
    one.wait_for_states(waiting, bob="accepted")


def test_deleting_the_last_one_queues_what_comes(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    one, http = started(relay)
    id = add(http, upstream.port)
    http("DELETE", f"{PROVIDERS}{id}/").must(204)
    waiting = compose(http, "bob@example.com")
    assert http.get(f"/v1/messages/{waiting}")["state"] in ("queued", "deferred")
    assert '"mode":"relay"' in one.get("/readyz")[1]
    assert add(http, upstream.port) != id
    upstream.wait_for(1)


def test_it_takes_part_at_once_and_captured_mail_stays(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    one, http = started(relay)
    captured = send(one.door, ["early@example.com"], letter())
    assert http.get(f"/v1/messages/{captured}")["state"] == "captured"
    add(http, upstream.port)
    send(one.door, ["late@example.com"], letter())
    assert upstream.wait_for(1)[0].recipients == ("late@example.com",)
    http("POST", f"/v1/messages/{captured}/release").must(200)
    upstream.wait_for(2)


def test_by_priority_among_those_of_the_file(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    of_file, of_api = ledger(), ledger()
    one, http = started(relay, providers=[provider("file", of_file.port, priority=2)])
    listed = http.get(PROVIDERS)
    assert [(p["name"], p["priority"]) for p in listed] == [("file", 2)]
    here = f"{PROVIDERS}{listed[0]['id']}/"
    assert one.file.name in http("PATCH", here, {"priority": 3}).refused(409)["detail"]
    http("DELETE", here).refused(409)
    http("POST", PROVIDERS, local(of_api.port, name="file")).refused(409)
    id = add(http, of_api.port, name="api", priority=1)
    send(one.door, ["bob@example.com"], letter())
    of_api.wait_for(1)
    http("PATCH", f"{PROVIDERS}{id}/", {"priority": 9}).must(200)
    send(one.door, ["ann@example.com"], letter())
    of_file.wait_for(1)


def test_a_restart_keeps_providers_ids_counters_users_and_tokens(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    upstream.script.login = ("app", "s3cret-pw")
    one, open_http = started(relay)
    gone = add(open_http, upstream.port, name="gone")
    open_http("DELETE", f"{PROVIDERS}{gone}/").must(204)
    id = add(open_http, upstream.port, name="kept", smtp_username="app", smtp_password="s3cret-pw", daily_limit=50)
    assert id > gone
    assert one.cli("user", "add", "ann", "--password-stdin", given="ann's password\n").returncode == 0
    http = open_http.as_user("ann", "ann's password")
    compose(http, "one@example.com")
    upstream.wait_for(1)
    until(lambda: sent_today(http) == 1, 5, "it is counted")
    before = http.get(f"{PROVIDERS}{id}/")

    one.restart()
    after = http.get(f"{PROVIDERS}{id}/")
    kept = (
        "id",
        "name",
        "smtp_username",
        "smtp_password",
        "daily_limit",
        "emails_sent_today",
        "created_at",
        "is_default",
    )
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    assert open_http("GET", PROVIDERS).status == 401
    compose(open_http.as_user("ann", "ann's password"), "two@example.com")
    upstream.wait_for(2)
    until(lambda: sent_today(http) == 2, 5, "it is counted")
    one.restart()
    assert sent_today(http) == 2
    one.kill()
    one.start()
    compose(http, "three@example.com")
    upstream.wait_for(3)
    until(lambda: sent_today(http) == 3, 5, "all are counted")
    assert add(http, upstream.port, name="next") > id
