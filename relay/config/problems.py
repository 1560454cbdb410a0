"""What is wrong with a configuration, as sentences with a place: `file:line:column: what, did you mean`.

Called by the reader, the rules and `load`. A sentence shows what literally stands in the file, never what was put in
from the environment or a secret file, and never the value of a secret setting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import SecretStr
from pydantic_core import ErrorDetails

from relay.config import shape
from relay.config.schema import Config
from relay.config.words import did_you_mean, listing

Path = tuple[str | int, ...]

# The contract's (later): named so that nobody thinks it is a typing mistake.
LATER = frozenset({"xoauth2", "webhooks"})


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `line` and `column` count from 1; 0: the place has none (a missing file, a variable)."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}"


class ConfigError(Exception):
    """A configuration cannot be used. Never empty; in the order of the file."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.file, p.line, p.column)))
        super().__init__("\n".join(map(str, self.problems)))


class Place(NamedTuple):
    file: str
    line: int = 0
    column: int = 0


@dataclass(slots=True)
class Document:
    """A configuration as read: plain data in which every scalar is text or None, and where each part stands.

    `values`, `keys`: places by path; `written`: what stands there, for the parts that are one value in the file.
    """

    file: str
    data: dict[str, Any] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    written: dict[Path, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: Path) -> Place:
        """Where a value stands, or the nearest thing around it."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Place(self.file))

    def report(self, path: Path, template: str, value: object = None, *, place: Place | None = None) -> Problem:
        """A problem at a path. `{it}` in the template becomes what stands there, if that may be shown."""
        return Problem(*(place or self.place(path)), _fill(template, self._shown(path, value)))

    def _shown(self, path: Path, value: object) -> str:
        if isinstance(value, dict | list):
            return "a mapping" if isinstance(value, dict) else "a list"
        if shape.bare(shape.at(Config, path)) is SecretStr:
            return ""
        one_of_many = path[:-1] if path and isinstance(path[-1], int) else path  # a list may be written as one value
        return self.written.get(path) or self.written.get(one_of_many, "")


def _fill(template: str, shown: str) -> str:
    if not shown:
        template = re.sub(r",? not \{it\}", "", template)
    return template.replace("{it}", shown or "this value")


def _choice(error: ErrorDetails) -> str:
    choices = re.findall(r"'([^']*)'", error["ctx"]["expected"])
    word = error["input"] if isinstance(error["input"], str) else ""  # a list or a mapping cannot be looked up
    if word in LATER:
        return f"{word} is not in this version: choose {listing(choices)}"
    return f"must be {listing(choices)}, not {{it}}" + did_you_mean(word, choices)


_SENTENCES: Mapping[str, str | Callable[[ErrorDetails], str]] = {
    "literal_error": _choice,
    "value_error": lambda error: str(error["ctx"]["error"]),
    "int_parsing": "must be a whole number, not {it}",
    "int_type": "must be a whole number, not {it}",
    "int_parsing_size": "must be a smaller number",
    "float_parsing": "must be a number, not {it}",
    "float_type": "must be a number, not {it}",
    "bool_parsing": "must be true or false, not {it}",
    "bool_type": "must be true or false, not {it}",
    "string_type": "must be text, not {it}",
    "string_too_long": lambda error: f"must be at most {error['ctx']['max_length']} characters long",
    "string_unicode": "has half a surrogate pair",
    "too_long": lambda error: f"must have at most {error['ctx']['max_length']} entries",
    "string_pattern_mismatch": "must be lower-case letters, digits and dashes, not {it}",
    "model_type": "must be a mapping (lines of `key: value`), not {it}",
    "model_attributes_type": "must be a mapping (lines of `key: value`), not {it}",
    "dict_type": "must be a mapping (lines of `key: value`), not {it}",
    "tuple_type": "must be a list (lines that begin with `- `), not {it}",
    "greater_than": lambda error: f"must be more than {error['ctx']['gt']:g}, not {{it}}",
    "greater_than_equal": lambda error: f"must be at least {error['ctx']['ge']:g}, not {{it}}",
    "less_than_equal": lambda error: f"must be at most {error['ctx']['le']:g}, not {{it}}",
}


def _unknown(document: Document, path: Path) -> Problem:
    model, key = shape.section(shape.at(Config, path[:-1])), str(path[-1])
    place = document.keys.get(path)
    if key in LATER:
        return document.report(path, f"{key} is not in this version: remove it", place=place)
    near = did_you_mean(key, shape.fields(model)) if model else ""
    return document.report(path, f"unknown key {key!r}{near}", place=place)


def explain(document: Document, error: ErrorDetails) -> Problem:
    """One of pydantic's errors in our words."""
    path = error["loc"]
    name = next((str(key) for key in reversed(path) if isinstance(key, str) and key != "[key]"), "the file")
    if error["type"] == "extra_forbidden":
        return _unknown(document, path)
    if error["type"] == "missing":
        return document.report(path, f"{name} is missing")
    sentence = _SENTENCES.get(error["type"], "is not valid")
    return document.report(
        path, f"{name}: {sentence if isinstance(sentence, str) else sentence(error)}", error["input"]
    )
