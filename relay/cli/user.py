"""`relay user`: who may log in, at listeners with AUTH and over HTTP.

Part of the command line. A password is asked for or read from standard input; it never stands among the arguments,
which every user of the machine can see.
"""

from __future__ import annotations

import getpass
import os
from typing import Annotated, Any

import typer

from relay.cli import client
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
_MOST = 4096  # bytes read for a password; the relay takes 1024

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
    """Add a user, who may log in at once. The password has 8 bytes or more.

    \b
    Example:
      relay user add crm
      relay user add crm --scope send --password-stdin < crm.password
    """
    options: Options = context.obj
    relay = client.relay(options)
    password = _from_stdin() if password_stdin else _asked(name)
    order: dict[str, Any] = {"name": name, "password": password}
    added = relay.ask("/v1/users", order | ({"scopes": divided(scope)} if scope else {}))
    if options.json:
        document(added)
    elif on_terminal():
        complain(f"user {name} added: {', '.join(added['scopes'])}")


def _from_stdin() -> str:
    """The first line, without its end."""
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        line = stdin.readline(_MOST).removesuffix(b"\n").removesuffix(b"\r")
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise Failure("the password on standard input is not UTF-8", 2) from None


def _asked(name: str) -> str:
    if not os.isatty(0):
        raise Failure("there is no terminal to ask for the password: give --password-stdin and the password there", 2)
    password = getpass.getpass(f"Password of {name}: ")
    if getpass.getpass("Again: ") != password:
        raise Failure("the two are not the same: nothing was added", 2)
    return password


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
