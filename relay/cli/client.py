"""The relay that a command speaks to: a running one over HTTP, or with none running its API over the spool itself.

Called by the commands. Both ways give the same JSON shapes and the same failures. It never opens the spool of a running
relay: that one holds the lock.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from relay.cli.asking import JSON, Relay, decoded
from relay.cli.options import Failure, Options

TIMEOUT = 60.0  # seconds; an act on a million messages takes a while
_START = "start one with relay run, or name its configuration with -c"


class NotRunning(Failure):
    """Nothing answers on the control socket."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Remote(Relay):
    """A running relay, over one kept connection. `name` is what failures call it; `base` is None on this machine.

    `headers`: that every request has.
    """

    def __init__(
        self, connection: http.client.HTTPConnection, name: str, base: str | None = None, token: str | None = None
    ) -> None:
        self._connection = connection
        self._name = name
        self._hint = "correct --url, or start it" if base is not None else _START
        self._base = base or ""
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def exchange(self, target: str, order: JSON | None = None, method: str = "") -> tuple[int, JSON]:
        """As Relay's. Raises NotRunning or Failure when there is no answer."""
        body = None if order is None else json.dumps(order)
        headers = self.headers | ({"Content-Type": "application/json"} if body else {})
        try:
            method = method or ("GET" if body is None else "POST")
            self._say(method, self._base + target, body, headers)
            answer = self._connection.getresponse()
            return answer.status, decoded(answer.read())
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning(f"no relay answers on {self._name}: {self._hint}") from None
        except PermissionError:
            raise Failure(f"{self._name} is not yours to use: run this as the relay's user or as root") from None
        except ValueError:
            raise Failure(f"what answers on {self._name} is no relay: check the address") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Failure(f"no answer from {self._name}: {reason}; see the relay's log") from None

    def _say(self, method: str, target: str, body: str | None, headers: Mapping[str, str]) -> None:
        try:
            self._connection.request(method, target, body, headers)
        except (BrokenPipeError, ConnectionResetError):
            if self._connection.sock is None:
                raise
            # A body that is too large is refused before it was read to its end; the answer says so.


def _another(url: str) -> tuple[http.client.HTTPConnection, str]:
    """A connection to the relay at `url`, not yet open, and the path that its addresses begin with."""
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    try:
        parts = urlsplit(url)
        make, host, port = kinds[parts.scheme], parts.hostname or "", parts.port
    except (KeyError, ValueError):
        host = ""
    if not host:
        raise Failure(f"--url must be like http://127.0.0.1:8025, not {url}", 2)
    return make(host, port, timeout=TIMEOUT), parts.path.rstrip("/")


def _token(given: str) -> str:
    """As it may stand in a header; a file it was read from may have ended its line."""
    token = given.strip()
    if not (token.isascii() and token.isprintable()):
        raise Failure("$RELAY_TOKEN is no token: set it to one line of what relay token create printed", 2)
    return token


def running(options: Options) -> Remote:
    """The relay of `--url`, or of this configuration. Whether it runs shows at the first question."""
    if options.url:
        connection, base = _another(options.url)
        relay = Remote(connection, options.url, base, _token(options.token))
    else:
        path = options.load().config.control_path
        connection = _UnixConnection(path)
        relay = Remote(connection, str(path))
    options.closing.callback(connection.close)
    return relay


def relay(options: Options, *, existing: bool = False) -> Relay:
    """The running relay or, with none running, its API over its spool, which is locked until the command ends.

    `existing`: there must be a spool; otherwise an empty one is made.
    """
    there = running(options)
    if options.url:
        return there
    try:
        there.exchange("/healthz")
    except NotRunning:
        return _offline(options, existing)
    return there


def _offline(options: Options, existing: bool) -> Relay:
    from relay.cli.local import Local

    loaded = options.load()
    spool = loaded.config.spool.path
    if existing and not spool.exists():
        raise Failure(f"no relay runs and there is no spool {spool}: {_START}")
    local = Local(loaded)
    options.closing.callback(local.close)
    return local
