"""Long runs of all targets, one after another: `make fuzz`, or `python -m fuzz [TARGET ...]` from `tests/`.

SECONDS (60) or RUNS for each target, from the environment. New inputs are kept in tests/fuzz/corpus/TARGET, what fails
in tests/fuzz/crashes/. The exit status is 1 when something failed; the other targets still run.
"""

from __future__ import annotations

import os
import sys
import time

from fuzz.driver import names
from fuzz.running import CORPUS, CRASHES, Report, progress, report, start

EVERY = 5.0
"""Seconds between two lines of progress."""


def main(wanted: list[str]) -> int:
    unknown = set(wanted) - set(names())
    if unknown:
        print(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(names())}", file=sys.stderr)
        return 2
    CRASHES.mkdir(exist_ok=True)
    failed = [done for done in map(fuzz, wanted or names()) if done.failure]
    for done in failed:
        print(f"\n{done.failure}")
    print(f"\n{len(failed)} of {len(wanted or names())} targets failed" if failed else "\nnothing failed")
    return 1 if failed else 0


def fuzz(target: str) -> Report:
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{target}: {' '.join(limit())}", flush=True)
    process, lines, shown = start(target, *limit(), f"-artifact_prefix={CRASHES}/{target}-", folder), [], 0.0
    for line in progress(process, lines):
        if time.monotonic() - shown >= EVERY:
            shown = time.monotonic()
            print(f"  {line}", flush=True)
    done = report(target, process, lines)
    print(f"  {done.executions} executions, {'FAILED' if done.failure else 'no failure'}", flush=True)
    return done


def limit() -> list[str]:
    """Which end libFuzzer is given."""
    runs = os.environ.get("RUNS", "")
    return [f"-runs={runs}"] if runs else [f"-max_total_time={os.environ.get('SECONDS') or '60'}"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
