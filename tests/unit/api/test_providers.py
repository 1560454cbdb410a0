"""/api/email-provider/providers/: every answer has the keys of its example, and what may not be is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from relay.api.app import create_app
from relay.api.callers import Caller
from relay.db.errors import StorageFull
from relay.delivery.status import ProviderStatus
from relay.events import Changed, Event
from relay.model import Counts, Health, ProviderSettings, Reply, Scope
from relay.ports import Tested as Outcome
from tests.asgi import Client
from tests.desk import NOW
from tests.parts import parts
from tests.registry import FakeChecks, FakeRegistry

SEED = (Path(__file__).parents[2] / "seeds" / "d-provider-management-http-api.txt").read_text(encoding="utf-8")
HERE = "/api/email-provider/providers/"
GMAIL = {
    "name": "Gmail SMTP",
    "smtp_host": "smtp.gmail.com",
    "smtp_username": "u@gmail.com",
    "smtp_password": "canary-81",
}
REFUSED = Reply(code=535, enhanced="5.7.8", text="Username and Password not accepted")


def examples() -> dict[tuple[str, str], list]:
    """(section, heading of the block) to the example's JSON."""
    found = {}
    for section, body in re.findall(r"^## [^\n]*?\*\*\d+\. ([^*]+)\*\*\n(.*?)^---", SEED, re.DOTALL | re.MULTILINE):
        for heading, block in re.findall(r"^### \*\*([^*]+):\*\*\n```json\n(.*?)```", body, re.DOTALL | re.MULTILINE):
            found[section, heading] = json.loads(block)
    return found


EXAMPLES = examples()


def keys(section: str, heading: str = "Response (200 OK)") -> list[str]:
    example = EXAMPLES[section, heading]
    return list(example[0] if isinstance(example, list) else example)


class World:
    """The API over fakes; made once, as new for every test. `applied`: how often something was put in force."""

    def __init__(self) -> None:
        self.registry = FakeRegistry()
        self.checks = FakeChecks()
        self.events: list[Event] = []
        self.app = create_app(
            parts(
                registry=self.registry,
                checks=self.checks,
                observe=self.events.append,
                apply=self._apply,
                statuses=lambda: self.statuses,
                clock=lambda: self.now,
                source="/etc/relay/relay.yaml",
            )
        )
        self.ask = Client(self.app)

    def renew(self) -> World:
        self.registry.__init__([ProviderSettings(name="primary", host="smtp.example.org", username="u")])
        self.checks.__init__()
        self.events.clear()
        self.applied = 0
        self.statuses: list[ProviderStatus] = []
        self.now = NOW
        return self

    async def _apply(self) -> None:
        self.applied += 1

    async def made(self, **more) -> int:
        answer = await self.ask("POST", HERE, GMAIL | more)
        assert answer.status == 201, answer.body
        return answer.json["id"]

    def settings(self, id: int) -> ProviderSettings:
        return self.registry.known[id].settings


@pytest.fixture(scope="module")
def made_once() -> World:
    return World()


@pytest.fixture
def world(made_once: World) -> World:
    return made_once.renew()


class _Full(FakeRegistry):
    async def remove(self, id: int, now: float) -> None:
        raise StorageFull("database or disk is full")


async def test_G4_a_full_disk_is_503_with_cause_and_fix_and_when_to_come_back():
    registry = _Full([])
    await registry.add(ProviderSettings(name="a", host="smtp.example.org"), default=False, now=NOW)
    ask = Client(create_app(parts(registry=registry)))
    answer = await ask("DELETE", f"{HERE}1/")
    assert (answer.status, answer.headers["retry-after"]) == (503, "30")
    assert "disk of the spool is full" in answer.json["detail"]
    assert "free some room" in answer.json["detail"]


async def test_one_that_is_damaged_stays_so_until_its_host_is_given(world):
    made = await world.registry.add(ProviderSettings(name="damaged-2", host="", active=False), default=False, now=NOW)
    here = f"{HERE}{made.id}/"
    refused = await world.ask("PATCH", here, {"is_active": True})
    assert (refused.status, refused.json["errors"][0]["loc"]) == (422, ["smtp_host"])
    assert (await world.ask("PATCH", here, {"is_active": True, "smtp_host": "smtp.example.org"})).status == 200


# Every endpoint as its example.


def test_the_seed_has_the_examples_that_are_compared():
    assert len(EXAMPLES) == 16


async def test_create_as_in_the_example(world):
    answer = await world.ask("POST", HERE, EXAMPLES["Create SMTP Provider", "Request Body"])
    expected = EXAMPLES["Create SMTP Provider", "Response (201 Created)"]
    assert answer.status == 201
    assert list(answer.json) == list(expected)
    stamp = "2026-11-18T11:06:40Z"
    assert answer.json == expected | {"id": 2, "created_at": stamp, "updated_at": stamp}
    assert world.applied == 1
    assert world.events == [Changed(who="control", what="provider added", target="Gmail SMTP")]
    assert not world.checks.asked, "creating neither resolves nor connects"


async def test_defaults(world):
    answer = await world.ask("POST", HERE, {"name": "n", "smtp_host": "h.example"})
    settings = ProviderSettings(name="n", host="h.example")
    assert world.settings(answer.json["id"]) == settings
    assert answer.json["smtp_password"] == ""
    assert answer.json["priority_display"] == "Primary"
    assert answer.json["daily_limit"] is None


async def test_list_with_filters(world):
    second = await world.made()
    third = await world.made(name="third", priority=3, is_active=False)
    await world.registry.checked("third", Health(healthy=False, checked_at=NOW, detail="x"))
    listed = await world.ask("GET", HERE)
    assert listed.status == 200
    assert [list(row) for row in listed.json] == [keys("List All Providers")] * 3
    for query, ids in (
        ("provider_type=smtp", [1, second, third]),
        ("is_active=true", [1, second]),
        ("provider_type=smtp&is_active=false", [third]),
        ("health_status=unhealthy", [third]),
        ("health_status=unknown&priority=1", [1, second]),
        ("priority=3&is_active=true", []),
        ("priority=1&priority=3", [1, second, third]),
    ):
        found = await world.ask("GET", f"{HERE}?{query}")
        assert [row["id"] for row in found.json] == ids, query


@pytest.mark.parametrize(
    "query", ["provider_type=ses", "health_status=ill", "is_active=perhaps", "priority=0", "priority=x", "colour=red"]
)
async def test_a_filter_that_means_nothing_is_refused(world, query):
    answer = await world.ask("GET", f"{HERE}?{query}")
    assert answer.status == 422
    assert answer.json["errors"][0]["loc"][:2] == ["query", query.partition("=")[0]]


async def test_read_as_in_the_example(world):
    id = await world.made(from_name="Your Company Name")
    world.registry.counted[id] = Counts(today=5, month=150)
    await world.registry.checked("Gmail SMTP", Health(healthy=True, checked_at=NOW))
    answer = await world.ask("GET", f"{HERE}{id}/")
    assert answer.status == 200
    assert set(answer.json) == set(keys("Get Specific Provider"))
    assert (answer.json["emails_sent_today"], answer.json["emails_sent_this_month"]) == (5, 150)
    assert answer.json["last_health_check"] == "2026-11-18T11:06:40Z"
    assert (answer.json["health_status"], answer.json["health_status_display"]) == ("healthy", "Healthy")


async def test_an_unhealthy_one_says_cause_and_fix(world):
    id = await world.made()
    await world.registry.checked("Gmail SMTP", Health(healthy=False, checked_at=NOW, detail="535 no; correct it"))
    answer = await world.ask("GET", f"{HERE}{id}/")
    assert set(answer.json) == {*keys("Get Specific Provider"), "health_detail"}
    assert answer.json["health_detail"] == "535 no; correct it"


async def test_what_delivery_found_out_shows_at_once(world):
    id = await world.made()
    await world.registry.checked("Gmail SMTP", Health(healthy=True, checked_at=NOW))
    world.statuses = [status("Gmail SMTP", suspended=True, reply=REFUSED)]
    shown = (await world.ask("GET", f"{HERE}{id}/")).json
    assert shown["health_status"] == "unhealthy"
    assert shown["health_detail"].startswith(
        "535 5.7.8 Username and Password not accepted; user name or password is wrong"
    )
    (_, row) = (await world.ask("GET", f"{HERE}health_status/")).json
    assert (row["is_healthy"], row["health_status"], row["can_send_email"]) == (False, "unhealthy", False)


def status(name: str, **more) -> ProviderStatus:
    base = {"healthy": True, "circuit": "closed", "suspended": False, "in_flight": 0, "window": 1, "quota": {}}
    return ProviderStatus(name=name, **(base | more))


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_update_merges(world, method):
    id = await world.made(daily_limit=1000, reply_to="r@example.com")
    before = world.settings(id)
    world.now += 60
    answer = await world.ask(method, f"{HERE}{id}/", EXAMPLES["Update Provider", "Request Body (Partial Update)"])
    assert answer.status == 200
    assert list(answer.json) == keys("Update Provider")
    assert world.settings(id) == replace(before, name="Updated Gmail SMTP", daily_limit=2000, active=True)
    assert answer.json["updated_at"] == "2026-11-18T11:07:40Z"
    assert world.applied == 2
    assert world.events[-1] == Changed(who="control", what="provider changed", target="Updated Gmail SMTP")


async def test_update_credentials_as_in_the_example(world):
    id = await world.made()
    body = EXAMPLES["Update SMTP Credentials", "Request Body"]
    answer = await world.ask("POST", f"{HERE}{id}/update_credentials/", body)
    assert answer.status == 200
    assert answer.json == EXAMPLES["Update SMTP Credentials", "Response (200 OK)"]
    assert list(answer.json) == keys("Update SMTP Credentials")
    assert world.settings(id).password == "new-app-password"
    assert world.checks.hurried == ["Gmail SMTP"], "what waits for it goes at once"


async def test_a_missing_password_is_kept_an_empty_one_cleared(world):
    id = await world.made()
    where = f"{HERE}{id}/update_credentials/"
    kept = await world.ask("POST", where, {"smtp_username": "other@gmail.com"})
    assert kept.json["smtp_password"] == "encrypted_new_password"
    assert world.settings(id).password == "canary-81"
    for shown in ("encrypted_password", "encrypted_new_password"):
        await world.ask("PATCH", f"{HERE}{id}/", {"smtp_password": shown})
        assert world.settings(id).password == "canary-81", "a client that sends back what it read changes nothing"
    cleared = await world.ask("POST", where, {"smtp_password": "", "smtp_username": ""})
    assert cleared.json["smtp_password"] == ""
    assert (world.settings(id).password, world.settings(id).username) == ("", "")


async def test_test_mail_that_was_taken(world):
    id = await world.made()
    world.checks.tested = Outcome(seconds=2.5, message_id="smtp_1704623400")
    answer = await world.ask("POST", f"{HERE}{id}/test/", {"test_email": "test@example.com"})
    assert answer.status == 200
    assert answer.json == EXAMPLES["Test SMTP Provider", "Response (200 OK)"]
    assert world.checks.asked == [("Gmail SMTP", "test@example.com")]


async def test_test_mail_that_was_not_taken(world):
    id = await world.made()
    world.checks.tested = Outcome(seconds=1.2, error="SMTP Error: Authentication failed")
    answer = await world.ask("POST", f"{HERE}{id}/test/", {"test_email": "test@example.com"})
    assert answer.status == 400
    assert answer.json == EXAMPLES["Test SMTP Provider", "Response (400 Bad Request - Test Failed)"]


@pytest.mark.parametrize("well", [True, False])
async def test_health_check(world, well):
    id = await world.made()
    world.checks.found = Health(healthy=well, checked_at=NOW, detail="" if well else "x")
    answer = await world.ask("POST", f"{HERE}{id}/health_check/")
    assert answer.status == 200
    assert list(answer.json) == keys("Health Check", "Response (200 OK)" if well else "Response (200 OK - Unhealthy)")
    assert answer.json["is_healthy"] is well
    assert answer.json["health_status"] == ("healthy" if well else "unhealthy")


async def test_activate_and_deactivate(world):
    id = await world.made()
    off = await world.ask("POST", f"{HERE}{id}/deactivate/")
    assert (off.status, off.json) == (200, {"message": "Provider deactivated successfully"})
    assert not world.settings(id).active
    on = await world.ask("POST", f"{HERE}{id}/activate/")
    assert (on.status, on.json) == (200, EXAMPLES["Activate/Deactivate Provider", "Response (200 OK)"])
    assert world.settings(id).active
    assert world.checks.hurried[-1] == "Gmail SMTP", "a suspended one is probed when it is activated"
    assert [event.what for event in world.events[1:]] == ["provider deactivated", "provider activated"]


async def test_delete_frees_the_name(world):
    id = await world.made()
    gone = await world.ask("DELETE", f"{HERE}{id}/")
    assert (gone.status, gone.body) == (204, b"")
    assert (await world.ask("GET", f"{HERE}{id}/")).status == 404
    assert await world.made() == id + 1
    assert world.applied == 3


async def test_statistics_as_in_the_example(world):
    id = await world.made(daily_limit=1000, monthly_limit=10000)
    world.registry.counted[id] = Counts(today=5, month=150, attempts=200, accepted=197, seconds=460.0)
    await world.registry.checked("Gmail SMTP", Health(healthy=True, checked_at=NOW))
    answer = await world.ask("GET", f"{HERE}statistics/")
    (expected,) = EXAMPLES["Get Provider Statistics", "Response (200 OK)"]
    assert answer.status == 200
    assert list(answer.json[1]) == list(expected)
    assert answer.json[1] == expected | {"provider_id": id, "last_health_check": "2026-11-18T11:06:40Z"}
    empty = answer.json[0]
    assert (empty["daily_usage_percentage"], empty["success_rate"], empty["average_response_time"]) == (0.0, 100.0, 0.0)


async def test_health_status_as_in_the_example(world):
    await world.made()
    await world.registry.checked("Gmail SMTP", Health(healthy=True, checked_at=NOW))
    world.statuses = [status("primary", obstacle="day"), status("Gmail SMTP", obstacle="busy")]
    answer = await world.ask("GET", f"{HERE}health_status/")
    assert [list(row) for row in answer.json] == [keys("Get Health Status of All Providers")] * 2
    assert [row["can_send_email"] for row in answer.json] == [False, True]
    assert [row["is_healthy"] for row in answer.json] == [False, True], "unknown is not healthy, but may send"


async def test_every_address_is_answered_without_its_slash_but_not_described_twice(world):
    id = await world.made()
    for method, path in (("GET", ""), ("GET", "statistics"), ("GET", str(id)), ("POST", f"{id}/activate")):
        assert (await world.ask(method, (HERE + path).rstrip("/"))).status == 200, path
    described = [path for path in world.app.openapi()["paths"] if path.startswith(HERE[:-1])]
    assert len(described) == 9
    assert all(path.endswith("/") for path in described)


# Refusals.


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "99/", None),
        ("PUT", "99/", {"name": "x"}),
        ("PATCH", "99/", {}),
        ("DELETE", "99/", None),
        ("POST", "99/update_credentials/", {}),
        ("POST", "99/test/", {"test_email": "a@example.com"}),
        ("POST", "99/health_check/", None),
        ("POST", "99/activate/", None),
        ("POST", "99/deactivate/", None),
    ],
)
async def test_an_unknown_id_is_404(world, method, path, body):
    answer = await world.ask(method, HERE + path, body)
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "1/", {"daily_limit": 5}),
        ("PATCH", "1/", {"is_active": False}),
        ("DELETE", "1/", None),
        ("POST", "1/update_credentials/", {"smtp_password": "x"}),
        ("POST", "1/activate/", None),
        ("POST", "1/deactivate/", None),
    ],
)
async def test_what_the_file_says_is_changed_there(world, method, path, body):
    answer = await world.ask(method, HERE + path, body)
    assert answer.status == 409
    assert "primary" in answer.json["detail"]
    assert "/etc/relay/relay.yaml" in answer.json["detail"]
    assert not world.events
    assert not world.applied


async def test_one_of_the_file_may_be_checked_and_become_the_default(world):
    id = await world.made(is_default=True)
    assert (await world.ask("POST", f"{HERE}1/health_check/")).status == 200
    assert (await world.ask("PATCH", f"{HERE}1/", {"is_default": True})).json["is_default"] is True
    assert (await world.ask("GET", f"{HERE}{id}/")).json["is_default"] is False, "there is one at most"


async def test_names_are_unique_over_file_and_api(world):
    id = await world.made()
    for answer in (
        await world.ask("POST", HERE, GMAIL | {"name": "primary"}),
        await world.ask("POST", HERE, GMAIL),
        await world.ask("PATCH", f"{HERE}{id}/", {"name": "primary"}),
    ):
        assert answer.status == 409
        assert "choose another name" in answer.json["detail"]


async def test_tls_and_ssl_exclude_each_other(world):
    both = {"smtp_use_tls": True, "smtp_use_ssl": True}
    id = await world.made()
    for answer in (
        await world.ask("POST", HERE, GMAIL | {"name": "n"} | both),
        await world.ask("PATCH", f"{HERE}{id}/", both),
        await world.ask("PATCH", f"{HERE}{id}/", {"smtp_use_ssl": True}),
        await world.ask("POST", f"{HERE}{id}/update_credentials/", both),
    ):
        assert answer.status == 400
        assert "smtp_use_ssl" in answer.json["detail"]
    ssl = await world.made(name="ssl", smtp_port=465, smtp_use_ssl=True)
    assert world.settings(ssl).use_tls is False, "the default is no wish"


async def test_a_locked_provider_is_not_activated_but_told_of(world):
    id = await world.made()
    world.registry.known[id] = replace(world.registry.known[id], locked="its password is of another key")
    shown = (await world.ask("GET", f"{HERE}{id}/")).json
    assert (shown["health_status"], shown["health_detail"]) == ("unhealthy", "its password is of another key")
    assert shown["smtp_password"] == "encrypted_password"
    answer = await world.ask("POST", f"{HERE}{id}/activate/")
    assert answer.status == 409
    assert "update_credentials" in answer.json["detail"]


async def test_the_scope_is_needed_everywhere(world):
    nobody = Client(world.app, Caller(name="sender", key="t1", scopes=frozenset({Scope.SEND, Scope.QUEUE})))
    for method, path in (
        ("GET", ""),
        ("POST", ""),
        ("GET", "statistics/"),
        ("GET", "health_status/"),
        ("GET", "1/"),
        ("PUT", "1/"),
        ("DELETE", "1/"),
        ("POST", "1/test/"),
        ("POST", "1/health_check/"),
        ("POST", "1/activate"),
    ):
        assert (await nobody(method, HERE + path, {} if method in ("POST", "PUT") else None)).status == 403, path
    admin = Client(world.app, Caller(name="root", key="t2", scopes=frozenset({Scope.ADMIN})))
    assert (await admin("GET", HERE)).status == 200


async def test_H8_no_answer_and_no_event_has_the_password(world):
    id = await world.made()
    seen = [str(world.events)]
    for method, path, body in (
        ("GET", "", None),
        ("GET", f"{id}/", None),
        ("PATCH", f"{id}/", {"priority": 2}),
        ("POST", f"{id}/update_credentials/", {"smtp_password": "canary-81"}),
        ("POST", f"{id}/update_credentials/", {"smtp_password": ["canary-81"]}),
        ("POST", "", GMAIL),
        ("POST", "", GMAIL | {"smtp_port": "canary-81"}),
        ("GET", "statistics/", None),
        ("GET", "health_status/", None),
    ):
        seen.append((await world.ask(method, HERE + path, body)).body.decode())
    assert "canary-81" not in "".join(seen) + repr(world.registry.known[id])
