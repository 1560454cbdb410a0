"""`python -m bench`: run rows, print the table, write JSON, and after a full run the picture and table of the docs.

Called by `make bench`. A row that fails is named and the others go on; the exit code tells of it.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench import document
from bench.machine import UNFIT, file_system, machine
from bench.process import ROOT, Others
from bench.results import Figure, against, load, merged, save, table
from bench.rig import Bench
from bench.rows import ORDER, ROWS
from bench.waiting import Failed, program

RESULTS = ROOT / "bench" / "results"
COMMITTED = RESULTS / "full.json"
QUIET = 0.12
PROGRAMS = ("master", "smtp-source", "smtp-sink", "postconf")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Postfix and the relay, the same work by turns in the same run.",
        epilog=f"Rows: {', '.join(ROWS)}. Example: make bench BENCH='--quick --rows new,kept'",
    )
    parser.add_argument("--quick", action="store_true", help="two rounds, a third of the load, a tenth of the queue")
    parser.add_argument("--rounds", type=int, help="default: 5, with --quick 2")
    parser.add_argument("--rows", default="", help="some of them only, with commas")
    parser.add_argument("--scale", type=float, help="share of the load; default: 1, with --quick a third")
    parser.add_argument("--waiting", type=int, help="how many messages wait; default: 1,000,000, with --quick 100,000")
    parser.add_argument(
        "--folder", type=Path, default=Path("/var/tmp"), help="where queues lie: a real disk (/var/tmp)"
    )
    return parser.parse_args()


def refusal(wanted: Sequence[str], folder: Path) -> str:
    """Why nothing can be measured, with the fix; "" when it can."""
    if unknown := sorted(set(wanted) - ROWS.keys()):
        return f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}"
    if os.geteuid() != 0:
        return "Postfix starts as root only; run make bench as root, best in a container or a virtual machine"
    if (kind := file_system(folder)) in UNFIT:
        return f"{folder} is {kind}, where a flush costs nothing; name a folder on a disk: --folder"
    try:
        for name in PROGRAMS:
            program(name)
    except Failed as error:
        return str(error)
    return ""


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def with_note(figure: Figure, others: float) -> Figure:
    return replace(figure, notes=figure.notes | {"used by others": round(others, 2)})


def measure(
    bench: Bench, wanted: Sequence[str], keep: Callable[[list[Figure]], None]
) -> tuple[list[Figure], list[str]]:
    """The figures, each row's kept at once, and the rows that failed."""
    figures: list[Figure] = []
    failed = []
    for name in wanted:
        others = Others()
        try:
            found = ROWS[name](bench)
        except (Failed, OSError, subprocess.SubprocessError) as error:
            say(f"row {name} FAILED: {error}")
            failed.append(name)
            continue
        share = others.share()
        if share > QUIET:
            say(f"row {name}: others used {share:.0%} of the processors meanwhile, so its figures say little")
        found = [with_note(figure, share) for figure in found]
        keep(found)
        figures += found
    return figures, failed


def main() -> int:
    given = arguments()
    wanted = [name for name in given.rows.split(",") if name] or list(ROWS)
    if why := refusal(wanted, given.folder):
        print(f"bench: {why}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # so that what was started ends as well
    # Rows of a full run take their places among the committed ones, from which picture and table of the docs come.
    committed, path = load(COMMITTED), RESULTS / "quick.json" if given.quick else COMMITTED
    with tempfile.TemporaryDirectory(prefix="relay-bench-", dir=given.folder) as name:
        folder = Path(name)
        folder.chmod(0o755)  # Postfix's daemons are another user
        about = machine(folder)
        bench = Bench(
            folder=folder,
            rounds=given.rounds or (2 if given.quick else 5),
            scale=given.scale or (1 / 3 if given.quick else 1.0),
            waiting=given.waiting or (100_000 if given.quick else 1_000_000),
            say=say,
        )
        figures, failed = measure(bench, wanted, lambda found: save(path, merged(load(path), found, ORDER), about))
    print(table(figures))
    if committed:
        print(f"\nAgainst the committed results (for information):\n{against(figures, committed)}")
    if figures and not given.quick:
        document.write(ROOT / "docs", load(path), about)
    if failed:
        print(f"\nbench: not measured: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
