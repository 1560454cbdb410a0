from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay.config.load import ConfigError, Loaded, load
from relay.config.schema import Config

FILE = """\
providers:
  - {name: a, host: a.example, username: u, password: from-file, port: 25}
  - {name: b, host: b.example}
identities:
  Invoices: {address: a@b.example}
http: null
"""


def loaded(folder: Path, **environ: str) -> Loaded:
    (folder / "relay.yaml").write_text(FILE)
    return load(folder / "relay.yaml", {f"RELAY_{name}": value for name, value in environ.items()})


def problems(folder: Path, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, **environ)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "password",
    ["12345", "0x1f", "null", "~", "yes", "[a", "{a: b}", "a: b #c", "'q'", " p ", "${X}", "$$", "*a", "!b", ""],
)
def test_a_password_is_taken_as_it_is(tmp_path: Path, password: str) -> None:
    config = loaded(tmp_path, PROVIDERS__1__PASSWORD=password, PROVIDERS__1__AUTH="none").config
    assert config.providers[1].secret == password


@pytest.mark.parametrize(
    ("name", "value", "read", "wanted"),
    [
        ("HOSTNAME", "mx.example", lambda c: c.hostname, "mx.example"),
        ("PROVIDERS__0__PORT", "2587", lambda c: c.providers[0].port, 2587),
        ("PROVIDERS__0__PORT", "null", lambda c: c.providers[0].port, None),
        ("PROVIDERS__0__ACTIVE", "off", lambda c: c.providers[0].active, False),
        ("PROVIDERS__0__LIMITS", "{per_day: 5}", lambda c: c.providers[0].limits.per_day, 5),
        ("PROVIDERS__1__LIMITS__PER_DAY", "7", lambda c: c.providers[1].limits.per_day, 7),
        ("PROVIDERS__2", "{name: c, preset: mailpit}", lambda c: c.providers[2].preset, "mailpit"),
        ("PROVIDERS", "- name: only\n  host: o.example", lambda c: [p.name for p in c.providers], ["only"]),
        ("PROVIDERS", "[]", lambda c: c.providers, ()),
        ("ROUTES__0__PROVIDERS", "a", lambda c: c.routes[0].providers, ("a",)),
        ("ROUTES__0__PROVIDERS", "[a, b]", lambda c: c.routes[0].providers, ("a", "b")),
        ("ROUTES__0__PROVIDERS__0", "b", lambda c: c.routes[0].providers, ("b",)),
        ("ROUTES__0__MATCH__CLIENT", "::1", lambda c: str(c.routes[0].match.client[0]), "::1/128"),
        ("IDENTITIES__INVOICES__NAME", "Bill", lambda c: c.identities["Invoices"].name, "Bill"),
        ("IDENTITIES__OTHER__ADDRESS", "o@b.example", lambda c: c.identities["other"].address, "o@b.example"),
        ("HTTP__DASHBOARD", "false", lambda c: c.http.dashboard, False),
        ("BOUNCES__FROM", "b@b.example", lambda c: c.bounces.from_, "b@b.example"),
        ("RETRY", "{max: 2h}", lambda c: c.retry.max, 7200),
        (
            "LISTENERS__0__MAX_RECIPIENTS",
            "9",
            lambda c: (c.listeners[0].name, c.listeners[0].max_recipients),
            ("internal", 9),
        ),
    ],
)
def test_settings(tmp_path: Path, name: str, value: str, read: Any, wanted: object) -> None:
    result = loaded(tmp_path, **{name: value})
    assert read(result.config) == wanted
    assert result.warnings == ()


def test_the_file_keeps_what_the_environment_does_not_name(tmp_path: Path) -> None:
    provider = loaded(tmp_path, PROVIDERS__0__PASSWORD="from-env").config.providers[0]
    assert (provider.secret, provider.username, provider.port) == ("from-env", "u", 25)


def test_parts_come_after_the_whole_and_in_numeric_order(tmp_path: Path) -> None:
    more = {f"PROVIDERS__{n}": f"{{name: p{n}, host: h.example}}" for n in range(12)}
    config = loaded(tmp_path, **more, PROVIDERS__11__PORT="26", PROVIDERS="[]").config
    assert [provider.name for provider in config.providers] == [f"p{n}" for n in range(12)]
    assert config.providers[11].port == 26


def test_unknown_variables_only_warn(tmp_path: Path) -> None:
    kubernetes = {"PORT": "tcp://10.0.0.1:25", "SERVICE_HOST": "10.0.0.1", "PORT_2525_TCP_ADDR": "10.0.0.1"}
    odd = {"LISTNERS__0__NAME": "x", "PROVIDERS__0__PASWORD": "x", "PROVIDERS__X": "x", "": "x", "HTTP__": "x"}
    result = loaded(tmp_path, **kubernetes, **odd, CONFIG="x", TOKEN="x")
    assert result.config == loaded(tmp_path).config
    assert sorted(warning.split()[0] for warning in result.warnings) == sorted(
        f"RELAY_{name}" for name in (*kubernetes, *odd)
    )
    assert (
        "RELAY_PROVIDERS__0__PASWORD is not a setting and is ignored, did you mean RELAY_PROVIDERS__0__PASSWORD?"
        in (result.warnings)
    )
    assert "RELAY_LISTNERS__0__NAME is not a setting and is ignored, did you mean RELAY_LISTENERS?" in result.warnings


def test_problems_name_the_variable_and_not_its_value(tmp_path: Path) -> None:
    assert problems(
        tmp_path,
        PROVIDERS__0__PORT="hunter2",
        PROVIDERS__0__TLS="hunter2",
        PROVIDERS__9__NAME="hunter2",
        RETRY="{first: hunter2}",
        LOG="{level: hunter2",
    ) == [
        "RELAY_LOG:2:1: a bracket or brace is not closed, or a comma is missing",
        "RELAY_PROVIDERS__0__PORT: port: must be a whole number",
        "RELAY_PROVIDERS__0__TLS: tls: must be none, opportunistic, starttls or implicit",
        "RELAY_PROVIDERS__9__NAME: there is no such place: entries are numbered from 0 without gaps",
        "RELAY_RETRY: first: must be a duration such as 30s, 10m, 4h or 5d",
    ]


def test_the_built_in_defaults_can_be_overridden() -> None:
    environ = {
        "RELAY_LISTENERS__0__LISTEN": "127.0.0.1:2626",
        "RELAY_LISTENERS__1": "{name: b, listen: 127.0.0.1:2627}",
    }
    config = load(None, environ).config
    assert [(x.name, x.listen.port) for x in config.listeners] == [("internal", 2626), ("b", 2627)]
    assert load(None, {}).config == Config()
