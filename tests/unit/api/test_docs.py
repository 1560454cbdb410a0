"""The page for people: whole, and from nowhere else."""

from __future__ import annotations

import re

import pytest

from relay.api.app import create_app
from tests.asgi import Client
from tests.parts import parts

ASK = Client(create_app(parts()))


async def test_the_page_loads_what_is_served_and_nothing_from_elsewhere():
    page = await ASK("GET", "/docs")
    assert page.headers["content-type"].startswith("text/html")
    named = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
    assert sorted(named) == ["docs/start.js", "docs/swagger-ui-bundle.js", "docs/swagger-ui.css"]
    for name in named:
        assert len((await ASK("GET", f"/{name}")).body) > 50
    assert "http" not in page.body.decode()


@pytest.mark.parametrize("path", ["/docs", "/docs/start.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"])
async def test_a_browser_is_told_to_run_only_what_comes_from_here(path: str):
    answer = await ASK("GET", path)
    policy = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"


async def test_the_script_asks_for_the_description():
    assert b'url: "openapi.json"' in (await ASK("GET", "/docs/start.js")).body
    assert (await ASK("GET", "/openapi.json")).json["info"]["title"] == "smtp-relay"
