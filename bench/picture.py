"""The picture of the documentation: how many times Postfix each row is, as bars, with the mark as a tick. SVG.

Pure. It shows rows that are ratios to Postfix; where less is better, how many times less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from bench.results import Figure, number

LABELS, BARS, RIGHT, ROW, TOP, BOTTOM = 400, 400, 80, 30, 46, 34
STEPS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 11px; fill: #59636e }
.grid { stroke: #d1d9e0 } .even { stroke: #59636e; stroke-dasharray: 4 3 }
.bar { fill: #2f6f4f } .short { fill: #b35900 } .mark { stroke: #1f2328; stroke-width: 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 }
  .grid { stroke: #3d444d } .even { stroke: #9198a1 }
  .bar { fill: #57ab7d } .short { fill: #e0823d } .mark { stroke: #e6edf3 }
}"""


def times(figure: Figure, value: float) -> float:
    """How many times better than Postfix."""
    return value if figure.higher else 1 / value


def picture(figures: Sequence[Figure]) -> str:
    shown = [figure for figure in figures if figure.theirs and figure.against == "Postfix"]
    values = [each for figure in shown for each in (times(figure, figure.value), times(figure, figure.mark))] or [1.0]
    scale = _Scale(min(*values, 1.0), max(*values, 1.0))
    height = TOP + ROW * len(shown) + BOTTOM
    width = LABELS + BARS + RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="How many times Postfix the relay is, row by row">',
        f"<style>{STYLE}\n</style>",
        f'<text x="{LABELS}" y="18">times Postfix, same work, same run (median)</text>',
        *(line for step in scale.steps for line in _grid(step, scale, height)),
        *(line for place, figure in enumerate(shown) for line in _bar(figure, TOP + ROW * place, scale)),
        f'<text class="small" x="{LABELS}" y="{height - 8}">tick: the mark to reach; dashed: Postfix</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class _Scale:
    """Logarithmic: twice as fast and half as fast are equally far from Postfix."""

    def __init__(self, low: float, high: float) -> None:
        self.low = max((step for step in STEPS if step < low), default=STEPS[0])
        self.high = min((step for step in STEPS if step >= high), default=STEPS[-1])
        self.steps = [step for step in STEPS if self.low <= step <= self.high]

    def x(self, value: float) -> float:
        share = math.log(min(max(value, self.low), self.high) / self.low) / math.log(self.high / self.low)
        return round(LABELS + BARS * share, 1)


def _grid(step: float, scale: _Scale, height: int) -> list[str]:
    x, kind = scale.x(step), "even" if step == 1 else "grid"
    return [
        f'<line class="{kind}" x1="{x}" x2="{x}" y1="{TOP - 8}" y2="{height - BOTTOM + 2}"/>',
        f'<text class="small" x="{x}" y="{TOP - 12}" text-anchor="middle">{step:g}×</text>',
    ]


def _bar(figure: Figure, y: int, scale: _Scale) -> list[str]:
    value, mark = times(figure, figure.value), scale.x(times(figure, figure.mark))
    start, end = sorted((scale.x(1.0), scale.x(value)))
    kind = "bar" if figure.reached else "short"
    return [
        f'<text x="{LABELS - 12}" y="{y + 16}" text-anchor="end">{escape(figure.title)}</text>',
        f'<rect class="{kind}" x="{start}" y="{y + 3}" width="{max(1.0, end - start):.1f}" height="18" rx="2"/>',
        f'<line class="mark" x1="{mark}" x2="{mark}" y1="{y}" y2="{y + 24}"/>',
        f'<text x="{max(end, mark) + 8}" y="{y + 16}">{number(value)}×</text>',
    ]
