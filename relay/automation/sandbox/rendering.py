"""From jobs and an event's data to texts, and from whatever goes wrong to a problem with its place.

Called by `__main__` for each job. Everything a template does happens here, inside the limits of the process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from jinja2 import Template
from jinja2.environment import TemplateExpression

from relay.automation.jobs import Job, Problem, Rendered, Text
from relay.automation.sandbox import faults
from relay.automation.sandbox.environment import Environment, Refused
from relay.config.templates import condition_problem, problem

MAX_TEXT = 1 << 20
"""Bytes of one rendered text, in UTF-8."""

MAX_JOB = 16 << 20
"""Bytes of all texts of a job."""

Compiled = TypeVar("Compiled")


class Cache:
    """What was compiled last. Bounded by number and by the characters of the sources, of which each becomes many."""

    def __init__(self, entries: int = 500, characters: int = 1 << 20) -> None:
        self._kept: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._entries, self._characters, self._used = entries, characters, 0

    def get(self, kind: str, source: str, make: Callable[[str], Compiled]) -> Compiled:
        key = (kind, source)
        if key in self._kept:
            self._kept.move_to_end(key)
        else:
            self._kept[key] = make(source)
            self._used += len(source)
            self._shrink()
        made: Compiled = self._kept[key]
        return made

    def _shrink(self) -> None:
        while len(self._kept) > 1 and (len(self._kept) > self._entries or self._used > self._characters):
            (_, source), _ = self._kept.popitem(last=False)
            self._used -= len(source)


class Rendering:
    """Both environments and what they compiled. `spent`: memory ran out once, and who knows what lacks since."""

    def __init__(self) -> None:
        self.spent = False
        self._text, self._html = Environment(html=False), Environment(html=True)
        self._cache = Cache()

    def job(self, job: Job, data: dict[str, Any]) -> Rendered:
        """Never raises an Exception."""
        text = Text(place=("if",), source="")
        try:
            if job.condition and not self._condition(job.condition)(data):
                return Rendered(held=False)
            values: list[str] = []
            left = MAX_JOB
            for text in job.texts:
                value, size = _gathered(self._template(text), data, left)
                values.append(value)
                left -= size
        except Exception as error:
            self.spent = self.spent or isinstance(error, MemoryError)
            return Rendered(problem=Problem(place=text.place, text=_explained(error, data, text.source, job.condition)))
        return Rendered(values=tuple(values))

    def _condition(self, source: str) -> Callable[[dict[str, Any]], bool]:
        return self._cache.get("if", source, self._compiled_condition)

    def _compiled_condition(self, source: str) -> Callable[[dict[str, Any]], bool]:
        _refuse(condition_problem(source))
        expression: TemplateExpression = self._text.compile_expression(source, undefined_to_none=False)
        return lambda data: bool(expression(data))

    def _template(self, text: Text) -> Template:
        kind, environment = ("html", self._html) if text.html else ("text", self._text)
        return self._cache.get(kind, text.source, lambda source: _compiled(environment, source))


def _compiled(environment: Environment, source: str) -> Template:
    _refuse(problem(source))
    return environment.from_string(source)


def _refuse(why: str) -> None:
    if why:
        raise Refused(why)


def _gathered(template: Template, data: dict[str, Any], left: int) -> tuple[str, int]:
    """The text and its bytes, counted while it grows: one that never ends does not fill the memory first."""
    parts, size = [], 0
    for part in _parts(template, data):
        size += len(part) if part.isascii() or len(part) > MAX_TEXT else len(part.encode())
        if size > MAX_TEXT:
            raise Refused(f"is more than {MAX_TEXT >> 20} MiB when rendered")
        if size > left:
            raise Refused(f"together with the texts before it, is more than {MAX_JOB >> 20} MiB when rendered")
        parts.append(part)
    return "".join(parts), size


def _parts(template: Template, data: dict[str, Any]) -> Iterable[str]:
    # Not generate(): that would rewrite the traceback of what is raised, from which `faults` takes only the line.
    return template.root_render_func(template.new_context(data))


def _explained(error: Exception, data: dict[str, Any], source: str, condition: str) -> str:
    words = faults.sentence(error, data, source or condition)
    where = faults.line(error) if "\n" in source.strip("\n") else 0
    return f"line {where}: {words}" if where and not words.startswith("line ") else words
