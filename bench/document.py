"""What a full run puts into the documentation: the picture, and the table between its two marks in performance.md.

Called by `__main__`. It writes these two files and leaves the rest of the text alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.picture import picture
from bench.results import Figure, table

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"
PICTURE = "![How many times Postfix the relay is, row by row](performance.svg)"


def measured(figures: Sequence[Figure], about: Mapping[str, Any]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in about.items())
    return f"{BEGIN}\n{PICTURE}\n\n{table(figures)}\n\nMedian (smallest–largest) of the rounds. On: {facts}.\n{END}"


def replaced(text: str, figures: Sequence[Figure], about: Mapping[str, Any]) -> str:
    """The page with this table in it."""
    head, _, rest = text.partition(BEGIN)
    return head + measured(figures, about) + rest.partition(END)[2]


def write(docs: Path, figures: Sequence[Figure], about: Mapping[str, Any]) -> None:
    (docs / "performance.svg").write_text(picture(figures))
    page = docs / "performance.md"
    page.write_text(replaced(page.read_text(), figures, about))
