"""Settings from the environment: `RELAY_` and a path joined by `__`, lists by index (RELAY_PROVIDERS__0__PASSWORD).

Called by `load`, after the file was read and before anything is validated. Where the schema wants one value the text is
taken as it is, where it wants a section or a list it is read as YAML. `${NAME}` is not replaced here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from relay.config import shape
from relay.config.problems import ConfigError, Document, Path, Place
from relay.config.reader import read_value
from relay.config.schema import Config
from relay.config.words import closest

_PREFIX = "RELAY_"
_NOT_SETTINGS = frozenset({"RELAY_CONFIG", "RELAY_TOKEN"})


def override(document: Document, environ: Mapping[str, str]) -> list[str]:
    """Put the environment's settings into the document; the answer is one warning for each variable that is none."""
    warnings = []
    for name in sorted(environ, key=_in_order):
        if not name.startswith(_PREFIX) or name in _NOT_SETTINGS:
            continue
        path = _path(name)
        if path is None:
            warnings.append(f"{name} is not a setting and is ignored{_suggest(name)}")
        else:
            _set(document, name, path, environ[name])
    return warnings


def _in_order(name: str) -> tuple[tuple[int, str], ...]:
    """Whole before part, 2 before 10."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in name.split("__"))


def _path(name: str) -> Path | None:
    path: list[str | int] = []
    for part in name.removeprefix(_PREFIX).split("__"):
        path.append(_key(shape.at(Config, tuple(path)), part))
        if not part or shape.at(Config, tuple(path)) is None:
            return None
    return tuple(path)


def _key(parent: Any, part: str) -> str | int:
    return int(part) if shape.is_list(parent) and re.fullmatch("[0-9]{1,5}", part) else part.lower()


def _suggest(name: str) -> str:
    """The variable that was meant, right up to the first part that is not in the schema."""
    parts = name.removeprefix(_PREFIX).split("__")
    path: list[str | int] = []
    for index, part in enumerate(parts):
        parent = shape.at(Config, tuple(path))
        path.append(_key(parent, part))
        if shape.at(Config, tuple(path)) is None:
            model = shape.section(parent)
            near = closest(part, shape.fields(model)) if model else ""
            return f", did you mean {_PREFIX}{'__'.join([*parts[:index], near.upper()])}?" if near else ""
    return ""


def _set(document: Document, name: str, path: Path, text: str) -> None:
    place = Place(name)
    try:
        value = _value(shape.at(Config, path), name, text)
        target = _container(document.data, path)
    except ConfigError as error:
        document.problems.extend(error.problems)
        return
    if target is None:
        document.problems.append(
            document.report(path, "there is no such place: entries are numbered from 0 without gaps", place=place)
        )
        return
    _put(*target, value)
    _forget(document, path)
    document.values[path] = place


def _value(annotation: Any, name: str, text: str) -> Any:
    if shape.section(annotation) or shape.is_mapping(annotation):
        return read_value(text, name)
    if shape.is_list(annotation):
        return read_value(text, name) if text.lstrip()[:1] in ("[", "-", "") else text
    null = text in ("null", "~") and shape.bare(annotation) is not SecretStr
    return None if null else text


def _container(data: Any, path: Path) -> tuple[Any, Any] | None:
    """The list or mapping that holds the last key of the path, and that key as it is called there."""
    for depth, key in enumerate(path):
        if isinstance(data, dict):
            key = next((name for name in data if name.lower() == key), key)
        elif not isinstance(data, list) or not isinstance(key, int) or key > len(data):
            return None
        if depth == len(path) - 1:
            return data, key
        data = _inside(data, key, path[: depth + 1])
    return None


def _inside(data: Any, key: Any, path: Path) -> Any:
    """What lies under a key; where nothing does, what the schema has as its default."""
    there = data[key] if key in (data if isinstance(data, dict) else range(len(data))) else None
    if there is None:
        there = _default(path)
        _put(data, key, there)
    return there


def _put(data: Any, key: Any, value: Any) -> None:
    if isinstance(data, list) and key == len(data):
        data.append(value)
    else:
        data[key] = value


def _default(path: Path) -> Any:
    model = shape.section(shape.at(Config, path[:-1]))
    if not shape.is_list(shape.at(Config, path)) or model is None:
        return {}
    default = shape.fields(model)[str(path[-1])].get_default(call_default_factory=True, validated_data={})
    some = default if isinstance(default, list | tuple) else ()  # pydantic has a value for: there is none
    return [dict(item) if isinstance(item, dict) else item for item in some]


def _forget(document: Document, path: Path) -> None:
    """What the file had under the path no longer says where a value stands."""
    for old in [old for old in document.values if old[: len(path)] == path]:
        del document.values[old]
        document.written.pop(old, None)
        document.keys.pop(old, None)
