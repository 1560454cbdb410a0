"""Who makes a request, and what that one may do.

The entrance settles who it is and puts it into the request's scope; resources ask with `needs`. It never sees a secret.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from relay.api.problem import Refusal
from relay.model import Scope, implied

EVERYTHING = frozenset(Scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """`name`: for the audit log, "control", "loopback", or of the user or token. `key`: owner of idempotency keys."""

    name: str
    key: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        return scope in implied(self.scopes)


CONTROL = Caller(name="control", key="control", scopes=EVERYTHING)
LOOPBACK = Caller(name="loopback", key="loopback", scopes=EVERYTHING)


def client_of(scope: Mapping[str, Any]) -> str:
    """The address a request came from, IPv4 also when it came in by IPv6, "unix" on the control socket."""
    client = scope.get("client")
    return str(client[0]).removeprefix("::ffff:") if client and client[0] else "unix"


def caller_of(request: Request) -> Caller:
    found: Caller = request.scope["caller"]
    return found


def permitted(request: Request, scope: Scope) -> Caller:
    """The caller, who has this scope. Raises Refusal 403."""
    caller = caller_of(request)
    if not caller.may(scope):
        raise Refusal(403, f"this needs the scope {scope}, which the token of {caller.name} does not have")
    return caller


def needs(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency: the caller, who has this scope. Raises Refusal 403."""

    async def check(request: Request) -> Caller:  # else FastAPI would give it a thread
        return permitted(request, scope)

    return check
