"""The seeds' files as data: requests, the answers shown for them, and code, read out of what people wrote.

Used by the tests that replay them. `tests/seeds` holds the files byte for byte; nothing of them is written down again
here but how they are laid out.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

SEEDS = Path(__file__).parents[1] / "seeds"

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
_ENDPOINT = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/\S*)`")
_STATUS = re.compile(r"\b([1-5]\d\d) [A-Z]")


@dataclass(frozen=True)
class Shown:
    """An answer as the file shows it; `body` None: none is shown."""

    status: int
    body: Any = None


@dataclass
class Group:
    """A numbered section: its endpoints (method, path), the request's body, and the answers."""

    title: str
    endpoints: list[tuple[str, str]] = field(default_factory=list)
    body: Any = None
    answers: list[Shown] = field(default_factory=list)

    def answer(self, status: int, number: int = 0) -> Any:
        return [shown.body for shown in self.answers if shown.status == status][number]


@cache
def text(name: str) -> str:
    return next(SEEDS.glob(f"{name}-*.txt")).read_text(encoding="utf-8")


def code(name: str, language: str) -> list[str]:
    """All blocks of a language, in order."""
    return [body for found, body in _FENCE.findall(text(name)) if found == language]


@cache
def provider_api() -> dict[int, Group]:
    """Seed d's groups by their numbers."""
    sections = re.split(r"^## ", text("d"), flags=re.M)
    numbered = [(re.match(r"\S+ \*\*(\d+)\. (.*?)\*\*", section), section) for section in sections]
    return {int(match[1]): _group(match[2], section) for match, section in numbered if match}


def _group(title: str, section: str) -> Group:
    """`###` headings name an endpoint, a request or an answer; the JSON behind one belongs to it."""
    group = Group(title)
    for part in re.split(r"^### ", section, flags=re.M)[1:]:
        heading, _, rest = part.partition("\n")
        group.endpoints += _ENDPOINT.findall(heading)
        block = _FENCE.search(rest)
        body = json.loads(block[2]) if block else None
        if "Response" in heading:
            status = _STATUS.search(heading)
            assert status, heading
            group.answers.append(Shown(int(status[1]), body))
        elif "Request Body" in heading:
            group.body = body
    return group


@cache
def common_configurations() -> dict[str, Any]:
    """Seed d's settings of well-known hosts, by heading."""
    section = text("d").partition("**Common SMTP Provider Configurations**")[2].partition("\n## ")[0]
    found = re.findall(r"^### \*\*(.*?):?\*\*\n```json\n(.*?)^```$", section, re.M | re.S)
    return {name: json.loads(body) for name, body in found}


@cache
def send_api() -> Group:
    """Seed c's only endpoint."""
    whole = text("c")
    path = re.search(r"## Endpoint: `(/\S+)`", whole)
    method = re.search(r"\*\*Method:\*\* `(\w+)`", whole)
    assert path
    assert method
    request, success = (json.loads(body) for body in code("c", "json"))
    errors = re.findall(r"^\* \*\*([45]\d\d) [\w ]+:\*\*", whole, re.M)
    answers = [Shown(200, success), *(Shown(int(status)) for status in errors)]
    return Group("send", [(method[1], path[1])], request, answers)


def like(shown: Any, got: Any, where: str = "answer") -> None:
    """Assert that `got` has exactly the keys of `shown`, all the way down, and values of the same JSON types."""
    assert isinstance(got, _types(shown)), f"{where}: {got!r} is not like {shown!r}"
    assert isinstance(got, bool) is isinstance(shown, bool), f"{where}: {got!r} is not like {shown!r}"
    if isinstance(shown, dict):
        missing, more = sorted(shown.keys() - got.keys()), sorted(got.keys() - shown.keys())
        assert not missing + more, f"{where}: missing {missing}, too many {more}"
        for key in shown:
            like(shown[key], got[key], f"{where}.{key}")
    elif isinstance(shown, list):
        for number, item in enumerate(got):
            like(shown[0], item, f"{where}[{number}]")


def _types(shown: Any) -> tuple[type, ...]:
    """A whole number may stand where the file shows one with a point, not the other way round."""
    return (int, float) if isinstance(shown, float) else (type(shown),)
