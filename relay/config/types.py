"""The kinds of value a configuration is made of: durations, sizes, addresses, networks, files and secrets.

Called by the schema. A validator takes what YAML gave (a string) or what Python gave, and raises ValueError with a
sentence in which `{it}` stands for the value; it never puts the value there itself, since that may be a secret.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator, SecretStr, WithJsonSchema
from pydantic_core.core_schema import ValidationInfo

from relay.config.listen import ListenAddress, is_host, listen_address, tcp_address
from relay.config.units import octets, seconds
from relay.config.words import did_you_mean
from relay.model import INTEGRATIONS

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_ADDRESS = r"[^\s<>@\"\x00-\x1f\x7f]+@[^\s<>@\"\x00-\x1f\x7f]+"
_MAILBOX = re.compile(rf"[^<>\x00-\x1f\x7f]*<{_ADDRESS}>|{_ADDRESS}")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def limit(value: Any) -> Any:
    if str(value).strip() == "0":
        raise ValueError(
            "0 would stop all mail: write null for no limit, or active: false to stop using the provider",
        )
    return value


def network(value: Any) -> IpNetwork:
    """An IP network in CIDR form, or one address."""
    try:
        return ipaddress.ip_network(str(value))
    except ValueError:
        pass
    try:
        wide = ipaddress.ip_network(str(value), strict=False)
    except ValueError:
        raise ValueError("must be a network such as 10.0.0.0/8 or ::1, not {it}") from None
    raise ValueError(f"has bits set behind its prefix of {wide.prefixlen}: clear them, or write one address without it")


def one_or_many(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def some(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("must name at least one; remove the user instead")
    return value


def plain_text(value: str) -> str:
    """Text that can go into a header, a label or a log line."""
    if not value.strip() or value != value.strip() or CONTROL.search(value):
        raise ValueError("must be one line of text without control characters or blanks around it")
    return value


def address(value: str) -> str:
    if not re.fullmatch(_ADDRESS, value):
        raise ValueError("must be a mail address such as me@example.com, not {it}")
    return value


def is_mailbox(value: str) -> bool:
    return _MAILBOX.fullmatch(value) is not None


def mailbox(value: str) -> str:
    if not is_mailbox(value):
        raise ValueError("must be a mail address, or a name and <address>, not {it}")
    return value


def keep_or_mailbox(value: str) -> str:
    return value if value == "keep" else mailbox(value)


def host(value: str) -> str:
    if not is_host(value):
        raise ValueError("must be a host name or an IP address, without port or scheme, not {it}")
    return value


def provider_name(value: str) -> str:
    if value.startswith(INTEGRATIONS):
        raise ValueError(f"names that begin with {INTEGRATIONS} are for the servers of integrations: choose another")
    return value


def header_name(value: str) -> str:
    if not re.fullmatch(r"[!-9;-~]+", value):  # RFC 5322 2.2: printable ASCII but the colon
        raise ValueError("must be the name of a header, such as X-App")
    return value


def timezone(value: str) -> str:
    if value == "UTC":
        return value
    import zoneinfo  # only where a zone is named: the default needs no database

    try:
        zoneinfo.ZoneInfo(value)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        near = did_you_mean(value, zoneinfo.available_timezones())
        raise ValueError("must be a time zone such as Europe/Berlin, not {it}" + near) from None
    return value


def anchored(value: Any, info: ValidationInfo) -> Path:
    """A path, relative to the folder of the configuration file."""
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise ValueError("must be a path")
    return Path(os.path.abspath(folder(info) / value))  # noqa: PTH100 - resolve() would follow links


def folder(info: ValidationInfo) -> Path:
    return Path((info.context or {}).get("folder") or Path.cwd())


def readable(path: Path) -> Path:
    _content(path)
    return path


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or "it failed").lower()
        raise ValueError(f"{{it}} cannot be read ({reason}): name a file that the relay's user may read") from None


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file that holds a secret, and what was in it when the configuration was loaded."""

    path: Path
    content: SecretStr = field(default=SecretStr(""))


def secret_file(value: Any, info: ValidationInfo) -> SecretFile:
    path = anchored(value, info)
    return SecretFile(path, SecretStr(secret_text(_content(path))))


def secret_text(raw: bytes) -> str:
    """The secret in a file: UTF-8, one trailing newline is the editor's."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ValueError("{it} is not UTF-8 text: write the secret alone into the file") from None
    return text.removesuffix("\n").removesuffix("\r")


def sqlite_url(value: Any, info: ValidationInfo) -> str:
    """`sqlite:///` is relative to the configuration file's folder, `sqlite:////` absolute; the result is absolute."""
    text = str(value)
    if text.startswith(("postgresql://", "postgres://")):
        raise ValueError("postgresql is not in this version: use sqlite:///var/spool.db")
    path = text.removeprefix("sqlite:///")
    if path in (text, "", "/", ":memory:") or "?" in path:
        raise ValueError("must be sqlite:///path (beside this file) or sqlite:////path (absolute)")
    return "sqlite:///" + str(anchored(path, info))


def _schema(kind: str | list[str], **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": kind, **more})


Duration = Annotated[float, BeforeValidator(seconds), _schema(["string", "number"], pattern=r"^\d+(\.\d+)?\s*[smhd]?$")]
Size = Annotated[int, BeforeValidator(octets), _schema(["string", "integer"], pattern=r"^\d+\s*(KiB|MiB|GiB)?$")]
Limit = Annotated[int, BeforeValidator(limit), Field(ge=1)]
Listen = Annotated[ListenAddress, PlainValidator(listen_address), PlainSerializer(str), _schema("string")]
TcpListen = Annotated[ListenAddress, PlainValidator(tcp_address), PlainSerializer(str), _schema("string")]
Network = Annotated[IpNetwork, PlainValidator(network), PlainSerializer(str), _schema("string")]
_MANY = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
Networks = Annotated[tuple[Network, ...], BeforeValidator(one_or_many), WithJsonSchema(_MANY)]
Text = Annotated[str, AfterValidator(plain_text)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(one_or_many), WithJsonSchema(_MANY)]
Scopes = Annotated[
    tuple[Literal["send", "queue", "providers", "admin"], ...],
    BeforeValidator(one_or_many),
    AfterValidator(some),
    WithJsonSchema(_MANY),
]
MailAddress = Annotated[str, AfterValidator(address)]
Mailbox = Annotated[str, AfterValidator(mailbox)]
KeepOrMailbox = Annotated[str, AfterValidator(keep_or_mailbox)]
Host = Annotated[str, AfterValidator(host)]
HeaderName = Annotated[str, AfterValidator(header_name)]
Timezone = Annotated[str, AfterValidator(timezone)]
File = Annotated[Path, PlainValidator(anchored), _schema("string")]
ReadableFile = Annotated[Path, PlainValidator(anchored), AfterValidator(readable), _schema("string")]
PasswordFile = Annotated[
    SecretFile, PlainValidator(secret_file), PlainSerializer(lambda file: str(file.path)), _schema("string")
]
SqliteUrl = Annotated[str, PlainValidator(sqlite_url), _schema("string", pattern="^sqlite:///")]
