"""From what people set to what the relay works with, and back for providers of the file, which are only shown.

Used by `registry`. Pure; what is right or wrong was said before, by whoever asked.
"""

from __future__ import annotations

from dataclasses import replace

from relay.config.presets import PRESETS
from relay.model import Provider, ProviderSettings, Tls

_IMPLICIT_PORT = 465  # RFC 8314 7.3
_REACHED = ("host", "port", "username", "password", "use_tls", "use_ssl")


def provider_of(settings: ProviderSettings, *, allow_private: bool, locked: str = "") -> Provider:
    """`locked`: not empty when there is a password that cannot be decrypted, without which nothing may be tried."""
    custom = PRESETS["custom"]
    return Provider(
        name=settings.name,
        host=settings.host,
        port=settings.port,
        tls=_tls(settings),
        username=settings.username,
        password=settings.password,
        auth=custom.auth if settings.username else "none",
        pipelining=custom.pipelining,
        priority=settings.priority,
        active=settings.active and not locked,
        public_only=not allow_private,
        limits=replace(
            custom.limits,
            per_minute=settings.rate_limit_per_minute,
            per_day=settings.daily_limit,
            per_month=settings.monthly_limit,
        ),
    )


def _tls(settings: ProviderSettings) -> Tls:
    if settings.use_ssl or (settings.use_tls and settings.port == _IMPLICIT_PORT):
        return Tls.IMPLICIT
    return Tls.STARTTLS if settings.use_tls else Tls.NONE


def settings_of(provider: Provider) -> ProviderSettings:
    """How a provider of the file looks among the others."""
    return ProviderSettings(
        name=provider.name,
        host=provider.host,
        port=provider.port,
        username=provider.username,
        password=provider.password,
        use_tls=provider.tls in (Tls.STARTTLS, Tls.OPPORTUNISTIC),
        use_ssl=provider.tls is Tls.IMPLICIT,
        daily_limit=provider.limits.per_day,
        monthly_limit=provider.limits.per_month,
        rate_limit_per_minute=provider.limits.per_minute,
        priority=provider.priority,
        active=provider.active,
    )


def reached_alike(one: ProviderSettings, other: ProviderSettings) -> bool:
    """What is known of the health of one holds for the other."""
    return all(getattr(one, name) == getattr(other, name) for name in _REACHED)
