"""What stands behind `--opt`, `--data` and FILE: options of integrations, data of events, rules.

Used by the commands that take them. It never repeats what it was given, which may be a secret (hazard H8).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from relay.cli.options import Failure

JSON = dict[str, Any]

Data = Annotated[
    str, typer.Option("--data", metavar="JSON|@FILE|-", help="an object: the variables of templates; - is stdin")
]

_KNOWN = ("to", "from", "user", "password", "host", "port", "cc")


def options_of(given: Sequence[str]) -> dict[str, str]:
    """`name=value` each. Raises Failure, which says which one; not what it says, unless that is a name."""
    found: dict[str, str] = {}
    for number, text in enumerate(given, 1):
        name, equals, value = text.partition("=")
        if not equals or not name:
            which = f"--opt {text}" if text in _KNOWN else f"--opt number {number}"
            raise Failure(f"{which} is no name=value: write it as in --opt host=smtp.example.com", 2)
        if name in found:
            raise Failure(f"--opt {name} is given twice: give it once", 2)
        found[name] = value
    return found


def data_of(given: str) -> JSON:
    """An object of JSON, {} for none: in the argument, in a file, or on standard input. Raises Failure."""
    if not given:
        return {}
    if given == "-" or given.startswith("@"):
        file = given.removeprefix("@")
        return _object(_text(file), file)
    return _object(given, "--data")


def rule_of(file: Path) -> JSON:
    """A rule in a file of YAML or JSON, "-" is standard input. Raises Failure."""
    text = _text(str(file))
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _of_yaml(text, str(file))
    if isinstance(found, list) and found:
        raise Failure(f"{file} has a list: give one rule, without the dash", 2)
    if not isinstance(found, dict):
        raise Failure(f"{file} is no workflow: write trigger: and actions: into it", 2)
    if "workflows" in found:
        raise Failure(f"{file} is a configuration: give one of its rules, without workflows: and the dash", 2)
    return found


def _of_yaml(text: str, file: str) -> Any:
    from relay.config.workflows import Unreadable, from_yaml

    try:
        return from_yaml(text)
    except Unreadable as error:
        raise Failure(f"{file} is no YAML that is taken here: {error}", 2) from None


def _text(file: str) -> str:
    """All of it; "-" is standard input."""
    try:
        with open(0, "rb", closefd=False) if file == "-" else Path(file).open("rb") as opened:
            return opened.read().decode()
    except OSError as error:
        reason = (error.strerror or "it failed").lower()
        raise Failure(f"{file} cannot be read ({reason}): name a file that you may read", 2) from None
    except UnicodeDecodeError:
        raise Failure(f"{file} is not UTF-8 text", 2) from None


def _object(text: str, called: str) -> JSON:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise Failure(f"""{called} is no JSON{where}: write it like {{"user": {{"name": "Ann"}}}}""", 2) from None
    if not isinstance(found, dict):
        raise Failure(f'{called} is no object: write it like {{"name": "Ann"}}', 2)
    return found
