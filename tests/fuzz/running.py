"""Starts the driver in a process of its own and reads what it reports: executions, and the input that failed.

Used by the short runs of the tests and by `make fuzz`. A fuzzer that did not run counts as failed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
CRASHES = HERE / "crashes"
REPOSITORY = HERE.parents[1]


def committed(target: str) -> list[Path]:
    """The inputs that belong to the project: with a name. What `make fuzz` keeps beside them has a hash."""
    return sorted(file for file in (CORPUS / target).iterdir() if not re.fullmatch("[0-9a-f]{40}", file.name))


@dataclass(frozen=True)
class Report:
    """`executions`: inputs run. `failure`: "" or what went wrong, with the input and how to run it again."""

    target: str
    executions: int
    failure: str


def command(target: str, *options: str | Path) -> list[str]:
    return [sys.executable, "-m", "fuzz.driver", target, *map(str, options)]


def environment() -> dict[str, str]:
    """Python's hashes are fixed, or the same seed would not make the same run."""
    paths = [str(REPOSITORY / "tests"), str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONHASHSEED": "0"}


def start(target: str, *options: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(target, *options), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace",
    )  # fmt: skip


def run(target: str, *options: str | Path) -> Report:
    """Run to the end."""
    process = start(target, *options)
    return report(target, process, list(process.stdout or ()))


def report(target: str, process: subprocess.Popen[str], lines: list[str]) -> Report:
    """What came of it; `lines`: all that it said."""
    code = process.wait()
    if process.stdout:
        process.stdout.close()
    text = "".join(lines)
    executions = max(map(int, re.findall(r"^(?:#|Done )(\d+)[\t ]", text, re.MULTILINE)), default=0)
    if code == 0 and "Done " in text:
        return Report(target, executions, "")
    return Report(target, executions, told(target, text, code))


def told(target: str, text: str, code: int) -> str:
    """The exception, the input as text and base64, and the command that runs it again."""
    written = re.search(r"Test unit written to (\S+)", text)
    noise = ("INFO:", "#", "WARNING:", "Dictionary:", "pulse", "==")
    kept = [line for line in text.splitlines() if not line.startswith(noise)]
    again = f"\nRun it again: {REPOSITORY / 'tests'}$ python -m fuzz.driver {target} {written[1]}" if written else ""
    return f"{target} failed (exit status {code}):\n" + "\n".join(kept[-40:]) + again


def progress(process: subprocess.Popen[str], lines: list[str]) -> Iterator[str]:
    """libFuzzer's own lines about executions and coverage; all lines are kept in `lines`."""
    for line in process.stdout or ():
        lines.append(line)
        if re.match(r"#\d+\t", line):
            yield line.strip()
