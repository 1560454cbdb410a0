"""Broken configurations as data: tests/bad_configs/NAME/config.yaml must give exactly the lines in `expected`."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.config.load import ConfigError, load

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
