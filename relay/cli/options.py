"""The global options, and failures as sentences.

Used by every command. Global options may stand before or behind the command: `divide` tells them apart.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # pydantic takes longer to import than `relay --help` may take
    from relay.config.load import Loaded

_WITH_VALUE = ("-c", "--config", "--url")
_FLAGS = ("--json",)
_TEXTS = ("--subject", "--body", "--html")  # of commands; what follows may look like anything


class Failure(Exception):
    """A command that cannot do what it was asked: cause and fix in a sentence. Code 1: it failed; 2: wrong usage."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`config` None: looked up as the contract says. `url`: another relay, spoken to with `token`.

    `closing`: what is closed when the command is done.
    """

    config: Path | None = None
    json: bool = False
    url: str = ""
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    closing: ExitStack = field(default_factory=ExitStack)

    @property
    def token(self) -> str:
        return self.environ.get("RELAY_TOKEN", "")

    def load(self) -> Loaded:
        """The configuration in force. Raises ConfigError."""
        from relay.config.load import find, load

        return load(self.config or find(self.environ), self.environ)


def divide(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Global options with their values, and all else, each in its order. Nothing behind `--` is an option."""
    front: list[str] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for word in waiting:
        if word == "--":
            rest += [word, *waiting]
        elif word in _WITH_VALUE:
            front += [word, *_next(waiting)]
        elif word in _TEXTS:
            rest += [word, *_next(waiting)]
        elif word in _FLAGS or word.startswith(("--config=", "--url=")) or _glued(word):
            front.append(word)
        else:
            rest.append(word)
    return front, rest


def _next(words: Iterator[str]) -> list[str]:
    value = next(words, None)
    return [] if value is None else [value]


def _glued(word: str) -> bool:
    return word.startswith("-c") and not word.startswith("--") and len(word) > 2
