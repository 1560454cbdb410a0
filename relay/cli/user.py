"""`relay user`: who may log in, at listeners with AUTH and over HTTP.

Part of the command line. A password is asked for or read from standard input; it never stands among the arguments,
which every user of the machine can see.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from relay.cli import client, passwords
from relay.cli.asking import in_path
from relay.cli.options import Failure, Options
from relay.cli.output import complain, document, on_terminal, rows
from relay.cli.pages import pages

Name = Annotated[str, typer.Argument(metavar="NAME", help="the user name")]
Scopes = Annotated[
    list[str] | None,
    typer.Option("--scope", help="send, queue, providers, admin; repeatable. Default: send, queue, providers"),
]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="read the password from standard input")]
_SHORT = 8  # characters

app = typer.Typer(
    help="""Add, list and remove users of listeners with AUTH and of the HTTP API.

    \b
    Example:
      relay user add crm
      relay user list
    """,
    no_args_is_help=True,
)


def divided(scopes: list[str] | None) -> list[str]:
    """`--scope send,queue` is `--scope send --scope queue`."""
    return [name for given in scopes or () for name in given.split(",")]


@app.command()
def add(context: typer.Context, name: Name, password_stdin: FromStdin = False, scope: Scopes = None) -> None:
    """Add a user, who may log in at once.

    \b
    Example:
      relay user add crm
      relay user add crm --scope send --password-stdin < crm.password
    """
    options: Options = context.obj
    relay = client.relay(options)
    password = _given(name, password_stdin)
    order: dict[str, Any] = {"name": name, "password": password}
    added = relay.ask("/v1/users", order | ({"scopes": divided(scope)} if scope else {}))
    if options.json:
        document(added)
    elif on_terminal():
        complain(f"user {name} added: {', '.join(added['scopes'])}")
    if len(password) < _SHORT:
        complain(
            "relay: that password is short; whoever can reach the relay may guess it: take twelve characters or more"
        )


def _given(name: str, stdin: bool) -> str:
    """Twice, where a person types it and does not see it."""
    given = passwords.password(stdin=stdin, file=None, ask=f"Password of {name}: ")
    if given is None:
        raise Failure("there is no terminal to ask for the password: give --password-stdin and the password there", 2)
    if os.isatty(0) and passwords.password(stdin=False, file=None, ask="Again: ") != given:
        raise Failure("the two are not the same: nothing was added", 2)
    return given


@app.command("list")
def list_(context: typer.Context) -> None:
    """List users: name, what they may do, where they are (file or api), since when.

    \b
    Example:
      relay user list
    """
    options: Options = context.obj
    found = pages(client.relay(options, existing=True), "/v1/users", "name")
    if options.json:
        document({"data": found, "has_more": False})
        return
    names = ("name", "scopes", "origin", "created_at")
    rows(("NAME", "SCOPES", "ORIGIN", "SINCE"), ([one[name] for name in names] for one in found))


@app.command()
def remove(context: typer.Context, name: Name) -> None:
    """Remove a user, who cannot log in any more; tokens it got from /token are over, too.

    \b
    Example:
      relay user remove crm
    """
    options: Options = context.obj
    client.relay(options, existing=True).ask(f"/v1/users/{in_path(name)}", method="DELETE")
    if options.json:
        document({"name": name, "removed": True})
    elif on_terminal():
        complain(f"user {name} removed")
