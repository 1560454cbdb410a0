"""The long form of the proof: `make prove`, or `python -m proof` for less of it or to go on with a report.

First kill -9 under load, then power cuts, then kills at every system call. It prints where it is, and leaves a report
also when it is stopped.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from proof import cuts, kills, report, traced
from proof.kills import Campaign, Plan
from proof.report import Part, Report, added
from proof.scene import Scene

EVERY = 60.0
"""Seconds between lines where nobody watches."""


class Progress:
    """One line that changes on a terminal, otherwise one a minute."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._told = self._began
        self._live = sys.stdout.isatty()

    def tell(self, words: str) -> None:
        now = time.monotonic()
        if now - self._told < (0.5 if self._live else EVERY):
            return
        self._told = now
        line = f"{(now - self._began) / 60:6.1f} min  {words.splitlines()[0]}"
        print(f"\r\x1b[K{line[:150]}" if self._live else line, end="" if self._live else "\n", flush=True)

    def say(self, words: str) -> None:
        print(f"\r\x1b[K{words}" if self._live else words, flush=True)


class Sitting:
    """Works off what a report still lacks."""

    def __init__(self, account: Report, file: Path, folder: Path) -> None:
        account.sittings += 1
        self._report = account
        self._file = file
        self._folder = folder / f"sitting{account.sittings}"
        self._seed = account.seed + account.sittings * 1_000_000
        self._progress = Progress()

    def run(self) -> None:
        for name, work in (("kills", self._kills), ("cuts", self._cuts), ("calls", self._calls)):
            part = self._report.parts.get(name)
            if part is not None and not part.complete and self._report.clean:
                work(part)
        if self._report.clean:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _kills(self, part: Part) -> None:
        plan = Plan(kills=part.left("kills"), messages=part.left("acked"))
        note = self._note(part)

        def told(figures: kills.Figures) -> None:
            if not figures.live:
                note(report.of_kills(figures), [str(fault) for fault in figures.faults])
            self._progress.tell(str(figures))

        with Scene(self._folder / "kills", seed=self._seed) as scene:
            Campaign(scene, plan, self._seed, told).run()

    def _cuts(self, part: Part) -> None:
        note = self._note(part)

        def told(figures: cuts.Figures) -> None:
            note(report.of_cuts(figures), [str(finding) for finding in figures.failures])
            self._progress.tell(str(figures))

        cuts.campaign(self._folder / "cuts", part.left("cuts"), self._seed, progress=told)

    def _calls(self, part: Part) -> None:
        note = self._note(part)

        def told(figures: traced.Figures) -> None:
            note(report.of_calls(figures), [str(fault) for fault in figures.faults])
            self._progress.tell(str(figures))

        traced.campaign(self._folder / "calls", traced.CALLS[-part.left("calls") :], self._seed, told)

    def _note(self, part: Part) -> Callable[[report.Tally, list[str]], None]:
        """Writes the report with what was there before this sitting and what it came to."""
        before, known = dict(part.done), list(part.faults)

        def note(tally: report.Tally, faults: list[str]) -> None:
            part.done, part.faults = added(before, tally), known + faults
            self._report.write(self._file)

        return note


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proof", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--messages", type=int, default=1_000_000, help="acknowledged under the kills")
    parser.add_argument("--cuts", type=int, default=500)
    parser.add_argument("--calls", type=int, default=len(traced.CALLS), help="system calls, the last of the list")
    parser.add_argument("--only", choices=("kills", "cuts", "calls"))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--report", type=Path, help="Markdown; JSON goes beside it; default: under var/")
    parser.add_argument("--folder", type=Path, help="for spools, ledgers and what is left of a failure; default: var/")
    parser.add_argument("--resume", action="store_true", help="go on with what the report at --report lacks")
    options = parser.parse_args(words)
    if options.resume and not options.report:
        parser.error("--resume needs --report")
    return options


def opened(options: argparse.Namespace) -> Report:
    if options.resume:
        return report.read(options.report)
    parts = {
        "kills": Part({"kills": options.kills, "acked": options.messages}),
        "cuts": Part({"cuts": options.cuts}),
        "calls": Part({"calls": options.calls}),
    }
    return Report(options.seed, {name: part for name, part in parts.items() if options.only in (None, name)})


def main(words: Sequence[str] | None = None) -> int:
    options = arguments(words)
    account = opened(options)
    folder = (options.folder or Path("var", f"proof-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")).resolve()
    file = options.report or folder / "report.md"
    for needed in (folder, file.parent):
        needed.mkdir(parents=True, exist_ok=True)
    sitting = Sitting(account, file, folder)
    print(f"seed {account.seed}, report {file}", flush=True)
    try:
        sitting.run()
    except KeyboardInterrupt:
        account.trouble = f"Stopped by hand; what was not judged is not counted. Go on: --resume --report {file}"
    except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:
        account.trouble = f"{type(error).__name__}: {error}"
    account.write(file)
    print("\n" + file.read_text())
    return 0 if account.complete else 1


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # also where a shell has it ignored
    sys.exit(main())
