"""Opens the sockets a listener listens on: TCP, unix, or handed over by systemd.

`server` calls `open_sockets`; it never accepts a connection. What goes wrong becomes one sentence with cause and fix.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from relay.listener.settings import ListenerError, Settings

BACKLOG = 1024
UNIX_MODE = 0o666
"""Every user of the machine may submit, as with /usr/sbin/sendmail; narrow it by the mode of the folder."""

FIRST_FD = 3  # sd_listen_fds(3): SD_LISTEN_FDS_START


def open_sockets(settings: Settings) -> list[socket.socket]:
    """Listening sockets, not blocking. Raises ListenerError."""
    address = settings.address
    if address.startswith("unix:"):
        return [_unix(settings, Path(address.removeprefix("unix:")))]
    if address.startswith("fd:"):
        return from_systemd(settings, os.environ)
    return _tcp(settings)


def split_address(address: str) -> tuple[str, int]:
    """("127.0.0.1", 2525); host "" or "*" means every interface. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    number = int(port) if colon and port.isascii() and port.isdigit() else -1
    if not 0 <= number <= 65535:
        raise ValueError(address)
    return host.removeprefix("[").removesuffix("]"), number


def _tcp(settings: Settings) -> list[socket.socket]:
    try:
        host, port = split_address(settings.address)
        found = socket.getaddrinfo(
            host if host not in ("", "*") else None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except ValueError:
        raise _error(
            settings, "that is not HOST:PORT, unix:PATH or fd:NAME", "write for example 127.0.0.1:2525"
        ) from None
    except socket.gaierror as error:
        raise _error(settings, str(error.strerror), "name an address of this machine") from error
    _require_allow(settings, [str(where[0]) for *_, where in found])
    opened: list[socket.socket] = []
    try:
        for family, _, _, _, where in dict.fromkeys(found):
            opened.append(_bound(family, where))
    except OSError as error:
        for one in opened:
            one.close()
        raise _error(settings, *_explain(error)) from error
    return opened


def _require_allow(settings: Settings, hosts: list[str]) -> None:
    """An open relay is not a default (hazard H11)."""
    if not settings.allow and not all(ip_address(host.partition("%")[0]).is_loopback for host in hosts):
        raise _error(
            settings, "it is not a loopback address and nobody is allowed", "list the clients' networks in allow"
        )


def _bound(family: int, where: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has its own socket
        made.bind(where)
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    made.setblocking(False)
    return made


def _unix(settings: Settings, path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear_stale(path)
        made.bind(str(path))
        path.chmod(UNIX_MODE)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise _error(settings, *_explain(error)) from error
    made.setblocking(False)
    return made


def _clear_stale(path: Path) -> None:
    """Remove a socket nobody listens on. One that answers, or a file of another kind, stays: bind says EADDRINUSE."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)


def from_systemd(settings: Settings, environ: Mapping[str, str], first: int = FIRST_FD) -> list[socket.socket]:
    """sd_listen_fds_with_names(3). The descriptors stay systemd's and are duplicated: a reload finds them again."""
    name = settings.address.removeprefix("fd:")
    count = int(environ.get("LISTEN_FDS", "0")) if environ.get("LISTEN_PID") == str(os.getpid()) else 0
    names = environ.get("LISTEN_FDNAMES", "").split(":")[:count]
    wanted = [first + at for at, given in enumerate(names) if given == name]
    if not wanted:
        raise _error(
            settings, "systemd handed over no socket of that name", f"add FileDescriptorName={name} to its .socket unit"
        )
    made = [socket.socket(fileno=os.dup(fd)) for fd in wanted]
    for one in made:
        one.setblocking(False)
    return made


def _explain(error: OSError) -> tuple[str, str]:
    """Cause and fix."""
    known = {
        errno.EADDRINUSE: ("something else listens there", "stop it or choose another address"),
        errno.EACCES: (
            "the relay may not open it",
            "use a port above 1023, systemd socket activation, or another path",
        ),
        errno.EPERM: ("the relay may not open it", "use a port above 1023, systemd socket activation, or another path"),
        errno.EADDRNOTAVAIL: ("this machine has no such address", "use one that `ip address` shows"),
        errno.ENOENT: ("its folder does not exist", "create it first"),
    }
    return known.get(error.errno or 0, (error.strerror or str(error), "choose another address"))


def _error(settings: Settings, cause: str, fix: str) -> ListenerError:
    return ListenerError(f"listener {settings.name} cannot listen on {settings.address}: {cause}; {fix}")
