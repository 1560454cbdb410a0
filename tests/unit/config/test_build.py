from __future__ import annotations

from typing import Any

import pytest

from relay import model
from relay.config import build, rules
from relay.config.schema import Config


def provider(**given: Any) -> model.Provider:
    (built,) = build.providers(Config.model_validate({"providers": [{"name": "p", **given}]}))
    return built


@pytest.mark.parametrize(
    ("given", "port", "tls"),
    [
        ({"host": "h"}, 587, "starttls"),
        ({"host": "h", "port": 465}, 465, "implicit"),
        ({"host": "h", "port": 465, "tls": "starttls"}, 465, "starttls"),
        ({"host": "h", "tls": "implicit"}, 465, "implicit"),
        ({"host": "h", "port": 25}, 25, "starttls"),
        ({"host": "h", "port": 25, "tls": "opportunistic"}, 25, "opportunistic"),
        ({"host": "h", "use_tls": True}, 587, "starttls"),
        ({"host": "h", "port": 465, "use_tls": True}, 465, "implicit"),
        ({"host": "h", "port": 25, "use_tls": False}, 25, "none"),
        ({"host": "h", "use_tls": "false"}, 587, "none"),
        ({"preset": "mailpit", "use_tls": True}, 1025, "starttls"),
        ({"preset": "gmail", "use_tls": False}, 587, "none"),
        ({"preset": "gmail"}, 587, "starttls"),
        ({"preset": "gmail", "port": 465}, 465, "implicit"),
        ({"preset": "gmail", "tls": "implicit"}, 465, "implicit"),
        ({"preset": "mailpit"}, 1025, "none"),
        ({"preset": "postfix", "port": 587, "tls": "starttls"}, 587, "starttls"),
    ],
)
def test_port_and_tls(given: dict[str, Any], port: int, tls: str) -> None:
    built = provider(**given)
    assert (built.port, built.tls) == (port, model.Tls(tls))


def test_a_preset_fills_in_and_every_field_overrides_it() -> None:
    built = provider(preset="gmail", username="me", password="x")
    assert (built.host, built.preset, built.username, built.password) == ("smtp.gmail.com", "gmail", "me", "x")
    assert built.limits.per_day == 500
    mine = provider(preset="gmail", host="h.example", limits={"per_day": None, "connections": 9})
    assert (mine.host, mine.limits.per_day, mine.limits.connections) == ("h.example", None, 9)
    assert mine.limits.recipients == 100


SETTINGS_A = [("smtp.gmail.com", 587), ("smtp.gmail.com", 465), ("smtp.office365.com", 587), ("mail.example.com", 25)]


@pytest.mark.parametrize(("host", "port"), SETTINGS_A)
def test_settings_as_seed_a_has_them(host: str, port: int) -> None:
    """The five of its two tables, and no name."""
    given = {"host": host, "port": str(port), "username": "u@example.com", "password": "x", "use_tls": "true"}
    config = Config.model_validate({"providers": [given]})
    assert list(rules.check(config)) == []
    [built] = build.providers(config)
    assert (built.name, built.host, built.port, built.username, built.password) == (
        host,
        host,
        port,
        "u@example.com",
        "x",
    )
    assert built.tls == ("implicit" if port == 465 else "starttls")


def test_a_provider_without_a_name_has_its_hosts_or_its_presets() -> None:
    config = Config.model_validate(
        {
            "providers": [{"host": "mail.example.com"}, {"preset": "gmail"}, {"preset": "gmail", "host": "h"}],
            "routes": [{"providers": ["mail.example.com", "gmail", "h"]}],
        }
    )
    assert [one.name for one in build.providers(config)] == ["mail.example.com", "gmail", "h"]
    assert list(rules.check(config)) == []
    long = Config.model_validate({"providers": [{"host": "x" * 60 + "." + "y" * 60}]})
    assert list(rules.check(long)) == [
        (("providers", 0, "host"), "name is missing, and this host is too long to be one"),
    ]


def test_habits_come_with_the_preset() -> None:
    ses = provider(preset="ses", region="eu-central-1")
    assert (ses.host, ses.pipelining) == ("email-smtp.eu-central-1.amazonaws.com", "off")
    assert provider(preset="ses", host="other.example").host == "other.example"
    assert provider(preset="sendgrid", password="x").username == "apikey"
    assert provider(preset="mailpit").auth == "none"
    assert provider(preset="ses", region="x", pipelining="auto").pipelining == "auto"


def test_without_a_preset_nothing_is_limited() -> None:
    built = provider(host="h", active=False, priority=2, weight=3)
    assert built == model.Provider(name="p", host="h", port=587, active=False, priority=2, weight=3)


def test_routes() -> None:
    config = Config.model_validate(
        {
            "providers": [{"name": "p", "host": "h"}],
            "routes": [
                {
                    "match": {"listener": "internal", "client": ["10.0.0.0/8", "::1"], "header": {"X-App": "crm*"}},
                    "providers": ["p"],
                    "rewrite": {"envelope_from": "b@x.example", "reply_to": "keep"},
                },
                {},
            ],
        }
    )
    assert build.routes(config) == (
        model.Route(
            match=model.Match(listener="internal", client=("10.0.0.0/8", "::1/128"), headers=(("x-app", "crm*"),)),
            providers=("p",),
            rewrite=model.Rewrite(envelope_from="b@x.example"),
        ),
        model.Route(),
    )
