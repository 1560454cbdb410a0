"""GET /v1/presets: all that the relay knows of providers, as data, and one of them by its name."""

from __future__ import annotations

import pytest

from relay.api.app import create_app
from relay.config.presets import PRESETS
from tests.asgi import Client
from tests.parts import parts


@pytest.fixture(scope="module")
def ask() -> Client:
    return Client(create_app(parts()))


async def test_all_presets_with_what_people_need_to_know(ask: Client) -> None:
    answer = await ask("GET", "/v1/presets")
    assert (answer.status, answer.json["has_more"]) == (200, False)
    assert [one["name"] for one in answer.json["data"]] == list(PRESETS)
    assert all(one["title"] and one["note"] for one in answer.json["data"])


async def test_one_preset(ask: Client) -> None:
    gmail = (await ask("GET", "/v1/presets/gmail")).json
    assert "app password" in gmail.pop("note")
    limits = {"connections": 5, "recipients": 100, "per_minute": None, "per_day": 500, "per_month": None}
    assert gmail == {
        "name": "gmail",
        "title": "Gmail",
        "host": "smtp.gmail.com",
        "port": 587,
        "tls": "starttls",
        "username": "",
        "auth": "auto",
        "pipelining": "auto",
        "limits": limits | {"count": "recipients"},
        "regional": False,
    }
    ses = (await ask("GET", "/v1/presets/ses")).json
    assert (ses["regional"], ses["host"]) == (True, "email-smtp.{region}.amazonaws.com")


@pytest.mark.parametrize(("name", "said"), [("gmial", "did you mean 'gmail'?"), ("%0d%0aX", "of this name")])
async def test_an_unknown_preset(ask: Client, name: str, said: str) -> None:
    answer = await ask("GET", f"/v1/presets/{name}")
    assert (answer.status, answer.json["detail"].endswith(said)) == (404, True)


async def test_a_name_that_is_too_long(ask: Client) -> None:
    assert (await ask("GET", "/v1/presets/" + "x" * 101)).status == 422
