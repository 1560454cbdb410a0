"""`relay queue`: looking at messages and acting on them.

Part of the command line. Without a relay running it acts on the spool itself; the output is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from relay.cli import client
from relay.cli.asking import Relay
from relay.cli.options import Failure, Options
from relay.cli.output import complain, document, on_terminal, rows, stream

PAGE = 500

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="messages, by id")]
Id = Annotated[list[str] | None, typer.Option("--id", help="a message, by id; several times for several")]
From = Annotated[str, typer.Option("--from", metavar="GLOB", help="envelope sender, such as '*@example.org'")]
To = Annotated[str, typer.Option("--to", metavar="GLOB", help="a recipient, such as '*@example.org'")]
At = Annotated[str, typer.Option("--provider", metavar="NAME", help="the provider that was tried last")]
Target = Annotated[str, typer.Option("--provider", metavar="NAME", help="the provider to send it through")]
State = Annotated[list[str] | None, typer.Option("--state", help="queued, deferred, held, captured, ...; repeatable")]
Tag = Annotated[str, typer.Option("--tag", metavar="TAG", help="a tag of the message, exactly")]
Search = Annotated[str, typer.Option("--search", metavar="TEXT", help="part of id, sender, a recipient or a tag")]
Older = Annotated[str, typer.Option("--older", metavar="AGE", help="received longer ago than 10m, 2h, 5d")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="only say what would change")]
All = Annotated[bool, typer.Option("--all", help="really everything, when no filter is given")]
Limit = Annotated[int, typer.Option("--limit", min=0, help="at most so many; 0: all")]

app = typer.Typer(
    help="""Look at the queue and act on it.

    \b
    Example:
      relay queue list --state deferred --older 1h
      relay queue retry --to '*@example.org'
    """,
    no_args_is_help=True,
)


def _filter(state: list[str] | None, **texts: str) -> dict[str, Any]:
    """What was given of it. `sender` is "from" to the API, a word that Python keeps for itself."""
    states = [name for given in state or () for name in given.split(",")]
    given = {"from": texts.pop("sender"), **texts, "state": states}
    return {name: value for name, value in given.items() if value}


def _pages(queue: Relay, where: dict[str, Any], limit: int) -> Iterator[list[dict[str, Any]]]:
    after, left = "", limit or None
    while left is None or left > 0:
        page = queue.list(where, limit=PAGE if left is None else min(PAGE, left), after=after)
        yield page["data"]
        if not page["has_more"]:
            return
        after = page["data"][-1]["id"]
        left = None if left is None else left - len(page["data"])


@app.command("list")
def list_(
    context: typer.Context,
    id: Id = None,
    sender: From = "",
    to: To = "",
    provider: At = "",
    state: State = None,
    older: Older = "",
    tag: Tag = "",
    search: Search = "",
    limit: Limit = 0,
) -> None:
    """List messages that have not ended, oldest first; ended ones with --state accepted, failed, expired, cancelled.

    Columns: id, state, received, size, sender, recipients, why it waits.

    \b
    Example:
      relay queue list --from '*@billing.example.com' --older 10m
      relay queue list --tag invoice --search bob@
    """
    options: Options = context.obj
    queue = client.relay(options, existing=True)
    where = _filter(state, sender=sender, to=to, provider=provider, older=older, tag=tag, search=search)
    wanted = [where | ({"id": one} if one else {}) for one in id or [""]]
    pages = (page for where in wanted for page in _pages(queue, where, limit))
    if options.json:
        stream(pages)
        return
    head = ("ID", "STATE", "RECEIVED", "SIZE", "FROM", "TO", "WHY")
    rows(head, (_row(message) for page in pages for message in page))


def _row(message: dict[str, Any]) -> tuple[object, ...]:
    to = [recipient["address"] for recipient in message["recipients"]]
    received, sender = message["received_at"], message["from"] or "<>"
    return message["id"], message["state"], received, message["size"], sender, to, message["reason"]


@app.command()
def show(context: typer.Context, id: Annotated[str, typer.Argument(help="the message")]) -> None:
    """Show one message: envelope, what each recipient waits for, and what happened so far.

    \b
    Example:
      relay queue show 0d8k2v5m7q3xt
    """
    options: Options = context.obj
    message = client.relay(options, existing=True).show(id)
    if options.json:
        document(message)
        return
    message["metadata"] = [f"{name}={value}" for name, value in message["metadata"].items()]
    rows(("MESSAGE", ""), ((name, message[name]) for name in _FACTS if message[name] not in (None, [])))
    rows(("", "RECIPIENT", "STATE", "PROVIDER", "TRIES", "DUE", "WHY"), map(_recipient, message["recipients"]))
    rows(("", "AT", "WHAT", "PROVIDER", "RECIPIENTS", "DETAIL"), _events(message["timeline"]))


_FACTS = ("id", "state", "from", "size", "source", "tags", "metadata", "received_at", "ended_at", "expires_at")


def _recipient(found: dict[str, Any]) -> tuple[object, ...]:
    names = ("address", "state", "provider", "tries", "due_at", "reason")
    return "recipient", *(found[name] for name in names)


def _events(timeline: list[dict[str, Any]]) -> Iterator[tuple[object, ...]]:
    """A row for each, and one for each line of what was said to a provider."""
    for found in timeline:
        yield "event", *(found[name] for name in ("at", "kind", "provider", "recipients", "detail"))
        for line in found["conversation"]:
            yield "said", "", "", found["provider"], "", line


@app.command()
def stats(context: typer.Context) -> None:
    """Messages by state, how long the oldest has waited, and room in the spool.

    \b
    Example:
      relay queue stats --json
    """
    options: Options = context.obj
    found = client.relay(options, existing=True).stats()
    if options.json:
        document(found)
        return
    counts = found.pop("states")
    rows(("", ""), [*counts.items(), *((name, value) for name, value in found.items() if value not in (None, ""))])


def _order(options: Options, action: str, ids: list[str], where: dict[str, Any], provider: str, dry_run: bool) -> None:
    """Act on each id, or on all that the filter matches; say what became of each."""
    queue = client.relay(options, existing=True)
    changed: list[str] = []
    skipped: dict[str, str] = {}
    for one in ids or [""]:
        chosen = where | ({"id": one} if one else {})
        done = queue.act(action, chosen, provider=provider, dry_run=dry_run)
        changed += done["changed"]
        skipped |= done["skipped"]
        if one and not done["changed"] and not done["skipped"]:
            skipped[one] = "no such message waits"
    if options.json:
        document({"action": action, "dry_run": dry_run, "changed": changed, "skipped": skipped})
    else:
        _report(action, changed, skipped, dry_run)
    if ids and skipped:
        raise Failure(f"{action} did not apply to {', '.join(skipped)}: see relay queue show")


def _report(action: str, changed: list[str], skipped: dict[str, str], dry_run: bool) -> None:
    word = "would change" if dry_run else "changed"
    content = [(id, word, action) for id in changed] + [(id, "skipped", why) for id, why in skipped.items()]
    rows(("ID", "RESULT", ""), content)
    if on_terminal():
        complain(f"{len(changed)} {word}, {len(skipped)} skipped")


def _selection(ids: list[str], where: dict[str, Any], everything: bool, action: str) -> None:
    if not ids and not where and not everything:
        raise Failure(f"{action} what? Give ids or a filter, or --all for everything (try --dry-run first)", 2)


def _verb(action: str, help: str) -> Callable[..., None]:
    """A command for an action that needs nothing but messages to act on."""

    def command(
        context: typer.Context,
        ids: Ids = None,
        id: Id = None,
        sender: From = "",
        to: To = "",
        provider: At = "",
        state: State = None,
        older: Older = "",
        tag: Tag = "",
        search: Search = "",
        dry_run: DryRun = False,
        everything: All = False,
    ) -> None:
        chosen = [*(ids or ()), *(id or ())]
        where = _filter(state, sender=sender, to=to, provider=provider, older=older, tag=tag, search=search)
        _selection(chosen, where, everything, action)
        _order(context.obj, action, chosen, where, "", dry_run)

    return app.command(action, help=help)(command)


_verb(
    "retry",
    """Try messages now instead of at their next time.

    \b
    Example:
      relay queue retry 0d8k2v5m7q3xt
      relay queue retry --state deferred --provider primary --dry-run
    """,
)
_verb(
    "hold",
    """Keep messages where they are until they are released. One that is being sent is held after the attempt.

    \b
    Example:
      relay queue hold --from 'newsletter@*'
    """,
)
_verb(
    "release",
    """Let held or captured messages go.

    \b
    Example:
      relay queue release --state captured --to 'me@example.org'
    """,
)
_verb(
    "cancel",
    """End messages without sending them; nobody is told. One that is being sent ends after the attempt.

    \b
    Example:
      relay queue cancel 0d8k2v5m7q3xt
    """,
)


@app.command()
def reroute(
    context: typer.Context,
    target: Target,
    ids: Ids = None,
    id: Id = None,
    sender: From = "",
    to: To = "",
    state: State = None,
    older: Older = "",
    tag: Tag = "",
    search: Search = "",
    dry_run: DryRun = False,
    everything: All = False,
) -> None:
    """Send messages through one provider, whatever the routes say.

    \b
    Example:
      relay queue reroute --provider backup --to '*@example.org'
    """
    chosen = [*(ids or ()), *(id or ())]
    where = _filter(state, sender=sender, to=to, older=older, tag=tag, search=search)
    _selection(chosen, where, everything, "reroute")
    _order(context.obj, "reroute", chosen, where, target, dry_run)
