"""From a host name to a connected socket: resolve, then try its addresses in the manner of RFC 8305.

Called by connect. Never waits longer than the provider's connect timeout for either part; a dead path costs 250 ms.
What is dialled is the very address that was judged: no name is resolved a second time (hazard H2).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from itertools import chain, zip_longest

from relay.model import Provider
from relay.smtp.hosts import judge
from relay.upstream.causes import Failure, unreached, unresolved, walled

_STAGGER = 0.25  # RFC 8305 section 5: before the next address is tried beside the ones under way

Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]
Resolver = Callable[[str, int], Awaitable[list[Address]]]
"""A host and a port to their addresses, the favourite first. Raises OSError or UnicodeError."""


async def system(host: str, port: int) -> list[Address]:
    """What this machine's resolver says."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]  # type: ignore[misc]


async def dial(provider: Provider, resolver: Resolver = system) -> socket.socket | Failure:
    """A connected, non-blocking socket that belongs to the caller."""
    addresses = await resolve(provider, resolver)
    return addresses if isinstance(addresses, Failure) else await _race(provider, addresses)


async def resolve(provider: Provider, resolver: Resolver = system) -> list[Address] | Failure:
    """IPv6 and IPv4 in turn, the favourite first; for a provider made over HTTP only what is public (hazard H2)."""
    try:
        async with asyncio.timeout(provider.timeouts.connect):
            found = await resolver(provider.host, provider.port)
    except TimeoutError:
        return unresolved(provider, None)
    except (OSError, UnicodeError) as error:  # a label over 63 characters is a UnicodeError
        return unresolved(provider, error)
    if provider.public_only:
        why = {address[0]: judge(address[0]) for _, address in found}
        found = [each for each in found if not why[each[1][0]]]
        if not found:
            return walled(provider, why)
    return interleave(found)


def interleave(addresses: list[Address]) -> list[Address]:
    """RFC 8305 section 4: families take turns, each in the order given, beginning with that of the first."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    second = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for address in chain(*zip_longest(first, second)) if address is not None]


async def _race(provider: Provider, addresses: list[Address]) -> socket.socket | Failure:
    """The first address that answers wins; the next is tried when one fails or after 250 ms."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + provider.timeouts.connect
    waiting = list(addresses)
    under_way: dict[asyncio.Task[socket.socket], str] = {}
    errors: list[tuple[str, OSError]] = []
    try:
        while waiting or under_way:
            if waiting:
                address = waiting.pop(0)
                under_way[asyncio.create_task(_connect(address))] = address[1][0]
            left = deadline - loop.time()
            wait = min(_STAGGER, left) if waiting else left
            done, _ = await asyncio.wait(under_way, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is None:
                    del under_way[task]
                    return task.result()
                address_text = under_way.pop(task)
                if not isinstance(error, OSError):
                    raise error
                errors.append((address_text, error))
            if loop.time() >= deadline:
                break
    finally:
        for task in under_way:
            task.add_done_callback(_discard)
            task.cancel()
    return unreached(provider, errors)


def _discard(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _connect(address: Address) -> socket.socket:
    sock = socket.socket(address[0], socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        await asyncio.get_running_loop().sock_connect(sock, address[1])
    except BaseException:
        sock.close()
        raise
    return sock
