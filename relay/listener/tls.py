"""The server side of TLS: one context for each set of settings.

`service` builds it; it never negotiates anything itself.
"""

from __future__ import annotations

import ssl

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
