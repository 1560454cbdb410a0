"""Seed d, replayed: every request of its file as it stands, and every answer as it shows it.

Only what names the outside world is replaced: host, port and credentials, by those of a Postfix on loopback, which has
a certificate of our CA; the relay trusts that by SSL_CERT_FILE, as it would any other CA of the machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from certificates import Certificate
from http_door import Http, http_of
from postfix import Postfix
from relay_process import Relay
from seed_files import Group, common_configurations, like, provider_api
from seed_world import USER, replacing, world_of

GROUPS = provider_api()
COMES_OUT = {
    *("id", "provider_id", "created_at", "updated_at", "last_health_check", "emails_sent_today"),
    *("emails_sent_this_month", "daily_usage_percentage", "monthly_usage_percentage", "response_time"),
    *("message_id", "success_rate", "average_response_time", "error"),
}
"""Keys whose values are of the moment; all others must be as the file shows them."""
TIMES = ("created_at", "updated_at", "last_health_check")


@dataclass(frozen=True)
class World:
    relay: Relay
    upstream: Postfix
    http: Http
    ours: Callable[[Any], Any]

    def ask(self, group: Group, number: int = 0, id: int = 0, content: Any = None) -> tuple[int, Any]:
        """The group's request, as the file has it; status and body of the answer."""
        method, path = group.endpoints[number]
        body = self.ours(group.body) if content is None else content
        answer = self.http(method, path.replace("{id}", str(id)), body)
        return answer.status, answer.json if answer.body else None

    def as_shown(self, shown: Any, got: Any) -> None:
        """The file's keys and types, and its values, too, but for those of the moment."""
        like(shown, got)
        for one, other in zip(_objects(self.ours(shown)), _objects(got), strict=True):
            assert {key: value for key, value in other.items() if key not in COMES_OUT} == {
                key: value for key, value in one.items() if key not in COMES_OUT
            }
            for key in TIMES:
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", other.get(key, "2025-01-07T10:30:00Z")), key


def _objects(shown: Any) -> list[dict[str, Any]]:
    return shown if isinstance(shown, list) else [shown]


@pytest.fixture(scope="module")
def world(certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_of(certificate, tmp_path_factory.mktemp("seed-d")) as (relay, upstream):
        http = http_of(relay).as_user(*USER)
        yield World(relay, upstream, http, partial(replacing, upstream.port))


@pytest.fixture
def made(world: World) -> Iterator[int]:
    """A provider made by the file's request, found healthy; it is removed afterwards."""
    id = world.http("POST", GROUPS[1].endpoints[0][1], world.ours(GROUPS[1].body)).must(201)["id"]
    assert world.http("POST", f"/api/email-provider/providers/{id}/health_check/").must(200)["is_healthy"] is True
    yield id
    assert world.http("DELETE", f"/api/email-provider/providers/{id}/").status in (204, 404)


@pytest.fixture
def locked_out(world: World) -> Iterator[int]:
    """The same provider with a password that is wrong."""
    body = world.ours(GROUPS[1].body) | {"smtp_password": "wrong"}
    id = world.http("POST", GROUPS[1].endpoints[0][1], body).must(201)["id"]
    yield id
    world.http("DELETE", f"/api/email-provider/providers/{id}/").must(204)


def test_create(world: World) -> None:
    status, got = world.ask(GROUPS[1])
    world.http("DELETE", f"/api/email-provider/providers/{got['id']}/")
    assert status == 201
    world.as_shown(GROUPS[1].answer(201), got)


@pytest.mark.parametrize("number", range(len(GROUPS[2].endpoints)))
def test_list_and_its_query_example(world: World, made: int, number: int) -> None:
    status, got = world.ask(GROUPS[2], number)
    assert (status, [one["id"] for one in got]) == (200, [made])
    world.as_shown(GROUPS[2].answer(200), got)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("provider_type=smtp", 1),
        ("health_status=healthy", 1),
        ("health_status=unhealthy", 0),
        ("health_status=unknown", 0),
        ("is_active=false", 0),
        ("priority=1", 1),
        ("priority=2", 0),
    ],
)
def test_every_query_parameter_filters(world: World, made: int, query: str, found: int) -> None:
    assert len(world.http.get(f"{GROUPS[2].endpoints[0][1]}?{query}")) == found


def test_get(world: World, made: int) -> None:
    status, got = world.ask(GROUPS[3], id=made)
    assert (status, got["id"]) == (200, made)
    world.as_shown(GROUPS[3].answer(200), got)


@pytest.mark.parametrize("number", range(2))
def test_put_and_patch_both_merge(world: World, made: int, number: int) -> None:
    status, got = world.ask(GROUPS[4], number, made)
    assert status == 200
    world.as_shown(GROUPS[4].answer(200), got)
    after = world.http.get(f"/api/email-provider/providers/{made}/")
    assert (after["rate_limit_per_minute"], after["reply_to"]) == (10, "noreply@yourcompany.com")


def test_update_credentials(world: World, made: int) -> None:
    status, got = world.ask(GROUPS[5], id=made)
    assert status == 200
    world.as_shown(GROUPS[5].answer(200), got)
    assert world.ask(GROUPS[7], id=made)[1]["is_healthy"] is True, "the new credentials are those that count"


def test_test_sends_real_mail(world: World, made: int) -> None:
    before = len(world.upstream.delivered("test@example.com"))
    status, got = world.ask(GROUPS[6], id=made)
    assert status == 200, got
    world.as_shown(GROUPS[6].answer(200), got)
    assert re.fullmatch(r"smtp_\d+", got["message_id"])
    assert got["response_time"] > 0
    mail = world.upstream.wait_for("test@example.com", before + 1)[-1]
    assert "ESMTPSA" in mail.received
    statistics = world.http.get(GROUPS[10].endpoints[0][1])[0]
    assert statistics["emails_sent_today"] == 1, "a test counts"


def test_test_that_fails(world: World, locked_out: int) -> None:
    status, got = world.ask(GROUPS[6], id=locked_out)
    assert status == 400
    world.as_shown(GROUPS[6].answer(400), got)
    assert "535" in got["error"]


def test_health_check(world: World, made: int) -> None:
    status, got = world.ask(GROUPS[7], id=made)
    assert (status, got["provider_id"]) == (200, made)
    world.as_shown(GROUPS[7].answer(200), got)


def test_health_check_of_one_that_is_not(world: World, locked_out: int) -> None:
    status, got = world.ask(GROUPS[7], id=locked_out)
    assert status == 200
    world.as_shown(GROUPS[7].answer(200, 1), got)
    shown = world.http.get(f"/api/email-provider/providers/{locked_out}/")
    assert "password" in shown["health_detail"]
    assert world.http.get(GROUPS[11].endpoints[0][1])[0]["can_send_email"] is False


def test_activate_and_deactivate(world: World, made: int) -> None:
    for number, word, active in ((1, "deactivated", False), (0, "activated", True)):
        status, got = world.ask(GROUPS[8], number, made)
        like(GROUPS[8].answer(200), got)
        assert (status, got["message"]) == (200, f"Provider {word} successfully")
        assert world.http.get(f"/api/email-provider/providers/{made}/")["is_active"] is active


def test_delete_frees_the_name(world: World, made: int) -> None:
    assert world.ask(GROUPS[9], id=made) == (204, None)
    assert world.http("GET", f"/api/email-provider/providers/{made}/").refused(404)
    assert world.http.get(GROUPS[2].endpoints[0][1]) == []
    again = world.ask(GROUPS[1])[1]
    assert (again["name"], again["id"] != made) == ("Gmail SMTP", True)
    world.http("DELETE", f"/api/email-provider/providers/{again['id']}/").must(204)


def test_statistics(world: World, made: int) -> None:
    world.ask(GROUPS[6], id=made)
    status, got = world.ask(GROUPS[10])
    assert status == 200
    world.as_shown(GROUPS[10].answer(200), got)
    one = got[0]
    assert one["daily_usage_percentage"] == pytest.approx(one["emails_sent_today"] * 100 / one["daily_limit"])
    assert one["monthly_usage_percentage"] == pytest.approx(one["emails_sent_this_month"] * 100 / one["monthly_limit"])
    assert 0 <= one["success_rate"] <= 100


def test_health_status_of_all(world: World, made: int) -> None:
    status, got = world.ask(GROUPS[11])
    assert status == 200
    world.as_shown(GROUPS[11].answer(200), got)


@pytest.mark.parametrize("name", common_configurations())
def test_settings_of_well_known_hosts_as_they_stand(world: World, made: int, name: str) -> None:
    """Switched off, so that the relay does not ask after them."""
    given = common_configurations()[name] | {"is_active": False}
    world.http("PATCH", f"/api/email-provider/providers/{made}/", given).must(200)
    shown = world.http.get(f"/api/email-provider/providers/{made}/")
    assert {key: shown[key] for key in given} == given


def test_nothing_of_it_without_a_token(world: World, made: int) -> None:
    stranger = http_of(world.relay)
    for group in GROUPS.values():
        for method, path in group.endpoints:
            answer = stranger(method, path.replace("{id}", str(made)), group.body)
            assert answer.refused(401), (method, path)
            assert "bearer" in answer.headers["www-authenticate"].lower()
    assert world.http.get(f"/api/email-provider/providers/{made}/")["is_active"] is True


def test_credentials_are_never_returned(world: World, made: int) -> None:
    said = [json.dumps(world.ask(GROUPS[number], id=made)[1]) for number in (2, 3, 4, 7, 10, 11)]
    assert not [text for text in said if '"right"' in text]
