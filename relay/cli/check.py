"""`relay check`: is the configuration right?

Part of the command line. Mistakes are the ConfigError that `main` prints for every command; here is what is said
when there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from relay.cli.options import Options
from relay.cli.output import complain, document

if TYPE_CHECKING:
    from relay.config.load import Loaded


def check(context: typer.Context) -> None:
    """Validate the configuration. Each mistake is a line `file:line:column: what`; then the exit code is 2.

    \b
    Example:
      relay check -c relay.yaml
    """
    from relay.config.load import ConfigError
    from relay.config.rules import conditions

    options: Options = context.obj
    try:
        loaded = options.load()
    except ConfigError as error:
        if options.json:
            names = ("file", "line", "column", "message")
            problems = [{name: getattr(problem, name) for name in names} for problem in error.problems]
            document({"ok": False, "problems": problems})
            raise typer.Exit(2) from None
        raise
    warnings = (*loaded.warnings, *conditions(loaded.config))
    if options.json:
        document({"ok": True, "problems": [], "warnings": list(warnings)})
        return
    for warning in warnings:
        complain(f"warning: {warning}")
    print(_summary(loaded))


def _summary(loaded: Loaded) -> str:
    config = loaded.config
    counts = ((len(config.listeners), "listener"), (len(config.providers), "provider"), (len(config.routes), "route"))
    found = ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts)
    mode = "" if config.providers else "; no provider, so mail is captured, not sent"
    return f"{loaded.path or 'built-in defaults'}: ok: {found}{mode}"
