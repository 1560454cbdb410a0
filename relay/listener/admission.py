"""Who may connect: allow-lists and connection caps. One object for each listener, shared by its connections.

`session` asks it once when a connection is made and tells it when the connection is gone; it never sees a command.
"""

from __future__ import annotations

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


class Admission:
    """Counts connections. Unix sockets are outside allow-list and cap per client: their mode says who may connect."""

    def __init__(self, settings: Settings, ceiling: int) -> None:
        """`ceiling`: connections the process can hold whatever the settings say (hazard D8)."""
        self.total = 0
        self._clients: dict[str, int] = {}
        self._ceiling = ceiling
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """New limits and networks for connections to come; those that are counted stay counted."""
        self._total_cap = min(settings.max_connections, self._ceiling)
        self._client_cap = settings.max_connections_per_client
        self._networks = settings.allow or tuple(ip_network(text) for text in LOOPBACK)
        self._verdicts: dict[str, bool] = {}

    def enter(self, client: str) -> Refusal | None:
        """None: counted in, `leave` must follow. A Refusal: not counted."""
        refusal = self._judge(client)
        if refusal is None:
            self.total += 1
            self._clients[client] = self._clients.get(client, 0) + 1
        return refusal

    def _judge(self, client: str) -> Refusal | None:
        if client == UNIX:
            return SERVICE_FULL if self.total >= self._total_cap else None
        if not self._allowed(client):
            return NOT_ALLOWED
        if self.total >= self._total_cap:
            return SERVICE_FULL
        return CLIENT_FULL if self._clients.get(client, 0) >= self._client_cap else None

    def leave(self, client: str) -> None:
        self.total -= 1
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
