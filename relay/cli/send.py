"""`relay send`: one message through the running relay.

Part of the command line. The relay composes it; here only files are read. Without a relay running it says so: mail is
never left in a place where nobody looks.
"""

from __future__ import annotations

import base64
import mimetypes
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from relay.cli import client
from relay.cli.options import Failure, Options
from relay.cli.output import document

_OCTETS = "application/octet-stream"


def send(
    context: typer.Context,
    to: Annotated[list[str], typer.Option("--to", help="who gets it; repeatable")],
    subject: Annotated[str, typer.Option("--subject", help="one line")],
    sender: Annotated[str, typer.Option("--from", help="who it is from; else as configured")] = "",
    body: Annotated[str | None, typer.Option("--body", metavar="TEXT", help="the text; - reads it from input")] = None,
    html: Annotated[str | None, typer.Option("--html", metavar="HTML", help="the same as HTML; - as above")] = None,
    attach: Annotated[list[Path] | None, typer.Option("--attach", metavar="FILE", help="repeatable")] = None,
    cc: Annotated[list[str] | None, typer.Option("--cc", help="repeatable")] = None,
    bcc: Annotated[list[str] | None, typer.Option("--bcc", help="gets it, and nobody is told; repeatable")] = None,
    reply_to: Annotated[list[str] | None, typer.Option("--reply-to", help="repeatable")] = None,
    identity: Annotated[str, typer.Option("--identity", metavar="NAME", help="instead of --from")] = "",
    send_at: Annotated[str, typer.Option("--send-at", metavar="TIME", help="such as 2026-11-21T09:20:00Z")] = "",
    key: Annotated[
        str, typer.Option("--idempotency-key", metavar="KEY", help="the same key twice is one message")
    ] = "",
) -> None:
    """Send one message through the running relay; prints its id, once it is safe there.

    Addresses may have names: 'Ann <ann@example.org>'.

    \b
    Example:
      relay send --from app@example.org --to ann@example.com --subject Hello --body 'It works.'
      df -h | relay send --to ops@example.com --subject Disks --body - --attach report.pdf
    """
    options: Options = context.obj
    if body == "-" and html == "-":
        raise Failure("only one of --body and --html can be read from input", 2)
    texts = {"subject": subject, "text": _text(body), "html": _text(html)}
    others: dict[str, Any] = {
        "from": sender,
        "to": to,
        "cc": cc,
        "bcc": bcc,
        "reply_to": reply_to,
        "attachments": [_attached(path) for path in attach or ()],
        "identity": identity,
        "send_at": send_at,
    }
    relay = client.running(options)
    if key:
        relay.headers["Idempotency-Key"] = _header(key)
    answer = relay.ask("/v1/messages", texts | {name: given for name, given in others.items() if given})
    if options.json:
        document(answer)
    else:
        print(answer["id"])


def _text(given: str | None) -> str | None:
    """Input is read as UTF-8 whatever the locale."""
    if given != "-":
        return given
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise Failure("what was read from input is not UTF-8: convert it, or send it with --attach") from None


def _attached(path: Path) -> dict[str, str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Failure(f"cannot read {path}: {(error.strerror or 'it failed').lower()}") from None
    kind, encoding = mimetypes.guess_type(path.name)
    usual = kind is not None and not encoding and not kind.startswith(("message/", "multipart/"))
    return {
        "filename": path.name,
        "content": base64.b64encode(content).decode(),
        "content_type": str(kind) if usual else _OCTETS,
    }


def _header(key: str) -> str:
    """What cannot stand in a header is refused here: the relay would never see it."""
    if not (key.isascii() and key.isprintable()):
        raise Failure("--idempotency-key must be 1 to 255 printable ASCII characters", 2)
    return key
