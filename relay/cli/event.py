"""`relay event`: tell a running relay that something happened, and see what came of it.

Part of the command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from relay.cli import client
from relay.cli.asking import in_path, in_query
from relay.cli.options import Options
from relay.cli.opts import Data, data_of
from relay.cli.output import complain, document, rows

JSON = dict[str, Any]

app = typer.Typer(
    help="""Events: tell one, see what happened before.

    \b
    Example:
      relay event send user.created --data '{"user": {"email": "ann@example.org"}}'
      relay event list
    """,
    no_args_is_help=True,
)


@app.command()
def send(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="of the event, such as user.created")],
    data: Data = "",
) -> None:
    """Tell an event: workflows that wait for it make mail of it. Prints workflow and message id of each mail.

    Exit code 1 if something that should have been mailed could not be.

    \b
    Example:
      relay event send user.created --data '{"user": {"email": "ann@example.org"}}'
      relay event send user.created --data @user.json
    """
    options: Options = context.obj
    caused(options, client.running(options).ask("/v1/events", {"event": name, "data": data_of(data)}))


def caused(options: Options, answer: JSON) -> None:
    """What came of it. Raises Exit 1 if part of it failed."""
    if options.json:
        document(answer)
    else:
        mails = ((fired["workflow"], id) for fired in answer["fired"] for id in fired["messages"])
        rows(("WORKFLOW", "ID"), mails)
        for one in answer["skipped"]:
            complain(f"{_place(one)} made no mail: its if is false")
        if not (answer["fired"] or answer["skipped"] or answer["failed"]):
            complain("no workflow waits for it: relay workflow list shows the events")
    failures(options, answer)


def failures(options: Options, answer: JSON) -> None:
    """Say what failed. Raises Exit 1 if something did."""
    for sentence in failed(answer) if not options.json else ():
        complain(f"relay: {sentence}")
    if answer["failed"]:
        raise typer.Exit(1)


def failed(answer: JSON) -> Iterator[str]:
    for one in answer.get("failed", ()):
        if "workflow" in one:
            where = ".".join(map(str, one["loc"]))
            yield f"{_place(one)} failed: {where}{': ' if where else ''}{one['error']}"
        else:
            yield f"attachment {one['attachment']} failed: {one['error']}"


def _place(one: JSON) -> str:
    workflow: str = one["workflow"]
    return workflow if one["action"] is None else f"{workflow}, action {one['action']},"


@app.command("list")
def list_(
    context: typer.Context,
    name: Annotated[str, typer.Option("--name", help="of the event or workflow, exactly")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="the newest so many")] = 100,
) -> None:
    """List what happened, newest first.

    Columns: id, kind (event, workflow, run), name, when, who told it, how many mails, how many failed.

    \b
    Example:
      relay event list --name user.created
    """
    options: Options = context.obj
    asked = {"limit": limit} | ({"name": name} if name else {})
    page = client.running(options).ask(f"/v1/events?{in_query(asked)}")
    if options.json:
        document(page)
        return
    head = ("ID", "KIND", "NAME", "AT", "BY", "MAILS", "FAILED")
    rows(head, ([*_told(one), len(one.get("messages", ())), len(one.get("failed", ()))] for one in page["data"]))


def _told(one: JSON) -> list[object]:
    return [one[key] for key in ("id", "kind", "name", "at", "user")]


@app.command()
def show(context: typer.Context, id: Annotated[str, typer.Argument(metavar="ID", help="as the list shows it")]) -> None:
    """Show one: what was told, which mail it caused, what failed and why.

    \b
    Example:
      relay event show 06p1q8v3c2e7k
    """
    options: Options = context.obj
    found = client.running(options).ask(f"/v1/events/{in_path(id)}")
    if options.json:
        document(found)
        return
    told = list(zip(("id", "kind", "name", "at", "user"), _told(found), strict=True))
    mails = [("message", id) for id in found.get("messages", ())]
    rows(("EVENT", ""), [*told, *mails, *[("failed", sentence) for sentence in failed(found)]])
