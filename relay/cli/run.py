"""`relay run`: a relay in the foreground.

Part of the command line; the work is `relay.app`'s.
"""

from __future__ import annotations

import typer

from relay.cli.options import Failure, Options


def run(context: typer.Context) -> None:
    """Start the relay in the foreground. SIGHUP reloads the configuration, SIGTERM and Ctrl-C stop it in order.

    \b
    Example:
      relay run --config /etc/relay/relay.yaml
    """
    options: Options = context.obj
    loaded = options.load()
    from relay.app import CannotStart
    from relay.app import run as run_relay

    try:
        raise typer.Exit(run_relay(loaded))
    except CannotStart as error:
        raise Failure(str(error)) from None
