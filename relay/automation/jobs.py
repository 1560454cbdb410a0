"""What the sandbox is asked and what it answers, as plain values that cross to its process and back.

Made by `firing`, answered by `renderer`. It imports next to nothing: the sandbox's process loads it, too.
"""

from __future__ import annotations

from msgspec import Struct

Place = tuple[str | int, ...]


class Text(Struct, frozen=True, kw_only=True):
    """One template. `place`: where it stands in its rule. `html`: what is put into it is escaped."""

    place: Place
    source: str
    html: bool = False


class Job(Struct, frozen=True, kw_only=True):
    """Texts that are of use only together. `condition`: an expression, "" for true; false: nothing is rendered."""

    condition: str = ""
    texts: tuple[Text, ...] = ()


class Problem(Struct, frozen=True, kw_only=True):
    """Why a job came to nothing. `place`: of the text, ("if",) of the condition. `text`: for people, cause and fix."""

    place: Place
    text: str


class Rendered(Struct, frozen=True, kw_only=True):
    """`held`: the condition was true. `values`: of the texts, in order; none when there is a problem."""

    held: bool = True
    values: tuple[str, ...] = ()
    problem: Problem | None = None
