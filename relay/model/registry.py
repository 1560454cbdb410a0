"""What people manage while the relay runs, as plain values: providers as they set them, users, tokens.

Part of `relay.model`. Secrets are in clear here and never in a repr: only `store` writes them down, encrypted or
hashed.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass, field

from relay.model.providers import Provider


class Scope(enum.StrEnum):
    """What a token may do. ADMIN: users, tokens and keys; whoever has it may do the rest, too."""

    SEND = "send"
    QUEUE = "queue"
    PROVIDERS = "providers"
    ADMIN = "admin"


def implied(scopes: Collection[Scope]) -> frozenset[Scope]:
    """What whoever has these may do: ADMIN is everything."""
    return frozenset(Scope) if Scope.ADMIN in scopes else frozenset(scopes)


USUAL = (Scope.SEND, Scope.QUEUE, Scope.PROVIDERS)
"""What a user or a token may do when nobody says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """A provider as it is set over HTTP and by `relay provider`. "" and None: nothing set. Limits count messages.

    `use_tls`: STARTTLS, on port 465 TLS from the first byte; `use_ssl`: TLS from the first byte; never both.
    """

    name: str
    host: str
    port: int = 587
    username: str = ""
    password: str = field(default="", repr=False)
    use_tls: bool = True
    use_ssl: bool = False
    from_email: str = ""
    from_name: str = ""
    reply_to: str = ""
    daily_limit: int | None = None
    monthly_limit: int | None = None
    rate_limit_per_minute: int | None = None
    priority: int = 1
    active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What is known of a provider. `healthy` None: nothing yet. `detail`: cause and fix when it is not."""

    healthy: bool | None = None
    checked_at: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A provider that exists. `id`: for life. `origin`: "file" (read-only here) or "api". `default`: whose sender
    composed mail gets; one at most. `provider`: what the relay works with, its password in clear.

    `locked`: why its password cannot be decrypted, "" when it can; such a provider is not active.
    """

    id: int
    origin: str
    settings: ProviderSettings
    provider: Provider
    default: bool
    created_at: float
    updated_at: float
    health: Health = field(default_factory=Health)
    locked: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a provider did. `today`, `month`: messages it took, by its own calendar. The rest: over the kept history.

    `attempts`: transactions that ended, `accepted` of them well, `seconds` long together.
    """

    today: int = 0
    month: int = 0
    attempts: int = 0
    accepted: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Somebody with a password. `origin`: "file" (read-only here) or "api". `created_at` 0: nobody wrote it down."""

    name: str
    scopes: frozenset[Scope]
    origin: str
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token, without its secret. `user`: whose session it is, "" when an operator made it.

    `expires_at` None: never.
    """

    id: int
    name: str
    scopes: frozenset[Scope]
    user: str = ""
    created_at: float
    expires_at: float | None = None
