"""The relay that a command speaks to: a running one over HTTP, or with none running the spool itself.

Called by the commands. Both ways give the same JSON shapes and the same failures. It never opens the spool of a running
relay: that one holds the lock.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

from relay.cli.options import Failure, Options

if TYPE_CHECKING:
    from relay.config.schema import Config
    from relay.ports import Desk, Explain

TIMEOUT = 60.0  # seconds; an act on a million messages takes a while
JSON = dict[str, Any]
_START = "start one with relay run, or name its configuration with -c"

OpenDesk = Callable[["Config"], AbstractAsyncContextManager[tuple["Desk", "Explain"]]]
"""Takes the spool's lock and gives it back; Failure when it cannot."""


class Queue(Protocol):
    """What the queue commands ask for."""

    def list(self, where: Mapping[str, Any], *, limit: int, after: str) -> JSON: ...

    def show(self, message: str) -> JSON: ...

    def act(self, action: str, where: Mapping[str, Any], *, provider: str, dry_run: bool) -> JSON: ...

    def stats(self) -> JSON: ...


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


class Remote:
    """A running relay, over one kept connection. `name` is what failures call it; `base` is None on this machine."""

    def __init__(
        self, connection: http.client.HTTPConnection, name: str, base: str | None = None, token: str | None = None
    ) -> None:
        self._connection = connection
        self._name = name
        self._hint = "correct --url, or start it" if base is not None else _START
        self._base = base or ""
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def list(self, where: Mapping[str, Any], *, limit: int, after: str) -> JSON:
        asked = {**where, "limit": limit, **({"after": after} if after else {})}
        return self.ask(f"/v1/messages?{urlencode(asked, doseq=True)}")

    def show(self, message: str) -> JSON:
        return self.ask(f"/v1/messages/{quote(message, safe='')}")

    def act(self, action: str, where: Mapping[str, Any], *, provider: str, dry_run: bool) -> JSON:
        order = {"action": action, "filter": dict(where), "provider": provider, "dry_run": dry_run}
        return self.ask("/v1/queue/actions", order)

    def stats(self) -> JSON:
        return self.ask("/v1/queue/stats")

    def explain(self, question: Mapping[str, Any]) -> JSON:
        return self.ask(f"/v1/explain?{urlencode(question)}")

    def ask(self, target: str, order: JSON | None = None) -> JSON:
        """The answer. Raises Failure for a refusal."""
        status, content = self.exchange(target, order)
        if status >= 400:
            raise refusal(status, content)
        return content

    def exchange(self, target: str, order: JSON | None = None) -> tuple[int, JSON]:
        """Status and JSON, whatever the status. Raises NotRunning or Failure when there is no answer."""
        body = None if order is None else json.dumps(order)
        headers = self._headers | ({"Content-Type": "application/json"} if body else {})
        try:
            self._connection.request("GET" if body is None else "POST", self._base + target, body, headers)
            answer = self._connection.getresponse()
            return answer.status, _object(answer.read())
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning(f"no relay answers on {self._name}: {self._hint}") from None
        except PermissionError:
            raise Failure(f"{self._name} is not yours to use: run this as the relay's user or as root") from None
        except ValueError:
            raise Failure(f"what answers on {self._name} is no relay: check the address") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Failure(f"no answer from {self._name}: {reason}; see the relay's log") from None


def _object(content: bytes) -> JSON:
    decoded = json.loads(content)
    if not isinstance(decoded, dict):
        raise ValueError("not an object")
    return decoded


def refusal(status: int, problem: Mapping[str, Any]) -> Failure:
    """A problem document as a sentence. What the relay could not read is wrong usage."""
    detail = str(problem.get("detail") or f"the relay answered {status}")
    errors = "; ".join(f"{_field(error['loc'])}: {error['msg']}" for error in problem.get("errors", ()))
    return Failure(f"{detail}: {errors}" if errors else detail, 2 if status in (400, 422) else 1)


def _field(loc: Sequence[object]) -> str:
    """The name of what is wrong, not its place in a list."""
    return str(next((part for part in reversed(loc) if isinstance(part, str)), loc[-1]))


class Offline:
    """The spool of a relay that does not run. Each operation takes its lock and lets it go."""

    def __init__(self, config: Config, open_desk: OpenDesk) -> None:
        self._config = config
        self._open_desk = open_desk

    def list(self, where: Mapping[str, Any], *, limit: int, after: str) -> JSON:
        return self._run(lambda operations: operations.list(where, limit=limit, after=after))

    def show(self, message: str) -> JSON:
        return self._run(lambda operations: operations.show(message))

    def act(self, action: str, where: Mapping[str, Any], *, provider: str, dry_run: bool) -> JSON:
        return self._run(lambda operations: operations.act(action, where, provider=provider, dry_run=dry_run))

    def stats(self) -> JSON:
        return self._run(lambda operations: operations.stats())

    def _run(self, work: Callable[[Any], Coroutine[Any, Any, JSON]]) -> JSON:
        import asyncio

        from relay.api.operations.queue import Operations
        from relay.api.problem import Refusal
        from relay.db.errors import StorageFailed, StorageFull

        names = [provider.name for provider in self._config.providers]

        async def inside() -> JSON:
            async with self._open_desk(self._config) as (desk, explain):
                made = Operations(desk=desk, explanations=explain, providers=lambda: names, clock=time.time)
                return await work(made)

        try:
            return asyncio.run(inside())
        except Refusal as refused:
            errors = [{"loc": [loc], "msg": msg} for loc, msg in refused.errors]
            raise refusal(refused.status, {"detail": refused.detail, "errors": errors}) from None
        except (StorageFailed, StorageFull) as failed:
            raise Failure(str(failed)) from None


def _another(url: str) -> tuple[http.client.HTTPConnection, str]:
    """A connection to the relay at `url`, not yet open, and the path that its addresses begin with."""
    parts = urlsplit(url)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    try:
        make, host, port = kinds[parts.scheme], parts.hostname or "", parts.port
    except (KeyError, ValueError):
        host = ""
    if not host:
        raise Failure(f"--url must be like http://127.0.0.1:8025, not {url}", 2)
    return make(host, port, timeout=TIMEOUT), parts.path.rstrip("/")


def running(options: Options) -> Remote:
    """The relay of `--url`, or of this configuration. Whether it runs shows at the first question."""
    if options.url:
        connection, base = _another(options.url)
        relay = Remote(connection, options.url, base, options.token)
    else:
        path = options.load().config.control_path
        connection = _UnixConnection(path)
        relay = Remote(connection, str(path))
    options.closing.callback(connection.close)
    return relay


def queue(options: Options) -> Queue:
    """The running relay or, with none running, its spool."""
    relay = running(options)
    if options.url:
        return relay
    try:
        relay.exchange("/healthz")
    except NotRunning:
        return _offline(options)
    return relay


def _offline(options: Options) -> Offline:
    config = options.load().config
    if not config.spool.path.exists():
        raise Failure(f"no relay runs and there is no spool {config.spool.path}: {_START}")
    return Offline(config, _open_spool)


@asynccontextmanager
async def _open_spool(config: Config) -> AsyncIterator[tuple[Desk, Explain]]:
    from relay.app.offline import offline_desk
    from relay.app.plan import CannotStart

    try:
        async with offline_desk(config) as opened:
            yield opened
    except CannotStart as error:
        raise Failure(str(error)) from None
