"""What `make prove` did, added up over its sittings, as JSON to go on from and as Markdown to read.

`__main__` fills it. It judges nothing.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import apsw
from proof import cuts, kills, traced
from proof.oracle import Outcome

from relay import __version__

Tally = dict[str, float]
LARGEST = frozenset({"peak_memory"})
WORDS = {
    "kills": "kill -9",
    "calls": "system calls, killed at the k-th for every k",
    "cuts": "power cuts",
    "rounds": "relays whose power was cut",
    "acked": "messages acknowledged",
    "nacked": "messages refused",
    "unknown": "messages cut off before an answer",
    "transactions": "transactions taken upstream",
    "deliveries": "deliveries (per recipient)",
    "notices": "bounces",
    "saved": "deliveries made from what a disk had kept",
    "excused": "duplicates excused",
    "seconds": "seconds",
    "peak_memory": "peak memory of the relay",
}


@dataclass(slots=True)
class Part:
    """One campaign over all sittings. `wanted`: by the same names as `done`."""

    wanted: Tally
    done: Tally = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return all(self.done.get(name, 0) >= value for name, value in self.wanted.items())

    @property
    def rate(self) -> float:
        return self.done.get("acked", 0) / (self.done.get("seconds", 0) or 1)

    def left(self, name: str) -> int:
        return max(0, int(self.wanted[name] - self.done.get(name, 0)))


@dataclass(slots=True)
class Report:
    """`parts`: "kills", "cuts" and "calls", those that are wanted. `trouble`: why a sitting ended before its time."""

    seed: int
    parts: dict[str, Part]
    sittings: int = 0
    started: float = field(default_factory=time.time)
    trouble: str = ""

    @property
    def clean(self) -> bool:
        return not self.trouble and all(not part.faults for part in self.parts.values())

    @property
    def complete(self) -> bool:
        return self.clean and all(part.complete for part in self.parts.values())

    def write(self, file: Path) -> None:
        """Both forms, side by side; a reader never sees half of one."""
        for path, text in ((file.with_suffix(".json"), self._json()), (file, self._markdown())):
            draft = path.with_name(path.name + ".new")
            draft.write_text(text)
            draft.replace(path)

    def _json(self) -> str:
        return json.dumps(
            asdict(self) | {"machine": machine(), "clean": self.clean, "complete": self.complete}, indent=1
        )

    def _markdown(self) -> str:
        found = sum(len(part.faults) for part in self.parts.values())
        state = "complete" if self.complete else "stopped by a fault" if found else "not complete"
        head = ["# Proof of delivery", "", f"{state}: {found} fault(s). {self.trouble}".strip(), ""]
        head += [f"- {name}: {value}" for name, value in (machine() | {"seed": self.seed}).items()]
        head += [f"- started: {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(self.started))}"]
        return "\n".join([*head, *(line for name, part in self.parts.items() for line in _section(name, part)), ""])


def read(file: Path) -> Report:
    """A report to go on from."""
    known = json.loads(file.with_suffix(".json").read_text())
    parts = {name: Part(**part) for name, part in known["parts"].items()}
    return Report(known["seed"], parts, known["sittings"], known["started"])


def machine() -> dict[str, Any]:
    return {
        "relay": __version__,
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "kernel": platform.release(),
        "cores": len(os.sched_getaffinity(0)),
    }


def added(before: Mapping[str, float], now: Mapping[str, float]) -> Tally:
    names = [*before, *(name for name in now if name not in before)]
    return {
        name: (max if name in LARGEST else lambda a, b: a + b)(before.get(name, 0), now.get(name, 0)) for name in names
    }


def of_kills(figures: kills.Figures) -> Tally:
    told = {str(each): figures.outcomes[each] for each in Outcome}
    names = ("transactions", "deliveries", "notices", "excused", "seconds", "peak_memory")
    return {"kills": figures.kills} | told | {name: getattr(figures, name) for name in names}


def of_cuts(figures: cuts.Figures) -> Tally:
    return {name: getattr(figures, name) for name in ("cuts", "rounds", "acked", "saved", "excused", "seconds")}


def of_calls(figures: traced.Figures) -> Tally:
    return {name: getattr(figures, name) for name in ("calls", "kills", "acked", "excused", "seconds")}


def _section(name: str, part: Part) -> list[str]:
    rows = [f"| {WORDS[key]} | {_value(key, value)} |" for key, value in part.done.items()]
    rows += [f"| acknowledged per second | {part.rate:,.0f} |", f"| **faults** | **{len(part.faults)}** |"]
    wanted = ", ".join(f"{_value(key, value)} {WORDS[key]}" for key, value in part.wanted.items())
    table = ["", f"## {WORDS[name]}", "", f"Wanted: {wanted}.", "", "| | |", "|---|---:|", *rows]
    return table + (["", "```", *part.faults[:50], "```"] if part.faults else [])


def _value(key: str, value: float) -> str:
    return f"{value / 2**20:,.0f} MiB" if key == "peak_memory" else f"{value:,.0f}"
