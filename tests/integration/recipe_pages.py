"""docs/recipes as data: the files its pages show, and the commands they tell people to type.

Used by the tests that run those. A page shows a file in a block whose first line is a comment with its name.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PAGES = Path(__file__).parents[2] / "docs" / "recipes"
SECRET = "With a password"
"""The section that every page has of it."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_COMMENT = re.compile(r"^(<\?php )?(#|;|//) ")
_HEADING = re.compile(r"^## ", re.M)


@dataclass(frozen=True)
class Block:
    section: str
    language: str
    text: str

    @property
    def title(self) -> str:
        """`/etc/msmtprc` of a block that begins with `# /etc/msmtprc`."""
        return _COMMENT.sub("", self.text.splitlines()[0])


@cache
def blocks(page: str) -> tuple[Block, ...]:
    """In order. `section` "" is what stands before the first one."""
    top, *sections = _HEADING.split((PAGES / page).read_text())
    parts = [("", top), *((one.partition("\n")[0], one) for one in sections)]
    return tuple(Block(name, *found) for name, text in parts for found in _FENCE.findall(text))


def shown(page: str, title: str, section: str = "") -> str:
    """The file of this name, as this section shows it."""
    [block] = [one for one in blocks(page) if one.section == section and one.title.startswith(title)]
    return block.text


def snippet(page: str, section: str, language: str) -> str:
    """The only block of a language in a section: for pieces that go into the middle of a file."""
    [block] = [one for one in blocks(page) if (one.section, one.language) == (section, language)]
    return block.text


def commands(page: str, begin: str) -> list[str]:
    """The commands after a prompt that begin with these words, as a shell would get them."""
    text = "".join(block.text for block in blocks(page) if block.language == "console").replace("\\\n", " ")
    lines = [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]
    return [line for line in lines if line.startswith(begin)]


def command(page: str, begin: str) -> str:
    [found] = commands(page, begin)
    return found


def words(line: str) -> list[str]:
    """Of a command, without the comment behind it."""
    return shlex.split(line, comments=True)
