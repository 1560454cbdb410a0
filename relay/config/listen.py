"""Where to listen: addresses as the configuration writes them, and as `app` reads them again.

Called by the schema, the rules and `app`. A mistake is a ValueError whose sentence has `{it}` for the value; it
resolves and opens nothing.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from typing import Any, Literal

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\.?$){_LABEL}(\.{_LABEL})*\.?")
_SOCKET_PATH_BYTES = 107  # sun_path in unix(7) holds 108 with the closing NUL


def is_loopback(host: str) -> bool:
    """Whether a host can only be this machine. A name other than localhost is not: it may resolve to anything."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761 6.3
        return True
    return is_loopback_address(name.strip("[]"))


def is_loopback_address(text: str) -> bool:
    """Of an address as it is written; a name is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback  # by itself Python does so from 3.13 on


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen. `kind` tcp: `host` and `port`; unix: `path`; fd: `name` of a socket that systemd passes."""

    kind: Literal["tcp", "unix", "fd"]
    host: str = ""
    port: int = 0
    path: str = ""
    name: str = ""

    def __str__(self) -> str:
        if self.kind == "tcp":
            return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        return f"{self.kind}:{self.path or self.name}"

    @property
    def public(self) -> bool:
        """True when other machines can reach it (as far as the address tells)."""
        return self.kind == "tcp" and not is_loopback(self.host)


def listen_address(value: Any) -> ListenAddress:
    """`host:port`, `[::1]:25`, `unix:/path` or `fd:NAME`."""
    text = str(value)
    if text.startswith("unix:"):
        return _unix(text[5:])
    if text.startswith("fd:") and re.fullmatch(r"[\w.@-]+", text[3:]):
        return ListenAddress("fd", name=text[3:])
    return _tcp(text)


def _unix(path: str) -> ListenAddress:
    if not path.startswith("/"):
        raise ValueError("must be unix: and an absolute path, such as unix:/run/relay/smtp.sock, not {it}")
    if len(os.fsencode(path)) > _SOCKET_PATH_BYTES:
        raise ValueError(f"is too long for a socket: at most {_SOCKET_PATH_BYTES} bytes")
    return ListenAddress("unix", path=path)


def _tcp(text: str) -> ListenAddress:
    match = re.fullmatch(r"(?:\[([^\[\]\s]*:[^\[\]\s]*)\]|([^\s:\[\]]+)):([0-9]{1,5})", text)
    if not match or int(match[3]) > 65535:
        raise ValueError("must be host:port such as 127.0.0.1:2525, [::1]:2525, unix:/path or fd:NAME, not {it}")
    if not is_host(match[1] or match[2]):
        raise ValueError("must begin with a host; 0.0.0.0 and [::] are all of this machine's addresses")
    return ListenAddress("tcp", host=match[1] or match[2], port=int(match[3]))


def is_host(text: str) -> bool:
    """A host name, or an IP address; what can only be meant as an address must be one."""
    if ":" not in text and not re.fullmatch(r"[0-9.]+", text):
        return bool(_NAME.fullmatch(text))
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def tcp_address(value: Any) -> ListenAddress:
    address = listen_address(value)
    if address.kind != "tcp":
        raise ValueError("must be host:port such as 127.0.0.1:8025, not {it}")
    return address
