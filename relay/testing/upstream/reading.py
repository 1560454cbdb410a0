"""A script from a YAML file, with the place of every mistake: `file:line:column: what, and what would be right`.

`python -m relay.testing.upstream` reads with it, and tests that keep their scripts as files. It fills in a Script only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from relay.config.problems import ConfigError, Document
from relay.config.reader import read
from relay.config.words import did_you_mean
from relay.testing.upstream.actions import ACTIONS, Close, Do, Raw
from relay.testing.upstream.script import Place, Script, ScriptError


def load_script(path: Path | str) -> Script:
    """Raises ScriptError (also for a file that cannot be read)."""
    try:
        text = Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError([((), f"{path}: the script cannot be read: {error}")]) from None
    return read_script(text, str(path))


def read_script(text: str, file: str = "script") -> Script:
    """Raises ScriptError; its text has a line for each problem."""
    try:
        document = read(text, file, lambda value: value)
    except ConfigError as error:
        raise ScriptError([((), str(problem)) for problem in error.problems]) from None
    problems = [str(problem) for problem in document.problems]
    script: Script | None = None
    try:
        script = _Reader(document.data).script()
    except ScriptError as error:
        problems += [str(_at(document, path, sentence)) for path, sentence in error.problems]
    if script is None or problems:
        raise ScriptError([((), problem) for problem in problems])
    return script


def _at(document: Document, path: Place, sentence: str) -> object:
    """Mistakes in a key are shown at the key."""
    key = document.keys.get(path) if "no such phase" in sentence or "unknown key" in sentence else None
    return document.report(path, sentence, place=key)


class _Reader:
    """Types what the YAML reader left as text, and leaves judging phases and actions to Script."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data
        self._problems: list[tuple[Place, str]] = []

    def script(self) -> Script:
        known = {field.name: field for field in fields(Script)}
        values: dict[str, Any] = {}
        for key, value in self._data.items():
            if key not in known:
                self._fail((key,), f"unknown key {key!r}{did_you_mean(key, known)}")
            elif value is not None:
                values[key] = _TYPES.get(key, _Reader._seconds)(self, value, (key,))
        script: Script | None = None
        try:
            script = Script(**values)
        except ScriptError as error:
            # What could not be read is there as None, and was told already.
            self._problems += error.problems
        if self._problems or script is None:
            raise ScriptError(self._problems)
        return script

    def _fail(self, path: Place, sentence: str) -> None:
        self._problems.append((path, sentence))

    def _seconds(self, value: object, path: Place) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|)", str(value))
        if found is None:
            self._fail(path, f"{path[-1]} must be seconds, as 0.5, 2s or 200ms")
            return 0.0
        return float(found[1]) / (1000 if found[2] == "ms" else 1)

    def _text(self, value: object, path: Place) -> str:
        if isinstance(value, str):
            return value
        self._fail(path, f"{path[-1]} must be text")
        return ""

    def _texts(self, value: object, path: Place) -> tuple[str, ...]:
        if isinstance(value, list):
            return tuple(self._text(each, (*path, at)) for at, each in enumerate(value))
        self._fail(path, f"{path[-1]} must be a list: [PIPELINING, 8BITMIME]")
        return ()

    def _mapping(self, value: object, path: Place, example: str) -> Mapping[str, object]:
        if isinstance(value, dict):
            return value
        if value is not None:
            self._fail(path, f"{_name(path)} must be a mapping: {example}")
        return {}

    def _phases(self, value: object, path: Place) -> dict[str, Any]:
        given = self._mapping(value, path, "lines of `phase: action`")
        return {phase: self._plan(plan, (*path, phase)) for phase, plan in given.items()}

    def _plan(self, plan: object, path: Place) -> object:
        if isinstance(plan, list):
            return [self._action(each, (*path, turn)) for turn, each in enumerate(plan)]
        return self._action(plan, path)

    def _connections(self, value: object, path: Place) -> list[dict[str, Any]]:
        if isinstance(value, list):
            return [self._phases(each, (*path, at)) for at, each in enumerate(value)]
        self._fail(path, "connections must be a list: one mapping of phases for each connection, {} for a usual one")
        return []

    def _recipients(self, value: object, path: Place) -> dict[str, Any]:
        given = self._mapping(value, path, "lines of `address: reply`, with * for anything")
        return {glob: self._action(each, (*path, glob)) for glob, each in given.items()}

    def _action(self, value: object, path: Place) -> Any:
        """Text is an action's name or a reply; a mapping builds one: {raw: …}, {close: "421 bye"}, {do: …}."""
        if not isinstance(value, dict):
            return value
        form = next((form for form in _FORMS if form in value), None)
        if form is None or set(value) - _FORMS[form].keys():
            self._fail(
                path,
                "write {do: NAME, seconds: 2}, {raw: TEXT, pause: 0.1, granted: true} or "
                "{close: LAST WORDS, reset: true}",
            )
            return None
        typed = {key: _FORMS[form][key](self, each, (*path, key)) for key, each in value.items()}
        return _MADE[form](typed)

    def _bytes(self, value: object, path: Place) -> bytes:
        """Text as latin-1 where it can be: "\\xff" in double quotes is that byte."""
        text = self._text(value, path)
        return text.encode("latin-1") if all(char < "\u0100" for char in text) else text.encode()

    def _flag(self, value: object, path: Place) -> bool:
        if value not in ("true", "false"):
            self._fail(path, f"{path[-1]} must be true or false")
        return value == "true"

    def _known(self, value: object, path: Place) -> str:
        name = self._text(value, path)
        if name and name not in ACTIONS:
            self._fail(path, f"no such action: {name!r}{did_you_mean(name, ACTIONS)}")
        return name if name in ACTIONS else "silence"


def _name(path: Place) -> str:
    return f"{path[0]}[{path[-1]}]" if isinstance(path[-1], int) else str(path[-1])


_Typed = Callable[[_Reader, Any, Place], Any]
_TYPES: Mapping[str, _Typed] = {
    "phases": _Reader._phases,
    "connections": _Reader._connections,
    "recipients": _Reader._recipients,
    "offers": _Reader._texts,
    "auth": _Reader._texts,
    "tls": _Reader._text,
    "certificate": _Reader._text,
}
_FORMS: Mapping[str, Mapping[str, _Typed]] = {
    "do": {"do": _Reader._known, "seconds": _Reader._seconds},
    "raw": {"raw": _Reader._bytes, "pause": _Reader._seconds, "granted": _Reader._flag},
    "close": {"close": _Reader._bytes, "reset": _Reader._flag},
}
_MADE: Mapping[str, Callable[[Mapping[str, Any]], object]] = {
    "do": lambda given: Do(given["do"], given.get("seconds")),
    "raw": lambda given: Raw(given["raw"], given.get("pause", 0.0), given.get("granted", False)),
    "close": lambda given: Close(given["close"] + b"\r\n", given.get("reset", False)),
}
