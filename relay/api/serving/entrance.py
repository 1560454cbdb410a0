"""Who comes in: what stands between a socket and the application and settles who asks, before a body is read.

Put around the application by `doors`, one for each socket. It says who somebody is; what that one may do, the resources
say. It never lets a request pass without a caller, but to what is open to everybody.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from relay.api.callers import CONTROL, LOOPBACK, Caller, client_of
from relay.api.parts import ApiParts
from relay.api.serving.guards import OPEN_PATHS, TOKEN_PATH, answer
from relay.config.listen import is_loopback_address
from relay.events import LoginFailed

OPEN = OPEN_PATHS | {TOKEN_PATH}
LONGEST = 256  # characters of an Authorization header; ours have 56
BEARER = (b"www-authenticate", b"Bearer")

Headers = list[tuple[bytes, bytes]]

# Whoever adds one of these speaks for somebody else, who may be anywhere.
_FORWARDING = frozenset({b"forwarded", b"via", b"x-real-ip"})
_MEDIA_TYPES = {TOKEN_PATH: "application/x-www-form-urlencoded", "/v1/messages/raw": "message/rfc822"}


def doors(app: ASGIApp, parts: ApiParts) -> tuple[ASGIApp, ASGIApp]:
    """The application as it is for TCP, and for the control socket."""
    return Entrance(app, parts), Control(app)


class Control:
    """The control socket: who may open it is admin."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["caller"] = CONTROL
        await self._app(scope, receive, send)


class Entrance:
    """TCP: a bearer token, or as long as there is neither user nor token, programs on this machine (hazard H14)."""

    def __init__(self, app: ASGIApp, parts: ApiParts) -> None:
        self._app = app
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in OPEN:
            await self._app(scope, receive, send)
        elif self._parts.accounts.nobody():
            await self._local(scope, receive, send)
        else:
            await self._bearer(scope, receive, send)

    async def _local(self, scope: Scope, receive: Receive, send: Send) -> None:
        why = stranger(scope, self._parts.house().hostname)
        if why:
            detail = (
                "while there is neither a user nor a token only programs on this machine may use the API, and "
                f"{why}: make a token with relay token create and send it as Authorization: Bearer"
            )
            await answer(scope, send, 403, detail)
            return
        scope["caller"] = LOOPBACK
        await self._app(scope, receive, send)

    async def _bearer(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts = self._parts
        given = _values(scope["headers"], b"authorization")
        token = parts.accounts.bearer(_secret(given), parts.clock())
        if token is None:
            if given:
                parts.observe(LoginFailed(client=client_of(scope), user=""))
            detail = "the token is wrong, revoked or expired" if given else "this needs a token"
            how = "send Authorization: Bearer with one from relay token create, or from /token"
            await answer(scope, send, 401, f"{detail}: {how}", headers=[BEARER])
            return
        owner = f"user:{token.user}" if token.user else f"token:{token.id}"
        scope["caller"] = Caller(name=token.user or token.name, key=owner, scopes=token.scopes)
        await self._app(scope, receive, send)


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]


def _secret(given: list[bytes]) -> str:
    """What stands behind the scheme of the only Authorization header (RFC 6750 2.1), "" if it is anything else."""
    if len(given) != 1 or len(given[0]) > LONGEST or not given[0].isascii():
        return ""
    scheme, _, secret = given[0].decode().partition(" ")
    return secret.strip(" ") if scheme.lower() == "bearer" else ""


# Is it a program on this machine? A browser here may be sent by a page from anywhere, a proxy by anybody.


def stranger(scope: Scope, hostname: str) -> str:
    """Why a request may come from elsewhere, "" for no reason to think so."""
    headers: Headers = scope["headers"]
    client = scope.get("client")
    if not client or not is_loopback_address(client[0]):
        return "this client is on another"
    if any(name in _FORWARDING or name.startswith(b"x-forwarded-") for name, _ in headers):
        return "this request was forwarded by a proxy"
    host = _only(headers, b"host")
    if not host or not _is_ours(host, hostname):  # a name that an attacker's DNS points here
        return "its Host is not localhost, a loopback address or the relay's hostname"
    if any(_authority(origin) != _with_port(host) for origin in _texts(headers, b"origin")) or _of_a_page(headers):
        return "it comes from a page of another origin"
    return _wrong_body(scope["path"], scope["method"], headers)


def _of_a_page(headers: Headers) -> bool:
    """Browsers say it of what has no Origin, such as an image; a link may lead here (Fetch Metadata, 2.2 and 2.4)."""
    elsewhere = _only(headers, b"sec-fetch-site") in ("cross-site", "same-site")
    return elsewhere and _only(headers, b"sec-fetch-mode") != "navigate"


def _wrong_body(path: str, method: str, headers: Headers) -> str:
    """Pages may send simple requests to anybody, whose media types are not JSON's (Fetch standard, 2.2.2)."""
    given = _texts(headers, b"content-type")
    body = _values(headers, b"transfer-encoding") or any(one != b"0" for one in _values(headers, b"content-length"))
    if not body and (method in ("GET", "HEAD") or not given):
        return ""
    wanted = _media_types(path)
    right = len(given) == 1 and given[0].partition(";")[0].strip().lower() in wanted
    return "" if right else f"its Content-Type is not {' or '.join(wanted)}"


def _media_types(path: str) -> tuple[str, ...]:
    """A page may send none of them to another origin unless that allows it."""
    if path == "/v1/workflows" or path.startswith("/v1/workflows/"):
        return ("application/json", "application/yaml")
    return (_MEDIA_TYPES.get(path, "application/json"),)


def _texts(headers: Headers, name: bytes) -> list[str]:
    return [value.decode("latin-1") for value in _values(headers, name)]


def _only(headers: Headers, name: bytes) -> str:
    found = _texts(headers, name)
    return found[0].lower() if len(found) == 1 else ""


def _is_ours(host: str, hostname: str) -> bool:
    name, _, port = host.rpartition(":") if _has_port(host) else (host, "", "80")
    if not port.isascii() or not port.isdigit():
        return False
    bare = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    return name in ("localhost", hostname.lower()) or is_loopback_address(bare)


def _has_port(host: str) -> bool:
    return ":" in host.rpartition("]")[2]


def _with_port(host: str) -> str:
    return host if _has_port(host) else f"{host}:80"


def _authority(origin: str) -> str:
    """Host and port of an Origin (RFC 6454 7); "" for null, and for what no page of ours can have."""
    scheme, _, host = origin.lower().partition("://")
    return _with_port(host) if host and scheme == "http" else ""
