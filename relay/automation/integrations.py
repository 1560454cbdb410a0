"""The integration smtp: what may be said of a registration and an attachment, and the provider that one makes.

Used by the API, which judges with it, and by the store, which derives providers. It resolves no name and opens nothing;
what it says is wrong never repeats a value, which may be the password (hazard H8).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from relay.automation.jobs import Problem
from relay.compose.mailboxes import parse
from relay.compose.words import line_problem
from relay.config.listen import is_host, is_loopback
from relay.config.presets import PRESETS, preset_of
from relay.config.words import did_you_mean
from relay.model import INTEGRATIONS, Limits, Provider, Tls
from relay.smtp.hosts import forbidden

KNOWN = ("smtp",)
KINDS = ("registration", "attachment")
SECRET = "password"  # nosec B105 - a name
"""The option that is encrypted at rest, and never shown."""

_IMPLICIT_PORT = 465  # RFC 8314 7.3
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_LONGEST = {"host": 254, "user": 320, "password": 1000, "to": 320, "from": 320, "cc": 320}  # nosec B105 - lengths


@cache
def document(kind: str) -> bytes:
    """The schema as its file has it. `kind`: one of KINDS."""
    return (files("relay.automation") / "schemas" / f"smtp-{kind}.json").read_bytes()


@cache
def schema(kind: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(document(kind))
    return found


def problems(kind: str, options: Mapping[str, Any], *, allow_private: bool = False) -> Sequence[Problem]:
    """All that is wrong with the options, by place: cause and fix. `allow_private`: as in `provider_of`."""
    found = list(_against_schema(kind, options))
    wrong = {problem.place for problem in found}
    for name, value in options.items():
        if (name,) not in wrong and (why := _judged(name, value, allow_private)):
            found.append(Problem(place=(name,), text=why))
    return found


# The schema.


@cache
def _validator(kind: str) -> Any:
    from jsonschema import Draft202012Validator  # takes 0.2 s and 10 MB, for what few relays have

    return Draft202012Validator(schema(kind), format_checker=Draft202012Validator.FORMAT_CHECKER)


def _against_schema(kind: str, options: Mapping[str, Any]) -> Iterator[Problem]:
    """In our words: those of the library repeat what was given."""
    known: Mapping[str, Any] = schema(kind)["properties"]
    for error in _validator(kind).iter_errors(dict(options)):
        if error.validator == "required":
            name = next(name for name in error.validator_value if error.message.startswith(repr(name)))
            yield Problem(place=(name,), text=f"is missing. {known[name]['description']}")
        elif error.validator != "additionalProperties":
            name = str(error.absolute_path[0])
            yield Problem(place=(name,), text=_UNMET.get(error.validator, _UNMET["type"]))
    for name in options:
        if name not in known:
            text = f"is no option of the {kind}{did_you_mean(name, known)}; there are: {', '.join(sorted(known))}"
            yield Problem(place=(name,), text=text)


_ADDRESS = "must be one mail address alone, such as user@example.com"
_UNMET = {"type": "must be a string", "format": _ADDRESS, "minLength": "is empty: give the name to log in with"}


# What the schema leaves open.


def _judged(name: str, value: str, allow_private: bool) -> str:
    most = _LONGEST.get(name, 0)
    if most and len(value) > most:
        return f"has more than {most} characters"
    if why := line_problem(value):
        return why
    if name == "host":
        return _host_problem(value, allow_private)
    judge = _JUDGES.get(name)
    return judge(value) if judge else ""


def _address_problem(value: str) -> str:
    found = parse(value)
    if isinstance(found, str):
        return found
    return "" if found.address == value else _ADDRESS


def _port_problem(value: str) -> str:
    if _PORT.fullmatch(value) and int(value) <= 65535:
        return ""
    return 'must be a number from 1 to 65535, such as "587"'


def _host_problem(value: str, allow_private: bool) -> str:
    if not is_host(value):
        return "must be a host name or an IP address, without port or scheme"
    why = "" if allow_private else forbidden(value)
    fix = "name a public host, or let registrations into private networks by http.allow_private_providers: true"
    return f"{why}: {fix}" if why else ""


_JUDGES: Mapping[str, Callable[[str], str]] = {
    "to": _address_problem,
    "from": _address_problem,
    "cc": _address_problem,
    "port": _port_problem,
}


# The provider.


def provider_of(id: int, options: Mapping[str, str], allow_private: bool) -> Provider:
    """The server of a registration, for its own mail only. `options`: judged by `problems`; the password may be missing
    where it cannot be decrypted.
    """
    host, port = options["host"], int(options["port"])
    preset = preset_of(host)
    known = PRESETS[preset or "custom"]
    return Provider(
        name=f"{INTEGRATIONS}{id}",
        host=host,
        port=port,
        tls=_tls(host, port),
        preset=preset,
        username=options["user"],
        password=options.get(SECRET, ""),
        pipelining=known.pipelining,
        public_only=not allow_private,
        reserved=True,
        limits=Limits(connections=known.limits.connections, recipients=known.limits.recipients),
    )


def _tls(host: str, port: int) -> Tls:
    if port == _IMPLICIT_PORT:
        return Tls.IMPLICIT
    return Tls.OPPORTUNISTIC if is_loopback(host) else Tls.STARTTLS
