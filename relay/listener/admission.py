"""Who may connect: allow-lists and connection caps. One object for each listener, shared by its connections.

`session` asks it once when a connection is made and tells it when the connection is gone; it never sees a command.
"""

from __future__ import annotations

import resource
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

from relay.listener.replies import CLIENT_FULL, NOT_ALLOWED, SERVICE_FULL, Refusal
from relay.listener.settings import LOOPBACK, Settings

UNIX = "unix"


class Client(NamedTuple):
    """`name`: an IP address or "unix". `local`: on this machine, where a password needs no TLS."""

    name: str
    local: bool


@lru_cache(maxsize=4096)
def identify(peer: str) -> Client:
    """The peer's address without a scope, IPv4 also when it came in by IPv6. "" is a unix socket."""
    if not peer:
        return Client(UNIX, True)
    address: IPv4Address | IPv6Address = ip_address(peer.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return Client(str(address), address.is_loopback)


def ceiling() -> int:
    """Connections the process can hold and still have descriptors for spool, upstreams and HTTP (hazard D8).

    Two for each, since a large message that arrives has a file; a process allowed thousands keeps 512 for the rest.
    """
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 30 if descriptors == resource.RLIM_INFINITY else max((descriptors - 48) // 2, descriptors - 512, 4)


class Room:
    """Connections of all listeners of the process: they share its descriptors."""

    __slots__ = ("limit", "taken")

    def __init__(self, limit: int | None = None) -> None:
        self.limit = ceiling() if limit is None else limit
        self.taken = 0

    @property
    def full(self) -> bool:
        return self.taken >= self.limit


class Admission:
    """Counts connections. Unix sockets are outside allow-list and cap per client: their mode says who may connect."""

    def __init__(self, settings: Settings, room: Room) -> None:
        self.total = 0
        self._clients: dict[str, int] = {}
        self._room = room
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """New limits and networks for connections to come; those that are counted stay counted."""
        self._total_cap = settings.max_connections
        self._client_cap = settings.max_connections_per_client
        self._networks = settings.allow or tuple(ip_network(text) for text in LOOPBACK)
        self._verdicts: dict[str, bool] = {}

    def enter(self, client: str) -> Refusal | None:
        """None: counted in, `leave` must follow. A Refusal: not counted."""
        refusal = self._judge(client)
        if refusal is None:
            self.total += 1
            self._room.taken += 1
            self._clients[client] = self._clients.get(client, 0) + 1
        return refusal

    def _judge(self, client: str) -> Refusal | None:
        if client != UNIX and not self._allowed(client):
            return NOT_ALLOWED
        if self._room.full or self.total >= self._total_cap:
            return SERVICE_FULL
        if client == UNIX:
            return None
        return CLIENT_FULL if self._clients.get(client, 0) >= self._client_cap else None

    def leave(self, client: str) -> None:
        self.total -= 1
        self._room.taken -= 1
        left = self._clients[client] - 1
        if left:
            self._clients[client] = left
        else:
            del self._clients[client]

    def _allowed(self, client: str) -> bool:
        verdict = self._verdicts.get(client)
        if verdict is None:
            if len(self._verdicts) >= 4096:
                self._verdicts.clear()
            address = ip_address(client)
            verdict = self._verdicts[client] = any(address in network for network in self._networks)
        return verdict
