"""The contract's rules for providers made over HTTP, against a real Postfix: TLS, passwords, defaults, limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from certificates import Certificate
from http_door import PROVIDERS, Answer, Http, http_of
from postfix import Postfix
from seed_world import USER, world_of

LOGIN = {"smtp_username": "app@relay.test", "smtp_password": "right"}


@dataclass(frozen=True)
class World:
    http: Http
    upstream: Postfix

    def make(self, **settings: Any) -> Answer:
        return self.http("POST", PROVIDERS, {"name": "one", "smtp_host": "localhost"} | settings)

    def try_it(self, id: int, to: str) -> Answer:
        return self.http("POST", f"{PROVIDERS}{id}/test/", {"test_email": to})

    def arrived(self, to: str) -> str:
        return self.upstream.wait_for(to)[0].received


@pytest.fixture(scope="module")
def served(certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_of(certificate, tmp_path_factory.mktemp("rules")) as (relay, upstream):
        yield World(http_of(relay).as_user(*USER), upstream)


@pytest.fixture
def world(served: World) -> Iterator[World]:
    yield served
    for one in served.http.get(PROVIDERS):
        served.http("DELETE", f"{PROVIDERS}{one['id']}/").must(204)


def test_starttls_implicit_and_neither(world: World) -> None:
    port, tls_port = world.upstream.port, world.upstream.tls_port
    for name, settings, means in (
        ("starttls", {"smtp_port": port, "smtp_use_tls": True}, "ESMTPSA"),
        ("implicit", {"smtp_port": tls_port, "smtp_use_tls": False, "smtp_use_ssl": True}, "ESMTPSA"),
    ):
        id = world.make(name=name, **settings, **LOGIN).must(201)["id"]
        world.try_it(id, f"{name}@example.com").must(200)
        assert means in world.arrived(f"{name}@example.com")
    plain = {"smtp_port": port, "smtp_use_tls": False, "smtp_use_ssl": False}
    id = world.make(name="neither", **plain).must(201)["id"]
    assert "access denied" in world.try_it(id, "nobody@example.com").must(400)["error"].lower()


def test_both_exclude_each_other(world: World) -> None:
    world.make(smtp_use_tls=True, smtp_use_ssl=True).refused(400)
    id = world.make(smtp_use_tls=True).must(201)["id"]
    world.http("PATCH", f"{PROVIDERS}{id}/", {"smtp_use_ssl": True}).refused(400)
    world.http("PATCH", f"{PROVIDERS}{id}/", {"smtp_use_ssl": True, "smtp_use_tls": False}).must(200)


def test_defaults(world: World) -> None:
    made = world.make(is_active=False).must(201)
    assert made.pop("is_active") is False
    expected = {
        "smtp_port": 587,
        "smtp_use_tls": True,
        "smtp_use_ssl": False,
        "smtp_username": "",
        "daily_limit": None,
        "monthly_limit": None,
        "rate_limit_per_minute": None,
        "priority": 1,
        "priority_display": "Primary",
        "is_default": False,
    }
    assert {key: made[key] for key in expected} == expected


@pytest.mark.parametrize(("priority", "shown"), [(1, "Primary"), (2, "Secondary"), (3, "Tertiary"), (4, "Priority 4")])
def test_priority_in_words(world: World, priority: int, shown: str) -> None:
    assert world.make(priority=priority, is_active=False).must(201)["priority_display"] == shown


@pytest.mark.parametrize("limit", ["daily_limit", "monthly_limit", "rate_limit_per_minute"])
def test_a_limit_of_zero_is_refused_with_the_fix(world: World, limit: str) -> None:
    refusal = world.make(**{limit: 0}).refused(422)
    assert limit in refusal["errors"][0]["loc"]
    assert "null" in refusal["errors"][0]["msg"]


def test_a_missing_password_is_kept_and_an_empty_one_cleared(world: World) -> None:
    id = world.make(smtp_port=world.upstream.port, **LOGIN).must(201)["id"]
    credentials = f"{PROVIDERS}{id}/update_credentials/"
    healthy = f"{PROVIDERS}{id}/health_check/"
    world.http("POST", credentials, {"smtp_username": "app@relay.test"}).must(200)
    assert world.http("POST", healthy).must(200)["is_healthy"] is True
    shown = world.http.get(f"{PROVIDERS}{id}/")
    assert shown["smtp_password"] == "encrypted_password"
    world.http("PUT", f"{PROVIDERS}{id}/", {"smtp_password": shown["smtp_password"]}).must(200)
    assert world.http("POST", healthy).must(200)["is_healthy"] is True, "what was read is no new password"
    world.http("POST", credentials, {"smtp_password": ""}).must(200)
    assert world.http("POST", healthy).must(200)["is_healthy"] is False


def test_an_empty_user_name_means_no_login(world: World) -> None:
    id = world.make(smtp_port=world.upstream.port, **LOGIN).must(201)["id"]
    world.http("PATCH", f"{PROVIDERS}{id}/", {"smtp_username": ""}).must(200)
    assert world.http("POST", f"{PROVIDERS}{id}/health_check/").must(200)["is_healthy"] is True
    assert "access denied" in world.try_it(id, "nobody@example.com").must(400)["error"].lower()


def test_there_is_one_default_at_most(world: World) -> None:
    first = world.make(name="first", is_default=True, is_active=False).must(201)["id"]
    second = world.make(name="second", is_default=True, is_active=False).must(201)["id"]
    assert world.http.get(f"{PROVIDERS}{first}/")["is_default"] is False
    assert world.http.get(f"{PROVIDERS}{second}/")["is_default"] is True


def test_a_certificate_of_nobody_is_unhealthy_and_says_so(world: World) -> None:
    id = world.make(smtp_host="127.0.0.2", smtp_port=world.upstream.port, **LOGIN).must(201)["id"]
    assert world.http("POST", f"{PROVIDERS}{id}/health_check/").must(200)["is_healthy"] is False
    assert world.http.get(f"{PROVIDERS}{id}/")["health_detail"]


def test_the_description_is_served(world: World) -> None:
    served = world.http.get("/openapi.json")
    assert served["openapi"].startswith("3.1")
    assert PROVIDERS in served["paths"]
    assert world.http("GET", "/docs").status == 200
