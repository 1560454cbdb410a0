"""Broken configurations as data: tests/bad_configs/NAME/config.yaml must give exactly the lines in `expected`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.config import shape
from relay.config.load import ConfigError, load
from relay.config.schema import Config

CASES = sorted((Path(__file__).parents[2] / "bad_configs").iterdir())
SECRET = "hunter2"  # every secret in the broken configurations, literally or by way of the environment
ENVIRON = {"CANARY": SECRET, "FOLDER": "/"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_broken_configuration_is_explained(case: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(case / "config.yaml", ENVIRON)
    told = str(caught.value).replace(f"{case}/", "")
    assert told.splitlines() == (case / "expected").read_text().splitlines()
    assert SECRET not in told


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 25


def settings(annotation: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of everything the schema has; of lists the first entry, of mappings one key."""
    yield path
    if model := shape.section(annotation):
        for name, field in shape.fields(model).items():
            yield from settings(field.annotation, (*path, name))
    elif shape.is_list(annotation) or shape.is_mapping(annotation):
        key = 0 if shape.is_list(annotation) else "x"
        yield from settings(shape.under(annotation, key), (*path, key))


@pytest.mark.parametrize("value", ["", {}, {"x": {}}, [], [["x"]], None, "9" * 5000, "-1e999", "\0"])
def test_nothing_in_the_place_of_any_setting_is_an_internal_error(tmp_path: Path, value: object) -> None:
    file = tmp_path / "relay.yaml"
    for path in settings(Config):
        written = value
        for key in reversed(path):
            written = [written] if key == 0 else {key: written}
        file.write_text(json.dumps(written))
        with contextlib.suppress(ConfigError):
            load(file, ENVIRON)
        if path and "\0" not in str(value):
            with contextlib.suppress(ConfigError):
                load(None, {"RELAY_" + "__".join(map(str, path)).upper(): json.dumps(value)})
