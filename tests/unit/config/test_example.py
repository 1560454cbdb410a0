from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from relay.config.example import example, settings
from relay.config.load import load
from relay.config.schema import Config, json_schema

FILE = Path(__file__).parents[3] / "config.example.yaml"


def test_the_file_is_what_the_schema_says() -> None:
    assert FILE.read_text() == example(), "write it anew: python -m relay.config.example > config.example.yaml"


def test_the_built_in_defaults_are_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "relay.yaml"
    path.write_text(example())
    assert load(path, {}).config == load(None, {}).config


def test_what_is_commented_out_works_when_it_is_not(tmp_path: Path) -> None:
    path = tmp_path / "relay.yaml"
    head, rest = example().split("\n\n", 1)
    path.write_text(re.sub(r"^# (?=\s*[a-z_]+:|  +- |  +# )", "", rest, flags=re.M))
    config = load(path, {"GMAIL_APP_PASSWORD": "a", "CRM_PASSWORD": "b"}).config
    assert head.startswith("# The relay's configuration.")
    assert (config.hostname, config.users[0].name, config.providers[0].preset) == ("relay.internal", "crm", "gmail")
    assert config.providers[0].limits.per_day == 500
    assert config.routes[0].rewrite is not None
    assert config.identities["invoices"].name == "Billing"
    assert config.workflows[0].event == "user.created"
    assert config.workflows[0].actions[0].data.to == ("{{ user.email }}",)


def test_every_setting_is_explained_and_shown() -> None:
    text = example()
    for name, field in settings():
        assert field.description, name
        assert re.search(rf"^[# -]*{re.split(r'[.]', name)[-1]}:", text, re.M), name


def test_no_line_is_too_long() -> None:
    assert max(map(len, example().splitlines())) <= 120


def test_json_schema_is_plain_data_and_strict() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["$schema"].startswith("https://json-schema.org/draft/2020-12/")
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {name for name, _ in settings() if "." not in name}
    assert "gmail" in json.dumps(schema["$defs"]["Provider"]["properties"]["preset"])
    assert schema["$defs"]["Bounces"]["properties"]["from"]["description"]
    assert Config.model_fields.keys() >= {"listeners", "http"}
