"""`relay key`: the key that encrypts passwords at rest.

Part of the command line.
"""

from __future__ import annotations

import typer

from relay.cli import client
from relay.cli.options import Options
from relay.cli.output import document, rows

app = typer.Typer(no_args_is_help=True)


@app.callback()
def key() -> None:
    """The key that encrypts the passwords of providers and of integrations at rest.

    \b
    Example:
      relay key rotate
    """


@app.command()
def rotate(context: typer.Context) -> None:
    """Make a new encryption key and re-encrypt everything; the old key is gone afterwards.

    \b
    Example:
      relay key rotate
    """
    options: Options = context.obj
    done = client.relay(options, existing=True).ask("/v1/key/rotate", {})
    if options.json:
        document(done)
        return
    rows(("", ""), done.items())
