"""The options of `relay provider add` and `edit`, and what they say to the API.

Used by `provider`. Pure: it asks nobody and knows no password.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from relay.cli.options import Failure

JSON = dict[str, Any]

Which = Annotated[str, typer.Argument(metavar="NAME", help="the provider, by name or id")]
Preset = Annotated[str, typer.Option("--preset", help="fill host, port, TLS and limits: gmail, office365, ses, ...")]
Region = Annotated[str, typer.Option("--region", help="of presets whose host has one, such as eu-central-1")]
Host = Annotated[str | None, typer.Option("--host", help="host name or IP address")]
Port = Annotated[int | None, typer.Option("--port", min=1, max=65535, help="default 587; 465 with --tls implicit")]
Tls = Annotated[str | None, typer.Option("--tls", metavar="starttls|implicit|none", help="default starttls")]
Username = Annotated[str | None, typer.Option("--username", help="empty: no AUTH")]
Stdin = Annotated[bool, typer.Option("--password-stdin", help="read the password; from a terminal without echo")]
File = Annotated[Path | None, typer.Option("--password-file", metavar="FILE", help="the password is in it, alone")]
FromEmail = Annotated[str | None, typer.Option("--from-email", help="sender of mail composed here")]
FromName = Annotated[str | None, typer.Option("--from-name", help="and its name")]
ReplyTo = Annotated[str | None, typer.Option("--reply-to", help="and where answers go")]
Daily = Annotated[str | None, typer.Option("--daily-limit", metavar="N|none", help="messages a day")]
Monthly = Annotated[str | None, typer.Option("--monthly-limit", metavar="N|none", help="messages a month")]
Minute = Annotated[str | None, typer.Option("--per-minute", metavar="N|none", help="messages in any 60 s")]
Priority = Annotated[int | None, typer.Option("--priority", min=1, help="lower goes first; default 1")]
Default = Annotated[bool | None, typer.Option("--default/--no-default", help="composed mail gets its sender")]


def said_by(options: Mapping[str, Any]) -> JSON:
    """What the API is told of the options that were given."""
    said = {key: options[name] for name, key in _PLAIN.items() if options[name] is not None}
    said |= {key: _limit(options[name]) for name, key in _LIMITS.items() if options[name] is not None}
    if options["tls"] is not None:
        said |= _tls(options["tls"])
    return said


_PLAIN = {
    "host": "smtp_host",
    "port": "smtp_port",
    "username": "smtp_username",
    "from_email": "from_email",
    "from_name": "from_name",
    "reply_to": "reply_to",
    "priority": "priority",
    "default": "is_default",
}
_LIMITS = {"daily": "daily_limit", "monthly": "monthly_limit", "minute": "rate_limit_per_minute"}
_KINDS = {"starttls": (True, False), "implicit": (False, True), "none": (False, False)}


def _limit(text: str) -> int | None:
    if text.lower() == "none":
        return None
    if not text.isdecimal():
        raise Failure(f"a limit is a number of messages, or none for no limit, not {text}", 2)
    return int(text)


def _tls(kind: str) -> JSON:
    if kind not in _KINDS:
        raise Failure(f"--tls must be starttls, implicit or none, not {kind}", 2)
    use_tls, use_ssl = _KINDS[kind]
    return {"smtp_use_tls": use_tls, "smtp_use_ssl": use_ssl}


def port_of(tls: str | None) -> JSON:
    """The port that goes with a kind of TLS, if it is not the usual one (RFC 8314 7.3)."""
    return {"smtp_port": 465} if tls == "implicit" else {}


def of_preset(name: str, region: str) -> JSON:
    """What is known of a provider, as the API takes it."""
    from relay.config.presets import PRESETS
    from relay.config.words import did_you_mean

    known = PRESETS.get(name)
    if known is None:
        raise Failure(f"there is no preset {name}{did_you_mean(name, PRESETS)}; there are: {', '.join(PRESETS)}", 2)
    if known.regional and not region:
        raise Failure(f"preset {name} needs --region, such as eu-central-1", 2)
    limits = known.limits
    kind = str(known.tls) if str(known.tls) in _KINDS else "none"
    said = {
        "smtp_host": known.host.format(region=region) or None,
        "smtp_port": known.port,
        "smtp_username": known.username or None,
        "daily_limit": limits.per_day,
        "monthly_limit": limits.per_month,
        "rate_limit_per_minute": limits.per_minute,
    }
    return {key: value for key, value in said.items() if value is not None} | _tls(kind)
