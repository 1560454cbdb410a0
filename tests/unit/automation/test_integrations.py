"""Options of the integration smtp against the schemas of the seed, and the provider that they make."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from relay.automation.integrations import KINDS, document, problems, provider_of, schema
from relay.config.presets import PRESETS, preset_of
from relay.model import Tls

SEED = Path(__file__).parents[2] / "seeds" / "e-workflow-run-fan-out.txt"
OPTIONS = {
    "user": "AHDHSYEE7e73",
    "password": "canary-7351",
    "host": "email-smtp.us-east-1.amazonaws.com",
    "port": "587",
    "to": "platform-team@example.com",
    "from": "notifier@example.com",
}
CONTROLS = ["a\r\nBcc: eve@x.example", "a\x00", "a\ud800", "a\u2028b", "=?utf-8?q?a?="]


def said(options: dict[str, Any], kind: str = "registration", **more: bool) -> dict[str, str]:
    found = problems(kind, options, **more)
    assert not any("canary" in problem.text for problem in found)
    assert all(len(problem.place) == 1 for problem in found)
    return {str(problem.place[0]): problem.text for problem in found}


def test_the_schemas_are_those_of_the_seed():
    shown = re.findall(r"^```json\n(.*?)```$", SEED.read_text(), re.S | re.M)
    assert [schema(kind) for kind in KINDS] == [json.loads(each) for each in shown]
    assert [json.loads(document(kind)) for kind in KINDS] == [schema(kind) for kind in KINDS]


def test_what_the_seed_gives_is_right():
    assert said(OPTIONS) == {}
    assert said({"cc": "security@example.com"}, "attachment") == {}
    assert said({}, "attachment") == {}


def test_all_that_is_missing_is_named():
    assert set(said({})) == set(OPTIONS)
    assert said({name: value for name, value in OPTIONS.items() if name != "to"}) == {
        "to": "is missing. The email address to send the email to."
    }


def test_what_it_does_not_know_is_named_with_what_was_meant():
    found = said({**OPTIONS, "form": "x@y.example"})
    there_are = "from, host, password, port, to, user"
    assert found == {"form": f"is no option of the registration, did you mean 'from'?; there are: {there_are}"}
    assert "cc" in said({"c": "x@y.example"}, "attachment")["c"]


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("value", [None, 587, True, [], {}, ["canary"], {"a": "canary"}])
def test_options_are_strings(name, value):
    assert said({**OPTIONS, name: value}) == {name: "must be a string"}


@pytest.mark.parametrize("port", ["", "0", "65536", "587 ", "+587", "0587", "5_87", "٥٨٧", "smtp", "1" * 5000])
def test_a_port_is_a_number_of_a_port(port):
    assert said({**OPTIONS, "port": port}) == {"port": 'must be a number from 1 to 65535, such as "587"'}


def test_a_user_name_is_needed_and_a_password_may_be_anything():
    assert "is empty" in said({**OPTIONS, "user": ""})["user"]
    assert said({**OPTIONS, "password": ""}) == {}
    assert said({**OPTIONS, "password": "pässwörd =? 'x'"}) == {}


@pytest.mark.parametrize("name", [*OPTIONS, "cc"])
@pytest.mark.parametrize("value", CONTROLS)
def test_H1_no_option_becomes_two_lines_or_other_words(name, value):
    kind, options = ("attachment", {}) if name == "cc" else ("registration", OPTIONS)
    assert set(said({**options, name: value}, kind)) == {name}
    assert set(said({**options, name: f"{value}@x.example"}, kind)) == {name}


@pytest.mark.parametrize("name", ["to", "from", "cc"])
@pytest.mark.parametrize(
    "value",
    ["", "nobody", "a@b.example, c@d.example", "Ann <a@b.example>", "<a@b.example>", " a@b.example", "@b.example"],
)
def test_an_address_is_one_alone(name, value):
    kind, options = ("attachment", {}) if name == "cc" else ("registration", OPTIONS)
    assert set(said({**options, name: value}, kind)) == {name}


@pytest.mark.parametrize("host", ["", "smtp://x", "x:25", "a b", "1.2.3", "-x", "x" * 300, "https://x.example/"])
def test_a_host_is_one(host):
    assert set(said({**OPTIONS, "host": host})) == {"host"}


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "10.1.2.3", "192.168.0.9", "169.254.169.254", "0x7f.1", "::1", "fd00::1", "a.localhost"],
)
def test_H2_a_host_around_us_is_for_those_who_allow_it(host):
    assert "http.allow_private_providers" in said({**OPTIONS, "host": host})["host"]
    assert said({**OPTIONS, "host": host}, allow_private=True) == {}


@pytest.mark.parametrize("name", OPTIONS)
def test_H6_options_have_bounds(name):
    assert set(said({**OPTIONS, name: "x" * 100_000})) == {name}


# The provider.


@pytest.mark.parametrize(
    ("host", "port", "tls"),
    [
        ("smtp.example.com", "587", Tls.STARTTLS),
        ("smtp.example.com", "25", Tls.STARTTLS),
        ("smtp.example.com", "465", Tls.IMPLICIT),
        ("localhost", "465", Tls.IMPLICIT),
        ("localhost", "587", Tls.OPPORTUNISTIC),
        ("127.0.0.2", "2525", Tls.OPPORTUNISTIC),
        ("::1", "25", Tls.OPPORTUNISTIC),
    ],
)
def test_how_it_is_encrypted(host, port, tls):
    made = provider_of(7, {**OPTIONS, "host": host, "port": port}, True)
    assert (made.name, made.host, made.port, made.tls) == ("integration/7", host, int(port), tls)


def test_its_server_is_for_its_own_mail_only():
    made = provider_of(7, OPTIONS, False)
    assert (made.username, made.password, made.auth) == ("AHDHSYEE7e73", "canary-7351", "auto")
    assert (made.reserved, made.active, made.public_only) == (True, True, True)
    assert provider_of(7, OPTIONS, True).public_only is False
    assert "canary" not in repr(made)


def test_what_is_known_of_a_server_is_used_but_not_its_quota():
    """That is for an account, of which this relay cannot know who else sends through it."""
    ses = provider_of(1, OPTIONS, False)
    assert (ses.preset, ses.pipelining, ses.limits.recipients) == ("ses", "off", 50)
    gmail = provider_of(1, {**OPTIONS, "host": "SMTP.gmail.com."}, False)
    assert (gmail.preset, gmail.limits.connections, gmail.limits.metered) == ("gmail", 5, False)


def test_presets_are_known_by_their_hosts():
    for name, preset in PRESETS.items():
        if preset.host and preset.host != "127.0.0.1":
            assert preset_of(preset.host.format(region="eu-central-1")) == name
    assert [preset_of(host) for host in ("127.0.0.1", "", "smtp.example.com", "xsmtp.gmail.com")] == ["", "", "", ""]


def test_a_password_that_is_not_there_is_none():
    locked = {name: value for name, value in OPTIONS.items() if name != "password"}
    assert provider_of(7, locked, False).password == ""
