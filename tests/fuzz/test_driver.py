"""The fuzz harness itself: what is planted is caught, shown with its input, and runs again from its file."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from fuzz.reading import Reading, pieces
from fuzz.running import REPOSITORY, command, environment, run
from fuzz.test_targets import needs_atheris


def test_a_planted_bug_is_caught_and_can_be_run_again(tmp_path: Path) -> None:
    needs_atheris()
    done = run("fuzz.planted.header_bug", "-runs=200000", "-seed=1", f"-artifact_prefix={tmp_path}/")
    assert "ValueError: planted" in done.failure
    (kept,) = tmp_path.glob("crash-*")
    assert kept.read_bytes().startswith(b"x") and b"BUG!" in kept.read_bytes()
    assert "BUG!" in done.failure and re.search(r"Base64: \S+", done.failure)
    again = done.failure.rpartition("$ python -m fuzz.driver ")[2].split()
    assert again == ["fuzz.planted.header_bug", str(kept)]
    second = subprocess.run(command(*again), env=environment(), cwd=REPOSITORY / "tests", capture_output=True)
    assert second.returncode != 0 and b"ValueError: planted" in second.stdout


def test_a_hang_is_caught(tmp_path: Path) -> None:
    needs_atheris()
    done = run("fuzz.planted.hang", "-runs=100", "-timeout=1", "-seed=1", f"-artifact_prefix={tmp_path}/")
    assert "timeout" in done.failure and list(tmp_path.glob("timeout-*"))


def test_a_target_that_cannot_be_loaded_is_no_success() -> None:
    needs_atheris()
    done = run("fuzz.planted.nothing", "-runs=1")
    assert "ModuleNotFoundError" in done.failure and done.executions == 0


@pytest.mark.parametrize("cut", [0, 1, 2, 200])
def test_pieces_are_the_whole(cut: int) -> None:
    data = bytes(range(100))
    assert b"".join(pieces(data, cut)) == data
    assert pieces(data, cut) == pieces(data, cut)
    assert len(pieces(data, cut)) == {0: 1, 1: 100}.get(cut, len(pieces(data, cut)))


def test_what_is_missing_reads_as_nothing() -> None:
    reading = Reading(b"\x03\x80\x00rest")
    assert reading.pick("abc") == "a" and reading.number(100) == 50
    assert reading.rest() == b"rest" and not reading
    assert (reading.byte(), reading.number(9), reading.take(4)) == (0, 0, b"")
