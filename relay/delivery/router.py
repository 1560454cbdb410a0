"""Which providers a recipient's mail may go to, and what is rewritten on the way: first matching route wins.

Called by dispatcher at every attempt. Never knows which providers exist or work, and never sees a message's body.
"""

from __future__ import annotations

import fnmatch
import hashlib
import ipaddress
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from relay.model import Match, Recipient, Rewrite, Route, Source

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Glob = Callable[[str], object]
BUCKETS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """Where mail goes. `providers` empty: every active one. `rule`: index of the route that matched, None: none did."""

    key: str = "default"
    providers: tuple[str, ...] = ()
    rewrite: Rewrite | None = None
    rule: int | None = None

    def lane(self, source: Source) -> str:
        """ "<route key>:<source bucket>": sources are hashed, so that hostile ones cannot make lanes without end."""
        return f"{self.key}:{_bucket(source.listener, source.client, source.user)}"


DEFAULT = Path()


def pin_key(provider: str) -> str:
    """The route key of mail that is pinned to a provider: it moves when that one can, whatever else its route says."""
    return _digest(("pin", provider))


def pinned_lane(lane: str, provider: str) -> str:
    """The lane of an entry of `lane` that is pinned to a provider."""
    return f"{pin_key(provider)}:{lane.partition(':')[2]}"


def via(provider: str, *, exists: bool) -> Path:
    """Of mail that names its provider, whatever routes say.

    Where that is gone it has another key: mail which an operator pinned to it goes by its route again, and must not
    stand behind this.
    """
    key = pin_key(provider) if exists else _digest(("gone", provider))
    return Path(key=key, providers=(provider,))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """A route, compiled: the path and a test for each condition that is set."""

    path: Path
    match: Match
    networks: tuple[Network, ...]
    sender: Glob | None
    recipient: Glob | None
    headers: tuple[tuple[str, Glob], ...]

    def admits(self, sender: str, source: Source, headers: Mapping[str, str]) -> bool:
        """All conditions but the recipient's, which may differ within one message."""
        match = self.match
        return (
            (not match.listener or match.listener == source.listener)
            and (not match.user or match.user == source.user)
            and (not self.networks or _within(source.client, self.networks))
            and (self.sender is None or bool(self.sender(sender or "<>")))
            and all(name in headers and glob(headers[name]) for name, glob in self.headers)
        )


class Router:
    """Routes compiled once. `header_names`: what a message's head must be scanned for, lower-case."""

    def __init__(self, routes: Sequence[Route]) -> None:
        table = _digest(tuple(routes))
        self._rules = tuple(_compile(index, route, table) for index, route in enumerate(routes))
        self.header_names = frozenset(name for rule in self._rules for name, _ in rule.headers)
        self.paths: Mapping[str, Path] = {DEFAULT.key: DEFAULT} | {r.path.key: r.path for r in reversed(self._rules)}

    def groups(
        self, sender: str, recipients: tuple[Recipient, ...], source: Source, headers: Mapping[str, str]
    ) -> Sequence[tuple[Path, tuple[Recipient, ...]]]:
        """Recipients by where they go, in order; those with the same providers and rewrite share one group."""
        rules = [rule for rule in self._rules if rule.admits(sender, source, headers)] if self._rules else ()
        if not rules or rules[0].recipient is None:
            return ((rules[0].path if rules else DEFAULT, recipients),)
        found: dict[str, tuple[Path, list[Recipient]]] = {}
        for recipient in recipients:
            path = _first(rules, recipient.address)
            found.setdefault(path.key, (path, []))[1].append(recipient)
        return [(path, tuple(group)) for path, group in found.values()]

    def guess(self, sender: str, recipient: str, client: str) -> tuple[Path, tuple[str, ...]]:
        """For a question that says no more than this: the path, and the conditions assumed to hold."""
        source = Source(kind="smtp", client=client)
        for rule in self._rules:
            match = rule.match
            unsaid = {
                "listener": match.listener,
                "user": match.user,
                "client": "" if client else ",".join(match.client),
            }
            asked = replace(rule, match=Match(), headers=(), networks=rule.networks if client else ())
            if asked.admits(sender, source, {}) and _first((asked,), recipient) is rule.path:
                assumed = [f"{name} {value}" for name, value in unsaid.items() if value]
                return rule.path, (*assumed, *(f"header {name}: {glob}" for name, glob in match.headers))
        return DEFAULT, ()


def _first(rules: Iterable[_Rule], recipient: str) -> Path:
    for rule in rules:
        if rule.recipient is None or rule.recipient(recipient):
            return rule.path
    return DEFAULT


def _compile(index: int, route: Route, table: str) -> _Rule:
    match = route.match
    key = _key(route.providers, route.rewrite, table)
    return _Rule(
        path=Path(key=key, providers=route.providers, rewrite=route.rewrite, rule=index),
        match=match,
        networks=tuple(ipaddress.ip_network(network, strict=False) for network in match.client),
        sender=_glob(match.sender),
        recipient=_glob(match.recipient),
        headers=tuple((name.lower(), _glob(glob) or _anything) for name, glob in match.headers),
    )


def _key(providers: tuple[str, ...], rewrite: Rewrite | None, table: str) -> str:
    """Stable over restarts: lanes are stored under it. Another when any route changes, since what lies in a lane may
    now belong elsewhere: a lane that no route leads to is free to be claimed, so its mail is routed anew at once, also
    out of a lane that does not move. The default lane can stay: it moves when any active provider can be used.
    """
    if not providers and rewrite in (None, Rewrite()):
        return DEFAULT.key
    changes = (rewrite.envelope_from, rewrite.header_from, rewrite.reply_to) if rewrite else None
    return _digest((providers, changes, table))


def _digest(what: object) -> str:
    return hashlib.blake2b(repr(what).encode(), digest_size=4).hexdigest()


def _glob(pattern: str) -> Glob | None:
    """A shell glob without regard to case; "" and "*" are no condition. The null sender is matched as "<>"."""
    if pattern in ("", "*"):
        return None
    return re.compile(fnmatch.translate(pattern), re.IGNORECASE).match


def _anything(value: str) -> bool:
    return True


def _within(client: str, networks: tuple[Network, ...]) -> bool:
    address = _address(client)
    return address is not None and any(address in network for network in networks)


@lru_cache(maxsize=4096)
def _address(client: str) -> Address | None:
    """None for "unix" and what else is no address. ::ffff:10.0.0.1 is 10.0.0.1 to whoever writes routes."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(maxsize=4096)
def _bucket(listener: str, client: str, user: str) -> int:
    return zlib.crc32("\0".join((listener, client, user)).encode("utf-8", "surrogateescape")) % BUCKETS
