"""`relay integration`: servers that workflow runs are mailed through, and the workflows they are attached to.

Part of the command line; everything is asked of a running relay, which connects to the server before it keeps one.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from relay.cli import client
from relay.cli.options import Failure, Options
from relay.cli.opts import options_of
from relay.cli.output import complain, document, on_terminal, rows
from relay.cli.pages import pages
from relay.cli.passwords import password as read_password

JSON = dict[str, Any]
REGISTRATIONS, ATTACHMENTS = "/v1/integrations/registrations", "/v1/integrations/attachments"

Opt = Annotated[list[str] | None, typer.Option("--opt", metavar="NAME=VALUE", help="an option; repeatable")]
Id = Annotated[int, typer.Argument(metavar="ID", min=1, help="as the list shows it")]
Of = Annotated[int, typer.Option("--integration", metavar="ID", min=1, help="of the registration")]
To = Annotated[str, typer.Option("--workflow", metavar="NAME", help="what its runs are reported under")]

app = typer.Typer(
    help="""Mail about workflow runs: register a server, attach it to workflows.

    \b
    Example:
      relay integration registered list
      relay integration attached add --workflow release --integration 1
    """,
    no_args_is_help=True,
)
registered = typer.Typer(
    help="""Servers that are set up: see, add, remove them.

    \b
    Example:
      relay integration registered list
    """,
    no_args_is_help=True,
)
attached = typer.Typer(
    help="""Which registration gets the runs of which workflow.

    \b
    Example:
      relay integration attached list --workflow release
    """,
    no_args_is_help=True,
)
app.add_typer(registered, name="registered")
app.add_typer(attached, name="attached")


@registered.command("add")
def register(
    context: typer.Context,
    integration: Annotated[str, typer.Argument(metavar="INTEGRATION", help="smtp")],
    opt: Opt = None,
    stdin: Annotated[
        bool,
        typer.Option(
            "--password-stdin",
            help="read the option password; among the arguments every user of the machine can see it",
        ),
    ] = False,
) -> None:
    """Register a server. The relay connects and logs in first. Prints id and integration.

    Options of smtp: host, port, user, password, from, to. On a terminal a password that is not given is asked for.

    \b
    Example:
      relay integration registered add smtp --opt host=email-smtp.us-east-1.amazonaws.com --opt port=587 \\
        --opt user=AHDHSYEE7e73 --opt from=notifier@example.com --opt to=team@example.com --password-stdin < password
    """
    options: Options = context.obj
    said = options_of(opt or ())
    if stdin and "password" in said:
        raise Failure("--opt password and --password-stdin exclude each other: give one of them", 2)
    if stdin or "password" not in said:
        secret = read_password(stdin=stdin, file=None, ask=f"Password of {said.get('user') or 'the account'}: ")
        said |= {} if secret is None else {"password": secret}
    made = client.running(options).ask(REGISTRATIONS, {"integration": integration, "options": said})
    if options.json:
        document(made)
    else:
        rows(("ID", "INTEGRATION"), [(made["id"], made["integration"])])


@registered.command("list")
def registrations(context: typer.Context) -> None:
    """List registrations: id, integration, host, port, sender, recipient, health.

    \b
    Example:
      relay integration registered list
    """
    options: Options = context.obj
    found = pages(client.running(options), REGISTRATIONS, "id")
    if options.json:
        document({"data": found, "has_more": False})
        return
    head = ("ID", "INTEGRATION", "HOST", "PORT", "FROM", "TO", "HEALTH")
    rows(head, (_registration(one) for one in found))


def _registration(one: JSON) -> tuple[object, ...]:
    said = [one["options"][name] for name in ("host", "port", "from", "to")]
    return one["id"], one["integration"], *said, one["health"]["status"]


@registered.command("remove")
def unregister(context: typer.Context, id: Id) -> None:
    """Remove a registration and its attachments. Mail that waits for it waits on: reroute or cancel it.

    \b
    Example:
      relay integration registered remove 1
    """
    options: Options = context.obj
    relay = client.running(options)
    gone = len(pages(relay, f"{ATTACHMENTS}?integration={id}", "id"))
    relay.ask(f"{REGISTRATIONS}/{id}", method="DELETE")
    if options.json:
        document({"id": id, "removed": True, "attachments": gone})
    elif gone or on_terminal():
        complain(f"registration {id} removed, and {gone} attachment{'' if gone == 1 else 's'} of it")


@attached.command("add")
def attach(context: typer.Context, workflow: To, integration: Of, opt: Opt = None) -> None:
    """Attach a registration to a workflow: each of its runs is mailed from now on. Prints the id of the attachment.

    Option of smtp: cc. Attached twice is mailed twice.

    \b
    Example:
      relay integration attached add --workflow release --integration 1 --opt cc=security@example.com
    """
    attach_to(context.obj, workflow, integration, opt)


def attach_to(options: Options, workflow: str, integration: int, opt: list[str] | None) -> None:
    order = {"workflow": workflow, "integration": integration, "options": options_of(opt or ())}
    made = client.running(options).ask(ATTACHMENTS, order)
    if options.json:
        document(made)
    else:
        rows(("ID", "WORKFLOW", "INTEGRATION"), [(made["id"], made["workflow"], made["integration"])])


@attached.command("list")
def attachments(
    context: typer.Context,
    workflow: Annotated[str, typer.Option("--workflow", metavar="NAME", help="of this one only")] = "",
) -> None:
    """List attachments: id, workflow, id of the registration, cc.

    \b
    Example:
      relay integration attached list --workflow release
    """
    options: Options = context.obj
    where = f"?{urlencode({'workflow': workflow}, errors='surrogateescape')}" if workflow else ""
    found = pages(client.running(options), ATTACHMENTS + where, "id")
    if options.json:
        document({"data": found, "has_more": False})
        return
    content = ((one["id"], one["workflow"], one["integration"], one["options"].get("cc")) for one in found)
    rows(("ID", "WORKFLOW", "INTEGRATION", "CC"), content)


@attached.command("remove")
def detach(context: typer.Context, id: Id) -> None:
    """Remove an attachment: runs of the workflow are mailed there no more.

    \b
    Example:
      relay integration attached remove 1
    """
    options: Options = context.obj
    client.running(options).ask(f"{ATTACHMENTS}/{id}", method="DELETE")
    if options.json:
        document({"id": id, "removed": True})
    elif on_terminal():
        complain(f"attachment {id} removed")
