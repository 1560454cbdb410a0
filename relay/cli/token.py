"""`relay token`: bearer tokens for programs that use the HTTP API.

Part of the command line. A token is printed once, alone on standard output, so that a script can keep it; the relay
has its hash only.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from relay.cli import client
from relay.cli.asking import in_path
from relay.cli.options import Options
from relay.cli.output import complain, document, on_terminal, rows
from relay.cli.pages import pages
from relay.cli.user import Scopes, divided

app = typer.Typer(
    help="""Create, list and revoke bearer tokens of the HTTP API.

    \b
    Example:
      relay token create --name ci --scope send --expires 30d
      relay token list
    """,
    no_args_is_help=True,
)


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Option("--name", help="what lists and logs call it")] = "",
    scope: Scopes = None,
    expires: Annotated[str, typer.Option("--expires", metavar="TIME", help="12h, 30d; default: never")] = "",
) -> None:
    """Make a token and print it. It is not shown again.

    \b
    Example:
      relay token create --name ci --scope send --expires 30d > token
    """
    options: Options = context.obj
    order: dict[str, Any] = {"name": name} | ({"scopes": divided(scope)} if scope else {})
    made = client.relay(options).ask("/v1/tokens", order | ({"expires": expires} if expires else {}))
    if options.json:
        document(made)
        return
    until = f"until {made['expires_at']}" if made["expires_at"] else "without end"
    complain(f"token {made['name']} ({made['id']}): {', '.join(made['scopes'])}, {until}; it is not shown again:")
    print(made["token"])


@app.command("list")
def list_(context: typer.Context) -> None:
    """List tokens that were made here: id, name, what they may do, since when, until when.

    \b
    Example:
      relay token list
    """
    options: Options = context.obj
    found = pages(client.relay(options, existing=True), "/v1/tokens", "id")
    if options.json:
        document({"data": found, "has_more": False})
        return
    names = ("id", "name", "scopes", "created_at", "expires_at")
    content = ([*(one[name] for name in names), "expired" if one["expired"] else ""] for one in found)
    rows(("ID", "NAME", "SCOPES", "SINCE", "UNTIL", ""), content)


@app.command()
def revoke(context: typer.Context, which: Annotated[str, typer.Argument(metavar="NAME|ID", help="the token")]) -> None:
    """End a token, at once.

    \b
    Example:
      relay token revoke ci
    """
    options: Options = context.obj
    client.relay(options, existing=True).ask(f"/v1/tokens/{in_path(which)}", method="DELETE")
    if options.json:
        document({"token": which, "revoked": True})
    elif on_terminal():
        complain(f"token {which} revoked")
