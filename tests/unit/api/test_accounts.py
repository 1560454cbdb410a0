"""Users, tokens and the key over HTTP, through a real server."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest

from relay.events import Changed, LoginFailed
from relay.model import Scope
from tests.desk import NOW
from tests.web import Answer, exchange, request

pytestmark = pytest.mark.asyncio(loop_scope="module")
CANARY = "Canary-5e4d"
CRM = {"name": "crm", "password": f"{CANARY} crm", "scopes": ["send", "queue"]}


@pytest.fixture
def who(api):
    """As if nobody had ever been added."""
    api.accounts.__init__()
    api.events.clear()
    return api


async def login(api, form: dict[str, str] | bytes, kind: str = "application/x-www-form-urlencoded") -> Answer:
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    head = f"POST /token HTTP/1.1\r\nHost: relay.example\r\nConnection: close\r\nContent-Type: {kind}\r\n"
    return await exchange(api.port, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


def bearer(answer: Answer) -> dict[str, str]:
    return {"Authorization": f"Bearer {answer.json['access_token']}"}


GOOD = {"username": "crm", "password": CRM["password"]}


async def test_a_user_is_added_listed_and_removed(who):
    added = await request(who.control, "/v1/users", CRM)
    assert (added.status, added.json) == (
        201,
        {"name": "crm", "scopes": ["queue", "send"], "origin": "api", "created_at": "2026-11-18T11:06:40.000Z"},
    )
    listed = await request(who.control, "/v1/users")
    assert listed.json == {"data": [added.json], "has_more": False}
    assert CANARY not in (added.body + listed.body).decode()
    gone = await request(who.control, "/v1/users/crm", method="DELETE")
    assert (gone.status, gone.body) == (204, b"")
    assert (await request(who.control, "/v1/users")).json["data"] == []
    assert who.events == [
        Changed(who="control", what="user added", target="crm"),
        Changed(who="control", what="user removed", target="crm"),
    ]


async def test_a_name_is_given_once_and_of_the_file_is_not_ours_to_remove(who):
    who.accounts.__init__({"filed": "open sesame"})
    assert (await request(who.control, "/v1/users", CRM)).status == 201
    again = await request(who.control, "/v1/users", CRM)
    assert (again.status, "'crm'" in again.json["detail"]) == (409, True)
    filed = await request(who.control, "/v1/users/filed", method="DELETE")
    assert (filed.status, "configuration file" in filed.json["detail"]) == (409, True)
    assert (await request(who.control, "/v1/users/nobody", method="DELETE")).status == 404
    assert [event.what for event in who.events] == ["user added"]


@pytest.mark.parametrize(
    ("target", "wrong", "field"),
    [
        ("/v1/users", {"name": ""}, "name"),
        ("/v1/users", {"name": "x" * 101}, "name"),
        ("/v1/users", {"name": "a\r\nb"}, "name"),
        ("/v1/users", {"name": "a\u2028b"}, "name"),
        ("/v1/users", {"name": "\u0000"}, "name"),
        ("/v1/users", {"name": "\ud800"}, "name"),
        ("/v1/users", {"name": " a"}, "name"),
        ("/v1/users", {"name": 5}, "name"),
        ("/v1/users", {"password": ""}, "password"),
        ("/v1/users", {"password": "\u00e9" * 513}, "password"),
        ("/v1/users", {"password": CANARY * 1000}, "password"),
        ("/v1/users", {"password": None}, "password"),
        ("/v1/users", {"scopes": []}, "scopes"),
        ("/v1/users", {"scopes": ["everything"]}, "scopes"),
        ("/v1/users", {"scopes": "send"}, "scopes"),
        ("/v1/users", {"role": CANARY}, "role"),
        ("/v1/tokens", {"name": "x" * 101}, "name"),
        ("/v1/tokens", {"name": "a\nb"}, "name"),
        ("/v1/tokens", {"name": "17"}, "name"),
        ("/v1/tokens", {"scopes": []}, "scopes"),
        ("/v1/tokens", {"scopes": ["root"]}, "scopes"),
        ("/v1/tokens", {"expires": "soon"}, "expires"),
        ("/v1/tokens", {"expires": "0s"}, "expires"),
        ("/v1/tokens", {"expires": "-1d"}, "expires"),
        ("/v1/tokens", {"expires": "9999999999999999d"}, "expires"),
        ("/v1/tokens", {"expires": "9" * 1000}, "expires"),
        ("/v1/tokens", {"expires": 30}, "expires"),
        ("/v1/tokens", {"secret": CANARY}, "secret"),
    ],
)
async def test_H1_H8_what_is_wrong_is_422_with_its_place_and_without_its_value(who, target, wrong, field):
    usual = CRM if target == "/v1/users" else {"name": "ci", "scopes": ["send"]}
    answer = await request(who.control, target, usual | wrong)
    assert answer.status == 422
    assert any(field in error["loc"] for error in answer.json["errors"])
    assert CANARY not in answer.body.decode()
    assert who.events == []
    assert who.accounts.nobody()


async def test_a_token_is_shown_once_and_ends_by_name_or_id(who):
    made = await request(who.control, "/v1/tokens", {"name": "ci/eu", "scopes": ["send"], "expires": "30d"})
    assert (made.status, made.headers["cache-control"]) == (201, "no-store")
    assert made.json == {
        "id": 1,
        "name": "ci/eu",
        "scopes": ["send"],
        "created_at": "2026-11-18T11:06:40.000Z",
        "expires_at": "2026-12-18T11:06:40.000Z",
        "expired": False,
        "token": "secret-1",
    }
    unnamed = await request(who.control, "/v1/tokens", {})
    assert (unnamed.json["name"], unnamed.json["expires_at"]) == ("token-1", None)
    assert unnamed.json["scopes"] == ["providers", "queue", "send"]
    assert (await request(who.control, "/v1/tokens", {"name": "ci/eu", "scopes": ["send"]})).status == 409
    listed = await request(who.control, "/v1/tokens")
    assert [row["name"] for row in listed.json["data"]] == ["ci/eu", "token-1"]
    assert b"secret-" not in listed.body
    assert (await request(who.control, "/v1/tokens/ci%2Feu", method="DELETE")).status == 204
    assert (await request(who.control, "/v1/tokens/2", method="DELETE")).status == 204
    assert (await request(who.control, "/v1/tokens/2", method="DELETE")).status == 404
    assert [(event.what, event.target) for event in who.events] == [
        ("token created", "ci/eu"),
        ("token created", "token-1"),
        ("token revoked", "ci/eu"),
        ("token revoked", "token-1"),
    ]


async def test_lists_come_in_pages(who):
    for name in ("a", "b", "c"):
        await who.accounts.add_user(name, b"open sesame", [Scope.SEND], NOW)
        await who.accounts.issue(name, [Scope.SEND], NOW)
    first = (await request(who.control, "/v1/users?limit=2")).json
    assert ([row["name"] for row in first["data"]], first["has_more"]) == (["a", "b"], True)
    rest = (await request(who.control, "/v1/users?limit=2&after=b")).json
    assert ([row["name"] for row in rest["data"]], rest["has_more"]) == (["c"], False)
    assert [row["id"] for row in (await request(who.control, "/v1/tokens?limit=2&after=1")).json["data"]] == [2, 3]
    assert (await request(who.control, "/v1/tokens?after=x")).status == 422


async def test_a_new_key_says_how_many_secrets_it_has(who):
    done = await request(who.control, "/v1/key/rotate", method="POST")
    assert (done.status, done.json) == (200, {"rotated": 0})
    assert who.registry.rotated == 1
    assert who.events == [Changed(who="control", what="key rotated", target="")]


async def test_H5_users_tokens_and_the_key_need_the_scope_admin(who):
    _, secret = await who.accounts.issue("ci", [Scope.SEND, Scope.QUEUE, Scope.PROVIDERS], NOW)
    _, admin = await who.accounts.issue("root", [Scope.ADMIN], NOW)
    asked = [("GET", "/v1/users"), ("POST", "/v1/users"), ("DELETE", "/v1/users/x"), ("GET", "/v1/tokens")]
    asked += [("POST", "/v1/tokens"), ("DELETE", "/v1/tokens/ci"), ("POST", "/v1/key/rotate")]
    for method, target in asked:
        content = CRM if target == "/v1/users" else {}
        given = content if method == "POST" else None
        refused = await request(who.port, target, given, method=method, Authorization=f"Bearer {secret}")
        assert (refused.status, "scope admin" in refused.json["detail"]) == (403, True)
    assert who.events == []
    made = await request(who.port, "/v1/users", CRM, Authorization=f"Bearer {admin}")
    assert made.status == 201
    assert who.events == [Changed(who="root", what="user added", target="crm")]


# POST /token


async def test_a_password_gives_a_token_for_an_hour(who):
    await request(who.control, "/v1/users", CRM)
    given = await login(who, GOOD)
    assert (given.status, given.headers["cache-control"]) == (200, "no-store")
    assert given.json == {"access_token": "secret-1", "token_type": "bearer", "expires_in": 3600}
    assert who.accounts.secrets["secret-1"].expires_at == NOW + 3600
    assert (await login(who, GOOD | {"grant_type": "password"})).status == 200
    assert (await login(who, GOOD | {"client_id": "app", "client_secret": "x"})).status == 200
    assert (await request(who.port, "/v1/messages", **bearer(given))).status == 200
    assert (await request(who.port, "/v1/tokens", **bearer(given))).status == 403
    assert (await request(who.port, "/v1/messages")).status == 401


async def test_a_token_may_have_less_than_its_user_and_never_more(who):
    await request(who.control, "/v1/users", CRM)
    less = await login(who, GOOD | {"scope": "queue admin unknown"})
    assert (less.status, less.json["scope"]) == (200, "queue")
    assert (await request(who.port, "/v1/users", **bearer(less))).status == 403
    none = await login(who, GOOD | {"scope": "admin"})
    assert (none.status, none.json["error"], none.json["status"]) == (400, "invalid_scope", 400)
    await who.accounts.add_user("boss", b"open sesame", [Scope.ADMIN], NOW)
    boss = {"username": "boss", "password": "open sesame"}
    assert (await login(who, boss | {"scope": "send"})).json["scope"] == "send"
    assert (await request(who.port, "/v1/users", **bearer(await login(who, boss)))).status == 200


@pytest.mark.parametrize("wrong", [{"password": CANARY}, {"username": "nobody"}, {"username": "a\r\nb\x1b"}])
async def test_H5_a_wrong_password_is_401_with_what_oauth_clients_look_at(who, wrong):
    await request(who.control, "/v1/users", CRM)
    who.events.clear()
    refused = await login(who, GOOD | wrong)
    assert (refused.status, refused.headers["content-type"]) == (401, "application/problem+json")
    assert (refused.json["error"], refused.headers["www-authenticate"]) == ("invalid_grant", "Bearer")
    assert (refused.json["status"], refused.json["instance"]) == (401, "/token")
    assert CANARY not in refused.body.decode()
    assert who.events == [LoginFailed(client="127.0.0.1", user=wrong.get("username", "crm"))]


async def test_while_there_is_no_user_it_says_how_to_add_one(who):
    refused = await login(who, GOOD)
    assert (refused.status, "relay user add" in refused.json["detail"]) == (401, True)


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"username": "crm"}, 422),
        ({"password": "x"}, 422),
        ({}, 422),
        (GOOD | {"username": "x" * 101}, 422),
        (GOOD | {"password": CANARY * 1000}, 422),
        (GOOD | {"grant_type": "client_credentials"}, 400),
        (GOOD | {"otp": CANARY}, 200),
        (b"%ff%fe=%00&&&=", 422),
        (b"username=%ff&password=%00", 401),
        (json.dumps(GOOD).encode(), 422),
        (b"x" * 100_000, 413),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_H6_forms_that_are_none(who, form, status):
    await request(who.control, "/v1/users", CRM)
    answer = await login(who, form)
    assert answer.status == status
    assert status == 200 or answer.headers["content-type"] == "application/problem+json"
    assert CANARY not in answer.body.decode()


async def test_who_was_wrong_too_often_is_told_when_to_come_back(who):
    await request(who.control, "/v1/users", CRM)

    who.accounts.busy = 3.2
    refused = await login(who, GOOD)
    assert (refused.status, refused.headers["retry-after"]) == (429, "4")
    assert "come back" in refused.json["detail"]
