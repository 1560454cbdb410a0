"""The server side of TLS: one context for each set of settings, and the upgrade of a connection.

`service` builds the context, `session` upgrades. It never decides whether TLS is wanted.
"""

from __future__ import annotations

import asyncio
import ssl
import types
from collections.abc import Coroutine, Generator
from typing import Any

from relay.listener.settings import ListenerError, Settings


def context(settings: Settings) -> ssl.SSLContext | None:
    """None when the listener has no TLS. TLS 1.2 is the least we speak (RFC 8996 retired what came before).

    Raises ListenerError when certificate or key cannot be used.
    """
    if settings.tls == "none":
        return None
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        made.load_cert_chain(settings.certfile, settings.keyfile or None)
    except (OSError, ssl.SSLError) as error:
        raise ListenerError(_why(settings, error)) from error
    return made


def _why(settings: Settings, error: OSError) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    key = settings.keyfile or settings.certfile
    return (
        f"listener {settings.name}: certificate {settings.certfile} with key {key} cannot be used ({reason}); "
        "both must exist, be PEM, belong together and be readable by the relay"
    )


def upgrade(
    loop: asyncio.AbstractEventLoop,
    transport: asyncio.WriteTransport,
    protocol: asyncio.Protocol,
    made: ssl.SSLContext,
    seconds: float,
) -> Coroutine[Any, Any, asyncio.Transport | None]:
    """Start the handshake now and return what finishes it: the new transport, or None if it failed.

    Now, not when a task gets its turn: uvloop reads on in between, and the client's first bytes would be lost.
    """
    handshake = loop.start_tls(transport, protocol, made, server_side=True, ssl_handshake_timeout=seconds)
    try:
        return _finish(handshake, handshake.send(None))
    except BaseException:
        handshake.close()
        raise


async def _finish(
    handshake: Coroutine[Any, Any, asyncio.Transport | None], waiting: object
) -> asyncio.Transport | None:
    try:
        return await _resume(handshake, waiting)
    except OSError:  # ssl.SSLError and TimeoutError are kinds of it
        return None


@types.coroutine
def _resume(
    begun: Coroutine[Any, Any, asyncio.Transport | None], waiting: object
) -> Generator[object, Any, asyncio.Transport | None]:
    """Go on with a coroutine that took its first step already and waits for `waiting`."""
    yield waiting
    transport: asyncio.Transport | None = yield from begun
    return transport
