from __future__ import annotations

import pytest

from relay.config import build, rules
from relay.config.presets import PRESETS
from relay.config.schema import Config

NAMES = [
    "gmail",
    "google-workspace-relay",
    "office365",
    "outlook",
    "yahoo",
    "ses",
    "sendgrid",
    "mailgun",
    "postmark",
    "sparkpost",
    "brevo",
    "mailjet",
    "smtp2go",
    "resend",
    "zoho",
    "fastmail",
    "icloud",
    "gmx",
    "ovh",
    "ionos",
    "postfix",
    "mailpit",
    "custom",
]


def test_there_is_one_for_every_provider_we_know() -> None:
    assert list(PRESETS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_needs_little_more_than_credentials(name: str) -> None:
    given = {"name": "p", "preset": name, "password": "x", "username": "u"}
    given |= {"ses": {"region": "eu-west-1"}, "custom": {"host": "mail.example.com"}}.get(name, {})
    config = Config.model_validate({"providers": [given]})
    assert list(rules.check(config)) == []
    (built,) = build.providers(config)
    assert built.host and built.port and PRESETS[name].note and PRESETS[name].title


def test_only_this_machine_is_spoken_to_without_tls() -> None:
    assert {preset.host for preset in PRESETS.values() if preset.tls == "none"} == {"127.0.0.1"}
