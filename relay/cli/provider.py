"""`relay provider`: the providers that mail goes through.

Part of the command line; everything is asked over HTTP, with no relay running of its API over the spool itself. A
password is never an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from relay.cli import client
from relay.cli.asking import refusal
from relay.cli.options import Failure, Options
from relay.cli.output import document, rows
from relay.cli.passwords import password as read_password
from relay.cli.provider_options import (
    Daily,
    Default,
    File,
    FromEmail,
    FromName,
    Host,
    Minute,
    Monthly,
    Port,
    Preset,
    Priority,
    Region,
    ReplyTo,
    Stdin,
    Tls,
    Username,
    Which,
    of_preset,
    port_of,
    said_by,
)

JSON = dict[str, Any]
BASE = "/api/email-provider/providers/"

app = typer.Typer(
    help="""Providers: see, make, change, check them.

    \b
    Example:
      relay provider add gmail --preset gmail --username me@gmail.com --password-stdin < password
      relay provider list
    """,
    no_args_is_help=True,
)


class Providers:
    """The API, by name or id. `existing`: there must be a spool if no relay runs."""

    def __init__(self, options: Options, *, existing: bool = True) -> None:
        self.relay = client.relay(options, existing=existing)

    def every(self, what: str = "") -> list[JSON]:
        found: list[JSON] = self.relay.ask(BASE + what)["data"]
        return found

    def path(self, which: str, verb: str = "") -> str:
        """The address of one. A name goes before an id. Raises Failure."""
        known = self.every()
        for key in ("name", "id"):
            found = [one["id"] for one in known if str(one[key]) == which]
            if found:
                return f"{BASE}{found[0]}/{verb}"
        names = ", ".join(one["name"] for one in known) or "there is none; add one with relay provider add"
        raise Failure(f"there is no provider {which}; there are: {names}")

    def ask(self, which: str, verb: str = "", order: JSON | None = None, method: str = "") -> JSON:
        return self.relay.ask(self.path(which, verb), order, method)


# Looking.


@app.command("list")
def list_(context: typer.Context) -> None:
    """List all providers, of the configuration file and made here.

    Columns: id, name, host, port, priority, active, health.

    \b
    Example:
      relay provider list
    """
    options: Options = context.obj
    found = Providers(options).every()
    if options.json:
        document(found)
        return
    names = ("id", "name", "smtp_host", "smtp_port", "priority", "is_active", "health_status")
    rows(
        ("ID", "NAME", "HOST", "PORT", "PRIORITY", "ACTIVE", "HEALTH"), ([one[name] for name in names] for one in found)
    )


@app.command()
def show(context: typer.Context, which: Which) -> None:
    """Show one provider: settings, limits, health with cause and fix.

    \b
    Example:
      relay provider show gmail
    """
    _told(context.obj, Providers(context.obj).ask(which))


def _told(options: Options, found: JSON) -> None:
    if options.json:
        document(found)
    else:
        rows(("PROVIDER", ""), ((name, value) for name, value in found.items() if value not in (None, "")))


@app.command()
def stats(context: typer.Context, which: Annotated[str, typer.Argument(metavar="[NAME]")] = "") -> None:
    """What providers sent, how much of their limits is used, how well and how fast they take mail.

    Columns: name, sent today, of the daily limit (%), this month, of the monthly limit (%), success (%), seconds.

    \b
    Example:
      relay provider stats
    """
    options: Options = context.obj
    providers = Providers(options)
    found = providers.every("statistics/")
    if which:
        id = int(providers.path(which).split("/")[-2])
        found = [one for one in found if one["provider_id"] == id]
    if options.json:
        document(found)
        return
    head = ("NAME", "TODAY", "% OF DAY", "MONTH", "% OF MONTH", "% SUCCESS", "SECONDS")
    rows(head, ([one[name] for name in _FIGURES] for one in found))


_FIGURES = (
    "provider_name",
    "emails_sent_today",
    "daily_usage_percentage",
    "emails_sent_this_month",
    "monthly_usage_percentage",
    "success_rate",
    "average_response_time",
)


# Changing.


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="what it is to be called")],
    preset: Preset = "",
    region: Region = "",
    host: Host = None,
    port: Port = None,
    tls: Tls = None,
    username: Username = None,
    stdin: Stdin = False,
    file: File = None,
    from_email: FromEmail = None,
    from_name: FromName = None,
    reply_to: ReplyTo = None,
    daily: Daily = None,
    monthly: Monthly = None,
    minute: Minute = None,
    priority: Priority = None,
    inactive: Annotated[bool, typer.Option("--inactive", help="it gets no mail before it is activated")] = False,
    default: Default = None,
) -> None:
    """Make a provider. It takes part in routing at once. Prints its id and name.

    \b
    Example:
      relay provider add gmail --preset gmail --username me@gmail.com --password-stdin < password
      relay provider add backup --host smtp.example.net --tls implicit --username u --password-file /run/secrets/smtp
    """
    options: Options = context.obj
    said = said_by(locals())
    said = (of_preset(preset, region) if preset else {}) | port_of(tls) | said
    if said.get("smtp_host") is None:
        raise Failure("which host? Give --host, or --preset for a known provider", 2)
    ask = f"Password of {said['smtp_username']}: " if said.get("smtp_username") else ""
    said |= _secret(read_password(stdin=stdin, file=file, ask=ask))
    if inactive:
        said["is_active"] = False
    made = Providers(options, existing=False).relay.ask(BASE, {"name": name} | said)
    if options.json:
        document(made)
    else:
        rows(("ID", "NAME"), [(made["id"], made["name"])])


@app.command()
def edit(
    context: typer.Context,
    which: Which,
    name: Annotated[str | None, typer.Option("--name", help="a new name")] = None,
    host: Host = None,
    port: Port = None,
    tls: Tls = None,
    username: Username = None,
    stdin: Stdin = False,
    file: File = None,
    from_email: FromEmail = None,
    from_name: FromName = None,
    reply_to: ReplyTo = None,
    daily: Daily = None,
    monthly: Monthly = None,
    minute: Minute = None,
    priority: Priority = None,
    default: Default = None,
) -> None:
    """Change what is given of a provider, keep the rest. If it was out it is tried at once, and waiting mail goes.

    \b
    Example:
      relay provider edit gmail --password-stdin < password
      relay provider edit gmail --daily-limit none
    """
    options: Options = context.obj
    said = said_by(locals()) | _secret(read_password(stdin=stdin, file=file))
    if name is not None:
        said["name"] = name
    if not said:
        raise Failure("change what? See relay provider edit --help", 2)
    changed = Providers(options).ask(which, "", said, "PATCH")
    if options.json:
        document(changed)
    else:
        rows(("ID", "NAME"), [(changed["id"], changed["name"])])


def _secret(password: str | None) -> JSON:
    return {} if password is None else {"smtp_password": password}


def _verb(name: str, help: str, method: str, verb: str) -> Callable[..., None]:
    """A command that needs nothing but the provider."""

    def command(context: typer.Context, which: Which) -> None:
        options: Options = context.obj
        answer = Providers(options).ask(which, verb, None, method)
        if options.json:
            document(answer)

    return app.command(name, help=help)(command)


_verb(
    "remove",
    """Remove a provider. Its name is free again; mail that waits for it goes elsewhere, or waits for another one.

    \b
    Example:
      relay provider remove backup
    """,
    "DELETE",
    "",
)
_verb(
    "activate",
    """Give a provider mail again. If it was out it is tried at once.

    \b
    Example:
      relay provider activate backup
    """,
    "POST",
    "activate/",
)
_verb(
    "deactivate",
    """Give a provider no more mail; what is being sent is finished.

    \b
    Example:
      relay provider deactivate backup
    """,
    "POST",
    "deactivate/",
)


# Asking.


@app.command()
def test(
    context: typer.Context,
    which: Which,
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="who gets it")],
) -> None:
    """Send a real mail through a provider now, also while it is out. It counts against its limits and is not queued.

    \b
    Example:
      relay provider test gmail --to me@example.org
    """
    options: Options = context.obj
    providers = Providers(options)
    status, answer = providers.relay.exchange(providers.path(which, "test/"), {"test_email": to})
    if status >= 400 and "success" not in answer:
        raise refusal(status, answer)
    if options.json:
        document(answer)
    elif answer["success"]:
        rows(("RESULT", "PROVIDER", "SECONDS", "ID"), [_result(answer, answer["message_id"])])
    if not answer["success"]:
        raise typer.Exit(1) if options.json else Failure(f"{answer['provider_name']}: {answer['error']}")


def _result(answer: JSON, id: str) -> tuple[object, ...]:
    return "sent", answer["provider_name"], answer["response_time"], id


@app.command()
def check(context: typer.Context, which: Which) -> None:
    """Connect to a provider, begin TLS and log in now, without sending anything. Exit code 1: it is unhealthy.

    \b
    Example:
      relay provider check gmail
    """
    options: Options = context.obj
    providers = Providers(options)
    answer = providers.ask(which, "health_check/", None, "POST")
    if options.json:
        document(answer)
    elif answer["is_healthy"]:
        rows(("PROVIDER", "HEALTH", "CHECKED"), [(answer["provider_name"], "healthy", answer["last_health_check"])])
    if not answer["is_healthy"]:
        detail = providers.ask(str(answer["provider_id"])).get("health_detail", "")
        raise typer.Exit(1) if options.json else Failure(f"{answer['provider_name']} is unhealthy: {detail}")
