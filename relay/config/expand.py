"""`${NAME}` in values, and where a name is looked up: the environment, then files made for secrets.

Called by the reader for every value of the file. The text it puts in is never looked at again: no second expansion.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from relay.config.types import secret_text

Expand = Callable[[str], str]

_REFERENCE = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)\}|(\{))")
RUN_SECRETS = Path("/run/secrets")


class Unresolved(Exception):
    """A reference cannot be replaced; the text says why and what to do."""


def expander(environ: Mapping[str, str], run_secrets: Path = RUN_SECRETS) -> Expand:
    """A function that replaces `${NAME}` and `$$` in a text. It raises Unresolved."""

    def replace(match: re.Match[str]) -> str:
        if match[1]:
            return "$"
        if match[3]:
            raise Unresolved("${ begins a reference, which is ${NAME}: write $${ for a dollar and a brace")
        return _look_up(match[2], environ, run_secrets)

    return lambda text: _REFERENCE.sub(replace, text) if "$" in text else text


def _look_up(name: str, environ: Mapping[str, str], run_secrets: Path) -> str:
    if name in environ:
        return environ[name]
    if file := environ.get(f"{name}_FILE"):
        return _read(Path(file), f"the file that {name}_FILE names")
    folders = [Path(folder) for folder in (environ.get("CREDENTIALS_DIRECTORY"),) if folder]
    for path in (folder / name for folder in (*folders, run_secrets)):
        if path.is_file():
            return _read(path, str(path))
    raise Unresolved(
        f"${{{name}}} is not set: set {name} or {name}_FILE in the environment, or put a file {name} into {run_secrets}"
    )


def _read(path: Path, what: str) -> str:
    try:
        return secret_text(path.read_bytes())
    except OSError as error:
        reason = (error.strerror or "it failed").lower()
        raise Unresolved(f"{what} cannot be read ({reason}): name a file that the relay's user may read") from None
    except ValueError as error:
        raise Unresolved(str(error).replace("{it}", what)) from None
