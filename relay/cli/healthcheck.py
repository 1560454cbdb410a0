"""`relay healthcheck`: for containers and supervisors.

Part of the command line; the verdict is the relay's own `/readyz`.
"""

from __future__ import annotations

import typer

from relay.cli import client
from relay.cli.options import Failure, Options
from relay.cli.output import document, rows


def healthcheck(context: typer.Context) -> None:
    """Exit 0 when the relay is ready to accept mail, else 1 saying what is wrong.

    \b
    Example:
      relay healthcheck && echo ready
    """
    options: Options = context.obj
    status, found = client.running(options).exchange("/readyz")
    if options.json:
        document(found)
    else:
        facts = (("status", found.get("status")), ("mode", found.get("mode")), *found.get("checks", {}).items())
        rows(("", ""), [(name, value) for name, value in facts if value is not None])
    if status != 200:
        raise Failure("the relay is not ready")
