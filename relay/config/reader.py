"""YAML text to plain data, in which every scalar is text or None, with the place of every part.

Called by `load` and by the environment. It resolves no types, so none of YAML 1.1's traps (no, on, 12:30, 0777) can
spring: the schema knows what it wants. Tags and duplicate keys are refused (hazard H4), aliases and depth are bounded.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from relay.config.expand import Expand, Unresolved
from relay.config.problems import ConfigError, Document, Path, Place, Problem

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_DEPTH = 20
_MAX_NODES = 100_000  # counting what aliases stand for: the bound on "a billion laughs"
_EMPTY = object()  # a key with nothing behind it is as good as not written

# The scanner's words for what people do wrong, and ours.
_SYNTAX = {
    "mapping values are not allowed": "a colon and a space inside a value: put the value in quotes",
    "could not find expected ':'": "a key without a colon behind it",
    "expected <block end>": "the indentation does not fit the lines above",
    "did not find expected key": "the indentation does not fit the lines above",
    "did not find expected '-' indicator": "the indentation does not fit the list above",
    "did not find expected ',' or": "a bracket or brace is not closed, or a comma is missing",
    "did not find expected node content": "a bracket or brace is not closed, or a value is missing in it",
    "expected the node content": "a bracket or brace is not closed, or a value is missing in it",
    "unexpected end of stream": "a quote is not closed",
    "character that cannot start any token": "a value that begins with this character must be in quotes",
    "unknown escape": "in double quotes a backslash begins an escape: write two, or use single quotes",
    "while scanning an a": "a value that begins with * or & must be in quotes",
    "control characters are not allowed": "a control character",
}


def read(text: str, file: str, expand: Expand) -> Document:
    """The document in `text`. Raises ConfigError where reading cannot go on; the rest is in `problems`."""
    reader = _Reader(text, Document(file), expand)
    data = reader.document()
    if isinstance(data, dict):
        reader.into.data = data
    elif data is not None and data is not _EMPTY:
        reader.fail(reader.into.values[()], "the file must be a mapping (lines of `key: value`)")
    return reader.into


def read_value(text: str, file: str) -> Any:
    """What a piece of YAML stands for, without `${NAME}`. Raises ConfigError."""
    data = (reader := _Reader(text, Document(file), lambda value: value)).document()
    if reader.into.problems:
        raise ConfigError(reader.into.problems)
    return None if data is _EMPTY else data


class _Reader:
    def __init__(self, text: str, into: Document, expand: Expand) -> None:
        self.text, self.into, self.expand = text, into, expand
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.nodes = 0
        self.events: Iterator[Event] = iter(())

    def document(self) -> Any:
        """Everything up to the end of the only document."""
        try:
            self.events = iter(yaml.parse(self.text, Loader=_LOADER))
            return self._document()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.fail(self._place(mark), self._syntax(f"{error.problem} {error.context}", mark))
        except yaml.reader.ReaderError as error:
            line = self.text.count("\n", 0, error.position) + 1
            self.fail(Place(self.into.file, line, 1), "a character that YAML does not allow: remove it")

    def _document(self) -> Any:
        data: Any = None
        documents = 0
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.fail(self._place(event.start_mark), "a second document (---): there may be only one")
            elif not isinstance(event, DocumentEndEvent | StreamEndEvent) and isinstance(event, NodeEvent):
                data = self._node(event, ())
        return data

    def fail(self, place: Place, message: str) -> Any:
        raise ConfigError([*self.into.problems, Problem(*place, message)])

    def _syntax(self, problem: str, mark: Any) -> str:
        lines = self.text.splitlines()
        if mark and mark.line < len(lines) and "\t" in lines[mark.line][: mark.column + 1]:
            return "a tab cannot indent: use spaces"
        return next((ours for theirs, ours in _SYNTAX.items() if theirs in problem), "this is not YAML")

    def _place(self, mark: Any) -> Place:
        return Place(self.into.file, mark.line + 1, mark.column + 1) if mark else Place(self.into.file, 1, 1)

    def _node(self, event: Any, path: Path) -> Any:
        place = self.into.values[path] = self._place(event.start_mark)
        self._count(1, place)
        if isinstance(event, AliasEvent):
            return self._alias(event, place)
        if event.tag is not None:
            self.into.problems.append(Problem(*place, "YAML tags are not allowed: quote a value that begins with !"))
        if len(path) > _MAX_DEPTH:
            self.fail(place, "this is nested too deeply")
        before = self.nodes
        data = self._content(event, path, place)
        if event.anchor:
            self.anchors[event.anchor] = (data, self.nodes - before + 1)
        return data

    def _content(self, event: Any, path: Path, place: Place) -> Any:
        if isinstance(event, ScalarEvent):
            return self._scalar(event, path, place)
        return self._mapping(path) if isinstance(event, MappingStartEvent) else self._sequence(path)

    def _count(self, nodes: int, place: Place) -> None:
        self.nodes += nodes
        if self.nodes > _MAX_NODES:
            self.fail(place, "the file is too large, or its aliases stand for too much")

    def _alias(self, event: Any, place: Place) -> Any:
        if event.anchor not in self.anchors:
            self.fail(place, "an alias to nothing: quote a value that begins with *")
        data, nodes = self.anchors[event.anchor]
        self._count(nodes, place)
        return copy.deepcopy(data) if isinstance(data, dict | list) else data

    def _scalar(self, event: Any, path: Path, place: Place) -> Any:
        text, plain = event.value, event.implicit[0]
        if plain and text == "":
            return _EMPTY
        if plain and text in ("~", "null", "Null", "NULL"):
            self.into.written[path] = "null"
            return None
        try:
            value = self.expand(text)
        except Unresolved as error:
            self.into.problems.append(Problem(*place, str(error)))
            return text
        self.into.written[path] = repr(text) if value == text else f"the value of {text!r}"
        return value

    def _sequence(self, path: Path) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            item = self._node(event, (*path, len(items)))
            items.append(None if item is _EMPTY else item)
        return items

    def _mapping(self, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        lines: dict[str, int] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            place = self._place(event.start_mark)
            key = self._key(event, place)
            if key in lines:
                self.into.problems.append(Problem(*place, f"{key!r} is there twice, already in line {lines[key]}"))
            lines.setdefault(key, place.line)
            self.into.keys[(*path, key)] = place
            if (value := self._node(next(self.events), (*path, key))) is not _EMPTY:
                data[key] = value
        return data

    def _key(self, event: Any, place: Place) -> str:
        if not isinstance(event, ScalarEvent) or event.tag is not None:
            self.fail(place, "a key must be one word: quote a value that begins with {, [, *, & or !")
        return str(event.value)
