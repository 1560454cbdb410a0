"""Why a template came to nothing, in words for who wrote it: what is missing, and what may have been meant.

Called by `rendering` with what was raised. It shows names that the template says, never a value of the event, which may
be secret and may be what is looked up; so of Python's own messages only those that name nothing but types (hazard H8).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from jinja2.exceptions import FilterArgumentError, SecurityError, TemplateRuntimeError, TemplateSyntaxError
from jinja2.utils import missing

from relay.automation.sandbox.environment import Absent, Forbidden, Refused
from relay.automation.sandbox.limits import MEMORY
from relay.config.words import did_you_mean

_MOST = 10_000
"""Things of the event that are looked at to tell where a mapping stands in it."""

_CANDIDATES = 200
_LONGEST = 80

_KINDS = {
    "str": "text",
    "Markup": "text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "NoneType": "null",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "function": "a function",
    "builtin_function_or_method": "a function that is not called",
    "method": "a function that is not called",
}

_TYPE_ERRORS = (
    (r"can only concatenate (str) \(not \"(\w+)\"\) to \w+", "{0} + {1} is not possible: join texts with ~"),
    (r"can only concatenate (list) \(not \"(\w+)\"\) to \w+", "{0} + {1} is not possible"),
    (r"unsupported operand type\(s\) for (\S+)(?: or pow\(\))?: '(\w+)' and '(\w+)'", "{1} {0} {2} is not possible"),
    (r"'([<>]=?)' not supported between instances of '(\w+)' and '(\w+)'", "{1} cannot be compared with {2} ({0})"),
    (r"'(\w+)' object is not callable", "{0} is called like a function"),
    (r"'(\w+)' object is not iterable", "{0} is used like a list"),
)

_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (MemoryError, f"needed more than {MEMORY >> 20} MiB of memory"),
    (RecursionError, "calls itself without end, or is nested too deeply"),
    (SecurityError, "uses something that templates cannot use"),
    (ZeroDivisionError, "divides by zero"),
    (OverflowError, "a number becomes too large"),
    (UnicodeError, "makes text that no mail can carry: half a character (a lone surrogate)"),
    (TemplateSyntaxError, "cannot be compiled"),
    (SyntaxError, "is nested too deeply, or names something twice or by a name that Python keeps for itself"),
    (FilterArgumentError, "a filter does not take what it is given"),
    (TemplateRuntimeError, "a filter or test does not exist or cannot be used so"),
    (LookupError, "something is looked up that is not there"),
    (AttributeError, "a value lacks what is done with it"),
    (ValueError, "a value does not have the form that is needed for what is done with it"),
    (TypeError, "a value is not of the kind that is needed for what is done with it"),
)


def sentence(error: Exception, data: Mapping[str, Any], source: str) -> str:
    """Cause and, where it can be told, what to do. `source`: of the template or the condition."""
    if isinstance(error, Absent):
        return _absent(error, data, source)
    if isinstance(error, Forbidden):
        return f"templates cannot use {_named(error.name, source)}"
    if isinstance(error, Refused):
        return error.message or "is refused"
    if isinstance(error, TypeError) and (told := _of_types(str(error))):
        return told
    return next((words for kind, words in _SENTENCES if isinstance(error, kind)), "cannot be rendered")


def line(error: Exception) -> int:
    """Of the template, from 1, where it happened; 0 when it cannot be told."""
    found, step = 0, error.__traceback__
    while step is not None:
        template = step.tb_frame.f_globals.get("__jinja_template__")
        if template is not None:
            found = template.get_corresponding_lineno(step.tb_lineno)
        step = step.tb_next
    return found


def _absent(error: Absent, data: Mapping[str, Any], source: str) -> str:
    if error.hint:
        return error.hint[:1].lower() + error.hint[1:].rstrip(".")
    owner = data if error.owner is missing else error.owner
    if not isinstance(owner, dict | list):
        return _lacking(owner, error.name, source)
    near = _near(error.name, owner if isinstance(owner, dict) else (), source)
    path = () if owner is data else _path(owner, data)
    if path is None:  # the template made it
        kind = "list" if isinstance(owner, list) else "mapping"
        return f"{_named(error.name, source)} is missing from the {kind} in which it is looked up{near}"
    place = _dotted(path, source) + _step(error.name, source, first=not path)
    return f"{place} is missing from the event's data{near}"


def _lacking(owner: object, name: object, source: str) -> str:
    if owner is None:
        return f"{_named(name, source)} is missing: it is looked up in null"
    kind = _KINDS.get(type(owner).__name__, "this")
    return f"{kind} has no {_named(name, source)}" + _near(
        name, (word for word in dir(owner) if word[0] != "_"), source
    )


def _near(name: object, known: Iterable[object], source: str) -> str:
    """Only among a few short ones: a comparison takes time, and the time is counted."""
    if not isinstance(name, str) or len(name) > _LONGEST or not _said(name, source):
        return ""
    return did_you_mean(
        name, [word for word in islice(known, _CANDIDATES) if isinstance(word, str) and len(word) <= _LONGEST]
    )


def _said(name: object, source: str) -> bool:
    """The template itself has this name: it is not what some value of the event happens to be."""
    return isinstance(name, str | int) and bool(re.search(rf"(?<!\w){re.escape(str(name))}(?!\w)", source))


def _named(name: object, source: str) -> str:
    """On one line and not too long to be read; `…` for what the template does not say."""
    if not _said(name, source):
        return "…"
    return "".join(c if c.isprintable() else "?" for c in str(name)[:_LONGEST])


def _path(wanted: object, data: Mapping[str, Any]) -> tuple[object, ...] | None:
    """Where a mapping or list stands in the event, by its identity."""
    waiting: deque[tuple[tuple[object, ...], Any]] = deque([((), data)])
    for _ in range(_MOST):
        if not waiting:
            return None
        path, holder = waiting.popleft()
        if holder is wanted:
            return path
        parts = holder.items() if isinstance(holder, dict) else enumerate(holder)
        waiting.extend(((*path, key), part) for key, part in islice(parts, _MOST) if isinstance(part, dict | list))
    return None


def _dotted(path: tuple[object, ...], source: str) -> str:
    """`user.orders[0].name`, and `user['first-name']` where a dot would not do. Positions in lists are no values."""
    steps = (
        f"[{part}]" if isinstance(part, int) else _step(part, source, first=not at) for at, part in enumerate(path)
    )
    return "".join(steps)


def _step(name: object, source: str, *, first: bool) -> str:
    words = _named(name, source)
    if isinstance(name, str) and name.isidentifier() and words != "…":
        return words if first else f".{words}"
    return f"['{words}']" if isinstance(name, str) and words != "…" else f"[{words}]"


def _of_types(message: str) -> str:
    for pattern, words in _TYPE_ERRORS:
        if found := re.fullmatch(pattern, message):
            told = words.format(*(_KINDS.get(word, word) for word in found.groups()))
            return told[:1].lower() + told[1:]
    return ""
