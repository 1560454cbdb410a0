"""What commands print: rows for scripts, tables for people, JSON for programs.

Used by every command. Off a terminal a row is one line, its cells separated by tabs, never cut, wrapped or coloured.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from relay.cli.options import Failure
from relay.observe.text import escaped, place_of

Row = Sequence[object]


def on_terminal() -> bool:
    return sys.stdout.isatty()


def cell(value: object) -> str:
    """Text that cannot break out of its cell: no tab, no line end, no escape sequence."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ",".join(cell(item) for item in value)
    return escaped(str(value))


def rows(head: Sequence[str], content: Iterable[Row]) -> None:
    """A table on a terminal, where `head` names the columns; else only the rows."""
    if on_terminal():
        _table(head, content)
        return
    for row in content:
        print("\t".join(cell(value) for value in row))


def _table(head: Sequence[str], content: Iterable[Row]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    texts = [[_short(cell(value)) for value in row] for row in content]
    table = Table(box=None, pad_edge=False, show_header=any(head))
    for name, column in zip(head, zip(*texts, strict=True), strict=False):
        width = max(map(len, column)) if name in _WHOLE and name != head[-1] else None
        table.add_column(name, overflow="fold", min_width=width)
    for row in texts:
        table.add_row(*map(Text, row))
    if texts:
        Console().print(table)


# Columns that people copy from or compare down the page: they are not wrapped on a narrow terminal.
_WHOLE = frozenset({"", "ID", "STATE", "RECEIVED", "SIZE", "AT", "WHAT", "DUE", "TRIES"})
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def _short(text: str) -> str:
    """A time as people read it: local, of today only the hour."""
    if not _MOMENT.fullmatch(text):
        return text
    local = datetime.fromisoformat(text).astimezone()
    today = local.date() == datetime.now().astimezone().date()
    return local.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")


def document(content: Any) -> None:
    """JSON; ASCII, so that no terminal is surprised."""
    print(json.dumps(content, indent=2 if on_terminal() else None))


def stream(pages: Iterable[Sequence[Any]]) -> None:
    """One JSON document of all pages, `{"data": [...], "has_more": false}`, printed while they arrive."""
    separator = '{"data": ['
    for page in pages:
        for item in page:
            print(separator, end="")
            print(json.dumps(item), end="")
            separator = ",\n"
    print(separator if separator.startswith("{") else "", end="")
    print('], "has_more": false}')


def complain(sentence: str) -> None:
    print(escaped(sentence), file=sys.stderr)


_UNWRITABLE = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT)


def tell(error: Exception) -> int:
    """Say why a command failed, in a sentence on standard error; the exit code."""
    if isinstance(error, Failure):
        complain(f"relay: {error}")
        return error.code
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        # Python would complain when it closes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # whoever read our output has seen enough
            complain(f"relay: there is no room for what this writes: {os.strerror(error.errno).lower()}; make some")
        return 1
    complain(f"relay: internal error, please report it: {place_of(error)}")
    return 1
