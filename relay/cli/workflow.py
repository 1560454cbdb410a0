"""`relay workflow`: rules that turn events into mail, of a running relay.

Part of the command line. A rule is written in a file, as YAML or JSON; nothing here judges it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from relay.cli import client
from relay.cli.asking import in_path
from relay.cli.event import caused, failures
from relay.cli.integration import Of, Opt, To, attach_to
from relay.cli.options import Options
from relay.cli.opts import Data, data_of, rule_of
from relay.cli.output import complain, document, on_terminal, rows
from relay.cli.pages import pages

JSON = dict[str, Any]
BASE = "/v1/workflows"

Name = Annotated[str, typer.Argument(metavar="NAME", help="of the workflow")]
File = Annotated[Path, typer.Argument(metavar="FILE", allow_dash=True, help="the rule, YAML or JSON; - is stdin")]

app = typer.Typer(
    help="""Workflows: rules that make mail of events. See, change, try, run them.

    \b
    Example:
      relay workflow list
      relay workflow add welcome.yaml
    """,
    no_args_is_help=True,
)
integration = typer.Typer(
    help="""Mail about runs of a workflow: the same as relay integration attached.

    \b
    Example:
      relay workflow integration attach --workflow release --integration 1
    """,
    no_args_is_help=True,
)
app.add_typer(integration, name="integration")


@integration.command()
def attach(context: typer.Context, workflow: To, integration: Of, opt: Opt = None) -> None:
    """Attach a registration to a workflow, as relay integration attached add does.

    \b
    Example:
      relay workflow integration attach --workflow release --integration 1
    """
    attach_to(context.obj, workflow, integration, opt)


# Looking.


@app.command("list")
def list_(context: typer.Context) -> None:
    """List workflows, of the configuration file and made here: name, event, version, origin, how many actions.

    \b
    Example:
      relay workflow list
    """
    options: Options = context.obj
    found = pages(client.running(options), BASE, "name")
    if options.json:
        document({"data": found, "has_more": False})
    else:
        rows(("NAME", "EVENT", "VERSION", "ORIGIN", "ACTIONS"), map(_row, found))


def _row(one: JSON) -> tuple[object, ...]:
    event = (one.get("trigger") or {}).get("event")
    return one["name"], event, one["version"], one["origin"], len(one.get("actions") or ())


@app.command()
def show(context: typer.Context, name: Name) -> None:
    """Show a workflow as YAML, which relay workflow replace takes again.

    \b
    Example:
      relay workflow show welcome > welcome.yaml
    """
    options: Options = context.obj
    found = client.running(options).ask(_path(name))
    if options.json:
        document(found)
        return
    import yaml

    print(yaml.safe_dump(found, sort_keys=False), end="")


# Changing.


@app.command()
def add(context: typer.Context, file: File) -> None:
    """Add a workflow. It is in force at once. Prints its name and version.

    \b
    Example:
      relay workflow add welcome.yaml
    """
    options: Options = context.obj
    _changed(options, client.running(options).ask(BASE, rule_of(file), "POST"))


@app.command()
def replace(context: typer.Context, name: Name, file: File) -> None:
    """Replace a workflow by a new version. If the file says a version, only if that is what it is at.

    \b
    Example:
      relay workflow replace welcome welcome.yaml
    """
    options: Options = context.obj
    _changed(options, client.running(options).ask(_path(name), rule_of(file), "PUT"))


def _changed(options: Options, made: JSON) -> None:
    if options.json:
        document(made)
    else:
        rows(("NAME", "VERSION"), [(made["name"], made["version"])])


@app.command()
def remove(context: typer.Context, name: Name) -> None:
    """Remove a workflow: events fire it no more.

    \b
    Example:
      relay workflow remove welcome
    """
    options: Options = context.obj
    client.running(options).ask(_path(name), method="DELETE")
    if options.json:
        document({"name": name, "removed": True})
    elif on_terminal():
        complain(f"workflow {name} removed")


# Trying and running.


@app.command()
def preview(context: typer.Context, name: Name, data: Data = "") -> None:
    """Show what a workflow would mail for these data; nothing is mailed. Exit code 1 if something would fail.

    Columns: action, to, subject, text.

    \b
    Example:
      relay workflow preview welcome --data '{"user": {"email": "ann@example.org"}}'
    """
    options: Options = context.obj
    answer = client.running(options).ask(_path(name, "preview"), {"data": data_of(data)})
    if options.json:
        document(answer)
    else:
        people = (_mail(mail) for mail in answer["mails"])
        rows(("ACTION", "TO", "SUBJECT", "TEXT"), people)
    failures(options, answer)


def _mail(mail: JSON) -> tuple[object, ...]:
    people = [address for field in ("to", "cc", "bcc") for address in mail.get(field) or ()]
    return mail["action"], people, mail["subject"], mail["text"] if mail["text"] is not None else mail["html"]


@app.command()
def run(context: typer.Context, name: Name, data: Data = "") -> None:
    """Run a workflow, whatever event it waits for. Prints its name and the id of each message.

    \b
    Example:
      relay workflow run welcome --data @user.json
    """
    options: Options = context.obj
    caused(options, client.running(options).ask(_path(name, "run"), {"data": data_of(data)}))


def _path(name: str, verb: str = "") -> str:
    return f"{BASE}/{in_path(name)}" + (f"/{verb}" if verb else "")
