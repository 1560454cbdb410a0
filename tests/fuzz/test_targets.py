"""Each fuzz target: its whole corpus again, then 10,000 executions under atheris from a fixed seed.

Where atheris has no wheel the short runs skip (and fail with CI=true); the corpus is replayed everywhere.
"""

from __future__ import annotations

import os
import shutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from fuzz.running import HERE, committed, run

TARGETS = sorted(path.stem for path in (HERE / "targets").glob("*.py"))
SEED = 1
# One execution of the spool opens a database: its 10,000 are shared out, so that they run side by side.
SHARDS = {"spool": 4}
SHORT = [(target, shard) for target in TARGETS for shard in range(SHARDS.get(target, 1))]


def needs_atheris() -> None:
    if find_spec("atheris") is None:
        reason = "needs atheris, which has wheels for Linux on x86-64 only"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def test_none_is_missing() -> None:
    """They are found by their files; of a folder that was not found there would be nothing to run."""
    assert TARGETS == ["config", "paths", "replies", "session", "spool", "upstream"]


@pytest.mark.parametrize("target", TARGETS)
def test_the_whole_corpus(target: str) -> None:
    """Seeds by hand, and every input that once failed."""
    inputs = committed(target)
    assert len(inputs) >= 15
    module = import_module(f"fuzz.targets.{target}")
    for file in inputs:
        data = file.read_bytes()
        try:
            module.run(data)
        except Exception as error:
            raise AssertionError(f"{file}: {data!r}") from error


@pytest.mark.timeout(400)
@pytest.mark.slow
@pytest.mark.parametrize(("target", "shard"), SHORT)
def test_ten_thousand_executions(target: str, shard: int, tmp_path: Path) -> None:
    """Slow because of what it is. The seed is fixed: what failed here fails again."""
    needs_atheris()
    runs = 10_000 // SHARDS.get(target, 1)
    corpus = tmp_path / "corpus"  # new inputs are added to it
    corpus.mkdir()
    for file in committed(target):
        shutil.copy(file, corpus)
    done = run(target, f"-runs={runs}", f"-seed={SEED + shard}", f"-artifact_prefix={tmp_path}/", corpus)
    assert not done.failure, done.failure
    assert done.executions >= runs


def test_the_corpus_is_small() -> None:
    assert sum(file.stat().st_size for target in TARGETS for file in committed(target)) < 300_000
