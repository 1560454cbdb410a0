"""`relay run`: a relay in the foreground.

Part of the command line. It reads what is to be run; `main` runs it.
"""

from __future__ import annotations

import typer

from relay.app.plan import Plan
from relay.cli.options import Options


def run(context: typer.Context) -> Plan:
    """Start the relay in the foreground. SIGHUP reloads the configuration, SIGTERM and Ctrl-C stop it in order.

    \b
    Example:
      relay run --config /etc/relay/relay.yaml
    """
    options: Options = context.obj
    loaded = options.load()
    from relay.app.build import plan

    return plan(loaded)
