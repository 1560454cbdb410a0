"""`make prove` in small: it ends with a report, can be gone on with, and says by its exit code whether all is well."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from proof import report
from proof.__main__ import arguments, main
from proof.report import Part, Report
from proof.traced import CALLS


def told(file: Path) -> Any:
    return json.loads(file.with_suffix(".json").read_text())


@pytest.mark.timeout(120)
def test_it_goes_on_with_what_a_report_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, before = tmp_path / "report.md", {"kills": 9.0, "acked": 1000.0, "seconds": 5.0, "peak_memory": 1.0}
    Report(7, {"kills": Part({"kills": 10, "acked": 1050}, before)}, sittings=1).write(file)
    assert main(["--resume", "--report", str(file), "--folder", str(tmp_path / "work")]) == 0
    known = told(file)
    done = known["parts"]["kills"]["done"]
    assert known["complete"]
    assert known["sittings"] == 2
    assert done["kills"] >= 10
    assert done["acked"] >= 1050
    assert done["peak_memory"] > 20 * 2**20
    assert "complete: 0 fault(s)" in capsys.readouterr().out
    assert list((tmp_path / "work").iterdir()) == [], "nothing is left of a clean sitting"


def test_after_a_fault_it_does_not_go_on(tmp_path: Path) -> None:
    file, began = tmp_path / "report.md", time.monotonic()
    Report(7, {"kills": Part({"kills": 10, "acked": 1}, {}, ["LOST m1 to x@a.test: gone"])}).write(file)
    assert main(["--resume", "--report", str(file), "--folder", str(tmp_path / "work")]) == 1
    assert time.monotonic() - began < 5
    assert "stopped by a fault: 1 fault(s)" in file.read_text()
    assert "LOST m1 to x@a.test: gone" in file.read_text()


def test_sittings_add_up() -> None:
    first, second = {"kills": 3.0, "peak_memory": 80.0}, {"kills": 4.0, "peak_memory": 70.0, "acked": 9.0}
    assert report.added(first, second) == {"kills": 7.0, "peak_memory": 80.0, "acked": 9.0}
    assert report.added({}, first) == first


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = Report(7, {"cuts": Part({"cuts": 500}, {"cuts": 20.0}, ["a fault"])}, sittings=2, started=1.0)
    written.write(tmp_path / "report.md")
    assert report.read(tmp_path / "report.md") == written


def test_the_long_form_is_what_is_done_without_options() -> None:
    options = arguments([])
    assert (options.kills, options.messages, options.cuts) == (1000, 1_000_000, 500)
    assert options.calls == len(CALLS)
