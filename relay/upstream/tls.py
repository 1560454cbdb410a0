"""TLS contexts for connections to providers: verified, TLS 1.2 or newer, one for each trust anchor file.

Called by connect. Never turns verification off but for `opportunistic`, which promises none.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from pathlib import Path

from relay.model import Provider, Tls

_Key = tuple[str, int, bool]
_contexts: dict[_Key, ssl.SSLContext] = {}
_building = threading.Lock()


async def context_for(provider: Provider) -> ssl.SSLContext:
    """OSError (ssl.SSLError is one): `ca_file` cannot be read or is no PEM. Building one takes 20 ms: in a thread."""
    verified = provider.tls is not Tls.OPPORTUNISTIC
    changed = Path(provider.ca_file).stat().st_mtime_ns if provider.ca_file else 0
    key = (provider.ca_file, changed, verified)
    if key not in _contexts:
        await asyncio.to_thread(_build_once, key)
    return _contexts[key]


def _build_once(key: _Key) -> None:
    """At a start many connections ask at the same time: the first builds it, the others wait that long, not longer."""
    with _building:
        if key not in _contexts:
            ca_file, _, verified = key
            _contexts[key] = _build(ca_file, verified)


def _build(ca_file: str, verified: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    if not verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
