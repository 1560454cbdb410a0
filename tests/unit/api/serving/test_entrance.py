"""Who comes in over TCP: while nobody has a token, and when somebody has."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from relay.api.callers import CONTROL, LOOPBACK, Caller
from relay.api.serving.entrance import Control, Entrance, doors, stranger
from relay.events import LoginFailed
from relay.model import Scope
from tests.desk import NOW
from tests.parts import parts
from tests.registry import FakeAccounts

JSON = {"content-type": "application/json", "content-length": "2"}


def asked(path: str = "/v1/messages", method: str = "GET", client: str | None = "127.0.0.1", **headers: Any) -> dict:
    """`headers`: names with underscores; a list is sent as several, None not at all."""
    given = {"host": "localhost:8025", **{name.replace("_", "-"): value for name, value in headers.items()}}
    pairs = [(n, one) for n, value in given.items() for one in (value if isinstance(value, list) else [value])]
    raw = [(n.encode(), v if isinstance(v, bytes) else v.encode()) for n, v in pairs if v is not None]
    where = (client, 50000) if client else None
    return {"type": "http", "path": path, "method": method, "headers": raw, "client": where}


class Inside:
    """The application: notes who came, answers 200."""

    def __init__(self) -> None:
        self.callers: list[Caller | None] = []

    async def __call__(self, scope, receive, send) -> None:
        self.callers.append(scope.get("caller"))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


class Rig:
    def __init__(self, accounts: FakeAccounts | None = None) -> None:
        self.inside, self.events, self.accounts = Inside(), [], accounts or FakeAccounts()
        made = parts(accounts=self.accounts, observe=self.events.append)
        self.outside, self.control = doors(self.inside, made)
        assert isinstance(self.outside, Entrance)
        assert isinstance(self.control, Control)

    async def ask(self, scope: dict, door: Any = None) -> tuple[int, dict[str, str], Any]:
        sent: list[Any] = []

        async def receive() -> Any:
            raise AssertionError("the body is not read before it is known who asks")

        async def send(message: Any) -> None:
            sent.append(message)

        await (door or self.outside)(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], headers, json.loads(sent[1]["body"])


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/token"])
async def test_what_is_open_to_everybody(path):
    accounts = FakeAccounts()
    rig = Rig(accounts)
    assert (await rig.ask(asked(path, client="192.0.2.1", x_forwarded_for="1.2.3.4")))[0] == 200
    await accounts.issue("ci", [Scope.SEND], NOW)
    assert (await rig.ask(asked(path, client="192.0.2.1")))[0] == 200
    assert rig.inside.callers == [None, None]


@pytest.mark.parametrize("path", ["/healthz/", "//healthz", "/metrics/x", "/token/", "/Token", "/v1/../token"])
async def test_H14_nothing_else_is(path):
    rig = Rig()
    assert (await rig.ask(asked(path, client="192.0.2.1")))[0] == 403
    await rig.accounts.issue("ci", [Scope.SEND], NOW)
    assert (await rig.ask(asked(path)))[0] == 401
    assert rig.inside.callers == []


async def test_the_control_socket_is_admin_whoever_exists():
    rig = Rig(FakeAccounts({"crm": "open sesame"}))
    assert (await rig.ask(asked(client=None), rig.control))[0] == 200
    assert rig.inside.callers == [CONTROL]


# While nobody has a token (H14).

WELCOME = [
    {},
    {"client": "::1", "host": "[::1]:8025"},
    {"client": "::ffff:127.0.0.1"},
    {"client": "127.8.9.10"},
    {"host": "127.0.0.1"},
    {"host": "LOCALHOST"},
    {"host": "Relay.Test:8025"},
    {"host": "[::1]"},
    {"origin": "http://localhost:8025"},
    {"origin": "http://LocalHost", "host": "localhost"},
    {"origin": "http://localhost:80", "host": "localhost"},
    {"method": "POST", **JSON},
    {"method": "POST", "content-length": "0"},
    {"method": "POST"},
    {"method": "DELETE", "path": "/v1/users/crm"},
    {"method": "POST", **JSON, "content-type": "Application/JSON; charset=utf-8"},
    {"method": "POST", **JSON, "content-type": "message/rfc822", "path": "/v1/messages/raw"},
    {"method": "POST", **JSON, "path": "/v1/workflows"},
    {"method": "POST", **JSON, "content-type": "application/yaml", "path": "/v1/workflows"},
    {"method": "PUT", **JSON, "content-type": "application/yaml; charset=utf-8", "path": "/v1/workflows/welcome"},
    {"method": "GET", "content-type": "text/plain"},
    {"authorization": "Bearer of-nobody"},
    {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"},
    {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "path": "/docs"},
]
REBINDING = [
    {"host": "evil.example"},
    {"host": "evil.example:8025"},
    {"host": "localhost.evil.example"},
    {"host": "localhost@evil.example"},
    {"host": "127.0.0.1.evil.example:8025"},
    {"host": "192.168.0.1"},
    {"host": "0.0.0.0"},
    {"host": "2130706433"},
    {"host": "127.1"},
    {"host": "localhost:"},
    {"host": "localhost:80x"},
    {"host": "[::1"},
    {"host": ""},
    {"host": None},
    {"host": ["localhost", "localhost"]},
    {"host": b"localhost\xff"},
]
PAGES = [
    {"origin": "http://evil.example"},
    {"origin": "https://localhost:8025"},
    {"origin": "http://localhost:3000"},
    {"origin": "http://127.0.0.1:8025"},
    {"origin": "null"},
    {"origin": "file://"},
    {"origin": ""},
    {"origin": ["http://localhost:8025", "http://evil.example"]},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
    {"sec-fetch-site": "cross-site"},
    {"method": "POST", "content-length": "2"},
    {"method": "POST", "content-length": "2", "content-type": "text/plain"},
    {"method": "POST", "content-length": "2", "content-type": "application/x-www-form-urlencoded"},
    {"method": "POST", "content-length": "2", "content-type": "multipart/form-data; boundary=x"},
    {"method": "POST", "content-length": "2", "content-type": "text/plain; application/json"},
    {"method": "POST", "content-length": "2", "content-type": ["application/json", "text/plain"]},
    {"method": "POST", "content-length": "2", "content-type": "message/rfc822"},
    {"method": "POST", "transfer-encoding": "chunked"},
    {"method": "POST", "content-length": "0", "content-type": "application/x-www-form-urlencoded"},
    {"method": "GET", "transfer-encoding": "chunked"},
    {"method": "POST", **JSON, "path": "/v1/messages/raw"},
    {"method": "POST", **JSON, "content-type": "application/yaml", "path": "/v1/events"},
    {"method": "POST", **JSON, "content-type": "application/yaml", "path": "/v1/workflowsx"},
    {"method": "POST", **JSON, "content-type": "text/yaml", "path": "/v1/workflows"},
    {"method": "POST", **JSON, "content-type": "text/plain; application/yaml", "path": "/v1/workflows"},
]
PROXIES = [
    {"x-forwarded-for": "127.0.0.1"},
    {"x-forwarded-host": "localhost"},
    {"x-forwarded-proto": "http"},
    {"x-real-ip": "127.0.0.1"},
    {"forwarded": "for=127.0.0.1"},
    {"via": "1.1 proxy"},
    {"x-forwarded-for": ""},
]
ELSEWHERE = [{"client": "192.0.2.1"}, {"client": "10.0.0.1"}, {"client": "::ffff:10.0.0.1"}, {"client": None}]


@pytest.mark.parametrize("given", WELCOME, ids=str)
async def test_programs_on_this_machine_come_in(given):
    rig = Rig()
    assert (await rig.ask(asked(**given)))[0] == 200
    assert rig.inside.callers == [LOOPBACK]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        *((given, "Host") for given in REBINDING),
        *((given, "origin" if given.keys() & {"origin", "sec-fetch-site"} else "Content-Type") for given in PAGES),
        *((given, "proxy") for given in PROXIES),
        *((given, "on another") for given in ELSEWHERE),
    ],
    ids=str,
)
async def test_H14_rebinding_pages_proxies_and_other_machines_do_not(given, why):
    rig = Rig()
    status, headers, document = await rig.ask(asked(**given))
    assert (status, headers["content-type"]) == (403, "application/problem+json")
    assert why in document["detail"]
    assert "relay token create" in document["detail"]
    assert rig.inside.callers == []


def test_H14_no_header_makes_a_remote_client_local():
    assert stranger(asked(client="192.0.2.1", host="127.0.0.1", origin="http://127.0.0.1"), "relay.test")


# When somebody has one.


async def test_H5_a_token_is_its_owner_with_its_scopes():
    rig = Rig()
    token, secret = await rig.accounts.issue("ci", [Scope.SEND], NOW, seconds=60)
    await rig.accounts.add_user("ann", b"open sesame", [Scope.QUEUE], NOW)
    _, session = await rig.accounts.issue("ann", [Scope.QUEUE], NOW, user="ann", seconds=60)
    for given in (f"Bearer {secret}", f"bearer  {secret}", f"BEARER {session}"):
        scope = asked(client="192.0.2.1", host="evil.example", authorization=given, via="1.1 proxy")
        assert (await rig.ask(scope))[0] == 200
    ci = Caller(name="ci", key=f"token:{token.id}", scopes=frozenset({Scope.SEND}))
    assert rig.inside.callers == [ci, ci, Caller(name="ann", key="user:ann", scopes=frozenset({Scope.QUEUE}))]
    assert rig.events == []


@pytest.mark.parametrize(
    "given",
    [
        "Bearer wrong",
        "Bearer",
        "Bearer ",
        "",
        "secret-1",
        "Basic c2VjcmV0LTE6",
        "Digest secret-1",
        "Bearer secret-1 secret-1",
        "Bearer\tsecret-1",
        "Bearer,secret-1",
        b"Bearer secret-1\xff",
        "Bearer \u00e9",
        "Bearer secret-1" + "x" * 10_000,
        "Bearer secret-1" + " " * 10_000,
        ["Bearer secret-1", "Bearer secret-1"],
        ["Bearer secret-1", "Basic c2VjcmV0LTE6"],
    ],
    ids=lambda given: str(given)[:40],
)
async def test_H5_whatever_else_is_sent_is_401_and_told(given):
    rig = Rig()
    await rig.accounts.issue("ci", [Scope.ADMIN], NOW)
    status, headers, document = await rig.ask(asked(authorization=given, client="192.0.2.1"))
    assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert headers["content-type"] == "application/problem+json"
    assert "relay token create" in document["detail"]
    assert rig.inside.callers == []
    assert rig.events == [LoginFailed(client="192.0.2.1", user="")]


async def test_H5_expired_and_revoked_tokens_are_401():
    rig = Rig()
    token, secret = await rig.accounts.issue("ci", [Scope.SEND], NOW - 60, seconds=60)
    await rig.accounts.issue("other", [Scope.SEND], NOW)
    assert (await rig.ask(asked(authorization=f"Bearer {secret}")))[0] == 401
    _, lasting = await rig.accounts.issue("cd", [Scope.SEND], NOW)
    assert (await rig.ask(asked(authorization=f"Bearer {lasting}")))[0] == 200
    await rig.accounts.revoke(3)
    assert (await rig.ask(asked(authorization=f"Bearer {lasting}")))[0] == 401
    assert token.expires_at == NOW


async def test_a_client_is_the_same_by_ipv4_and_by_ipv6():
    rig = Rig(FakeAccounts({"crm": "open sesame"}))
    await rig.ask(asked(authorization="Bearer wrong", client="::ffff:192.0.2.1"))
    assert rig.events == [LoginFailed(client="192.0.2.1", user="")]


async def test_without_a_token_it_is_401_and_nobody_is_told():
    rig = Rig(FakeAccounts({"crm": "open sesame"}))
    status, headers, document = await rig.ask(asked())
    assert (status, headers["www-authenticate"], document["title"]) == (401, "Bearer", "Unauthorized")
    assert rig.events == []


async def test_seed_c_has_its_own_body():
    rig = Rig(FakeAccounts({"crm": "open sesame"}))
    status, headers, document = await rig.ask(asked("/smtp/send-email", "POST", **JSON))
    assert (status, headers["content-type"], set(document)) == (401, "application/json", {"detail"})


async def test_the_first_token_closes_the_door_at_once_and_the_last_opens_it():
    rig = Rig()
    for make, status in ((True, 401), (False, 200)):
        if make:
            await rig.accounts.issue("ci", [Scope.ADMIN], NOW)
        else:
            await rig.accounts.revoke(1)
        assert (await rig.ask(asked()))[0] == status


async def test_many_at_once_are_told_apart():
    rig = Rig()
    secrets = [(await rig.accounts.issue(f"t{n}", [Scope.SEND], NOW))[1] for n in range(20)]
    await asyncio.gather(*(rig.ask(asked(authorization=f"Bearer {secret}")) for secret in secrets))
    assert sorted(caller.name for caller in rig.inside.callers) == sorted(f"t{n}" for n in range(20))
