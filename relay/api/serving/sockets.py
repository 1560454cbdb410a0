"""The sockets of the HTTP side: one on TCP, and the control socket of the command line.

Called by `app` before anything else starts, so that a port in use is found at once. Who may open the control socket is
admin, so it is nobody's but ours from its first moment.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import stat
from pathlib import Path

_BACKLOG = 4096
"""Who waits while no more connections are taken in; the kernel has a bound of its own (net.core.somaxconn)."""


class CannotListen(Exception):
    """An address cannot be had; the text is cause and fix."""


def tcp_socket(host: str, port: int) -> socket.socket:
    """A listening TCP socket. Raises CannotListen."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        raise CannotListen(f"HTTP cannot listen on {host}:{port}: the host name does not resolve") from None
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise CannotListen(f"HTTP cannot listen on {host}:{port}: {_why(error)}") from None
    listening.setblocking(False)
    return listening


def _why(error: OSError) -> str:
    reasons = {
        errno.EADDRINUSE: "another program is using it; stop that, or set http.listen to another port",
        errno.EACCES: "ports below 1024 need a privilege; set http.listen to a higher port",
        errno.EADDRNOTAVAIL: "this machine has no such address; correct http.listen",
    }
    return reasons.get(error.errno or 0, (error.strerror or "it failed").lower())


def control_socket(path: Path) -> socket.socket:
    """The listening control socket, mode 0600. What a dead relay left behind is replaced. Raises CannotListen."""
    _clear(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(path))
        path.chmod(0o600)  # before listen(): until then nobody can connect, whatever the umask was
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        reason = (error.strerror or str(error)).lower()
        raise CannotListen(f"the control socket {path} cannot be made: {reason}; set control to another path") from None
    listening.setblocking(False)
    return listening


def _clear(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotListen(f"the control socket {path} cannot be made: another file is in its place; remove that")
    if _answers(path):
        raise CannotListen(f"another relay answers on {path}: stop it first, or give this one a spool of its own")
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def _answers(path: Path) -> bool:
    """Only a refused connection proves that nobody listens any more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def remove_socket(path: Path) -> None:
    """Take the name of a closed control socket away, unless another relay has taken the place meanwhile."""
    with contextlib.suppress(CannotListen):
        _clear(path)
