"""What may not be said of a provider: bad fields by name, hosts that lead inside (H2), lines that break (H1)."""

from __future__ import annotations

import pytest

from relay.api.app import create_app
from relay.model import ProviderSettings
from tests.asgi import Client
from tests.parts import parts
from tests.registry import FakeRegistry

HERE = "/api/email-provider/providers/"
GOOD = {"name": "n", "smtp_host": "smtp.example.com"}


@pytest.fixture(scope="module")
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture(scope="module")
def app(registry):
    return create_app(parts(registry=registry))


@pytest.fixture
def ask(app, registry) -> Client:
    registry.known = {}
    return Client(app)


async def refused(ask: Client, field: str, value: object, *, method: str = "POST", path: str = "") -> dict:
    body = {field: value} if path else GOOD | {field: value}
    answer = await ask(method, HERE + path, body)
    assert answer.status == 422, (field, value, answer.body)
    (error,) = answer.json["errors"]
    assert field in error["loc"]
    return error


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", " padded"),
        ("name", "x" * 101),
        ("name", None),
        ("name", 5),
        ("provider_type", "ses"),
        ("provider_type", "sendgrid"),
        ("provider_type", None),
        ("smtp_host", ""),
        ("smtp_host", "https://smtp.example.com"),
        ("smtp_host", "smtp.example.com:587"),
        ("smtp_host", "not a host"),
        ("smtp_host", "999.1.1.1"),
        ("smtp_host", "x" * 300),
        ("smtp_port", 0),
        ("smtp_port", 65536),
        ("smtp_port", "587"),
        ("smtp_port", True),
        ("smtp_use_tls", "yes"),
        ("smtp_use_ssl", 1),
        ("smtp_password", None),
        ("smtp_password", "x" * 1001),
        ("smtp_password", "encrypted_password"),
        ("smtp_username", "x" * 321),
        ("from_email", "nobody"),
        ("from_email", "a@b@c"),
        ("from_email", "Name <a@example.com>"),
        ("from_email", "ä@example.com"),
        ("from_email", "a@example.com, b@example.com"),
        ("reply_to", "@"),
        ("from_name", "x" * 201),
        ("daily_limit", -1),
        ("daily_limit", 1.5),
        ("monthly_limit", "10"),
        ("rate_limit_per_minute", 10**12),
        ("priority", 0),
        ("priority", -3),
        ("is_active", None),
        ("colour", "red"),
        ("id", 7),
    ],
)
async def test_a_bad_field_is_refused_by_its_name(ask, field, value):
    await refused(ask, field, value)


@pytest.mark.parametrize("field", ["daily_limit", "monthly_limit", "rate_limit_per_minute"])
async def test_a_limit_of_nothing_names_the_fix(ask, field):
    error = await refused(ask, field, 0)
    assert "null for no limit" in error["msg"]


async def test_other_types_are_not_in_this_version(ask):
    assert (await refused(ask, "provider_type", "ses"))["msg"] == "not in this version: it must be smtp"


SEED_A = {"host": "smtp.example.com", "port": 465, "username": "u", "password": "p", "use_tls": True}


async def test_seed_as_words_are_taken_for_seed_ds(ask, registry):
    answer = await ask("POST", HERE, {"name": "a", **SEED_A})
    assert answer.status == 201, answer.body
    assert set(SEED_A).isdisjoint(answer.json)
    [made] = registry.known.values()
    settings = made.settings
    assert (settings.host, settings.port, settings.username) == ("smtp.example.com", 465, "u")
    assert (settings.password, settings.use_tls, settings.use_ssl) == ("p", True, False)
    answer = await ask("PATCH", f"{HERE}{made.id}/", {"use_tls": False, "port": 25})
    [made] = registry.known.values()
    assert (answer.status, made.settings.use_tls, made.settings.port) == (200, False, 25)


@pytest.mark.parametrize("field", SEED_A)
async def test_two_words_for_one_thing_are_refused(ask, registry, field):
    answer = await ask("POST", HERE, {"name": "a", **SEED_A, f"smtp_{field}": SEED_A[field]})
    assert (answer.status, registry.known) == (422, {})
    assert answer.json["errors"][0]["loc"] == ["body", field]


async def test_names_of_integrations_servers_are_refused(ask, registry):
    for method, path, body in (("POST", "", GOOD | {"name": "integration/1"}), ("PUT", "1", {"name": "integration/x"})):
        answer = await ask(method, HERE + path, body)
        assert (answer.status, registry.known) == (422, {})
        [error] = answer.json["errors"]
        assert (error["loc"], "choose another" in error["msg"]) == (["body", "name"], True)


@pytest.mark.parametrize("missing", ["name", "smtp_host"])
async def test_what_must_be_given(ask, missing):
    answer = await ask("POST", HERE, {key: value for key, value in GOOD.items() if key != missing})
    assert (answer.status, answer.json["errors"][0]["loc"]) == (422, ["body", missing])


FIELDS = ("name", "smtp_host", "smtp_username", "smtp_password", "from_email", "from_name", "reply_to", "provider_type")
BREAKS = ("a\r\nBcc: x@example.com", "a\nb", "a\rb", "a\0b", "a\x1bb", "a\u2028b", "a\x85b", "a\ud800b")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [*BREAKS, "=?utf-8?q?a=0d=0aBcc:_x?="], ids=ascii)
async def test_H1_what_would_become_two_lines_is_refused(ask, registry, field, value):
    await refused(ask, field, value)
    assert registry.known == {}


@pytest.mark.parametrize("value", [*BREAKS, "=?utf-8?q?a=0d=0a?=@example.com", "", "a", 'a"b@example.com'], ids=ascii)
async def test_H1_the_address_of_a_test_mail(ask, value):
    id = (await ask("POST", HERE, GOOD)).json["id"]
    await refused(ask, "test_email", value, path=f"{id}/test/")


INSIDE = (
    "127.0.0.1",
    "0x7f.1",
    "localhost",
    "mail.localhost",
    "localhost.",
    "10.1.2.3",
    "192.168.0.1",
    "169.254.169.254",
    "0.0.0.0",
    "0xa9fea9fe",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:a00:1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "fe80::1",
    "fd00:ec2::254",
)


@pytest.mark.parametrize("host", INSIDE)
async def test_H2_a_host_inside_is_refused_however_it_is_spelled(ask, registry, host):
    error = await refused(ask, "smtp_host", host)
    assert "http.allow_private_providers" in error["msg"]
    assert registry.known == {}


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0177.0.0.1", "017700000001", "[::1]", "fe80::1%eth0"])
async def test_H2_spellings_that_are_no_host_are_refused_as_well(ask, host):
    await refused(ask, "smtp_host", host)


async def test_H2_a_provider_does_not_move_inside(ask):
    id = (await ask("POST", HERE, GOOD)).json["id"]
    for method, path in (("PUT", ""), ("PATCH", ""), ("POST", "update_credentials/")):
        await refused(ask, "smtp_host", "10.0.0.1", method=method, path=f"{id}/{path}")


async def test_H2_lifted_by_the_configuration():
    registry = FakeRegistry()
    ask = Client(create_app(parts(registry=registry, allow_private=True)))
    for number, host in enumerate(("127.0.0.1", "localhost", "10.0.0.1", "::1")):
        assert (await ask("POST", HERE, {"name": str(number), "smtp_host": host})).status == 201


async def test_a_name_that_only_looks_inside_passes_here_and_is_judged_when_it_is_dialled(ask):
    assert (await ask("POST", HERE, GOOD | {"smtp_host": "10.0.0.1.example.com"})).status == 201


async def test_null_is_nothing(ask, registry):
    empty = ("smtp_username", "from_email", "from_name", "reply_to", "daily_limit", "monthly_limit")
    answer = await ask("POST", HERE, GOOD | dict.fromkeys(empty))
    assert answer.status == 201
    assert registry.known[answer.json["id"]].settings == ProviderSettings(name="n", host="smtp.example.com")


async def test_a_body_that_is_none(ask):
    for body in (b"", b"{", b"[]", b"null", b'"x"'):
        assert (await ask("POST", HERE, body)).status in (400, 422), body
