"""`relay explain`: where would a message go, and why?

Part of the command line. Only a running relay knows what its providers do now, so it asks that one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from relay.cli import client
from relay.cli.options import Failure, Options
from relay.cli.output import document, rows


def explain(
    context: typer.Context,
    sender: Annotated[str, typer.Option("--from", help="envelope sender")],
    to: Annotated[str, typer.Option("--to", help="recipient")],
    size: Annotated[str, typer.Option("--size", help="bytes, or 64KiB, 10MiB")] = "0",
    source: Annotated[str, typer.Option("--client", metavar="IP", help="where it comes from")] = "",
) -> None:
    """Say which rule matches a message, which provider takes it, why others are skipped, and the resulting From.

    \b
    Example:
      relay explain --from app@example.org --to customer@example.com
    """
    options: Options = context.obj
    question = {"from": sender, "to": to, "size": _bytes(size), "client": source}
    answer = client.running(options).explain(question)
    if options.json:
        document(answer)
        return
    rows(("", ""), _facts(answer))
    head = ("", "PROVIDER", "", "WHY NOT", "UNTIL", "QUOTA LEFT")
    rows(head, map(_provider, answer.get("providers", ())))


def _bytes(size: str) -> int:
    from relay.config.units import octets

    try:
        return octets(size)
    except ValueError:
        raise Failure(f"--size must be a size such as 64KiB or 10MiB, not {size}", 2) from None


def _facts(answer: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in answer.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{key}", inner) for key, inner in value.items() if inner != "")
        elif name != "providers" and value != []:
            yield name, "none" if value is None else value


def _provider(found: Mapping[str, Any]) -> tuple[object, ...]:
    left = [f"{window}: {amount}" for window, amount in (found.get("quota") or {}).items()]
    verdict = "usable" if found.get("usable") else "skipped"
    return "provider", found.get("name"), verdict, found.get("reason"), found.get("until"), left
