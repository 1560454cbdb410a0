"""Medians, ratios and spread of a run, as text and as JSON, and against the results that are committed.

Pure, but for reading and writing the JSON. It never judges time: it shows whether a row's mark was reached.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One row. `ours`, `theirs`: a value for each round, in `unit`; `theirs` is empty when the mark is absolute.

    `mark`: the ratio (or, without `theirs`, the value) to reach. `higher`: more is better. `against`: whose `theirs`
    are. `ceiling`: what the rig does with nothing in between. `notes`: what else was seen, and what Postfix was set to.
    """

    row: str
    title: str
    unit: str
    ours: list[float]
    mark: float
    theirs: list[float] = field(default_factory=list)
    higher: bool = True
    against: str = "Postfix"
    ceiling: float | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def ratios(self) -> list[float]:
        """Round by round, so that what disturbs the machine disturbs both."""
        pairs = zip(self.ours, self.theirs, strict=True) if self.theirs else ()
        return [ours / theirs for ours, theirs in pairs]

    @property
    def value(self) -> float:
        return median(self.ratios or self.ours)

    @property
    def reached(self) -> bool:
        return self.value >= self.mark if self.higher else self.value <= self.mark


def number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values: Sequence[float]) -> str:
    """Median, smallest, largest."""
    return f"{number(median(values))} ({number(min(values))}–{number(max(values))})" if values else "–"


HEAD = ("row", "unit", "Postfix", "relay", "ratio", "mark", "ceiling")


def cells(figure: Figure) -> tuple[str, ...]:
    theirs = spread(figure.theirs)
    return (
        figure.title,
        figure.unit,
        theirs if figure.against == "Postfix" else f"{figure.against}: {theirs}",
        spread(figure.ours),
        spread(figure.ratios),
        f"{'≥' if figure.higher else '≤'} {number(figure.mark)} {'✓' if figure.reached else '✗'}",
        number(figure.ceiling) if figure.ceiling else "–",
    )


def table(figures: Sequence[Figure]) -> str:
    """Markdown: median (smallest–largest) of the rounds."""
    rows = [HEAD, ("---",) * len(HEAD), *map(cells, figures)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def merged(before: Sequence[Figure], now: Sequence[Figure], order: Sequence[str]) -> list[Figure]:
    """Rows measured now take the place of those before; `order` names all there are."""
    found = {figure.row: figure for figure in (*before, *now)}
    return [found[row] for row in sorted(found, key=lambda row: order.index(row) if row in order else len(order))]


def against(figures: Sequence[Figure], committed: Sequence[Figure]) -> str:
    """How this run differs from the committed one: for information, since the machine may be another."""
    before = {figure.row: figure.value for figure in committed}
    return "\n".join(
        f"{figure.row:12} {number(figure.value):>8}  committed {number(before[figure.row]):>8} "
        f"({(figure.value / before[figure.row] - 1) * 100:+.0f} %)"
        for figure in figures
        if before.get(figure.row)
    )


def save(path: Path, figures: Sequence[Figure], machine: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine, "rows": [asdict(figure) for figure in figures]}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def load(path: Path) -> list[Figure]:
    """Nothing when there is no such file."""
    return [Figure(**row) for row in json.loads(path.read_text())["rows"]] if path.exists() else []


def machine_of(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())["machine"])
