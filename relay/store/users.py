"""Users as the configuration file has them: plain values, which go from one process to another with the plan.

Made by `app`, read by `accounts`. Secrets are in clear here and never in a repr.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.model import USUAL, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """What a password is compared with: itself, or its hash (argon2, encoded form)."""

    clear: str = field(default="", repr=False)
    hash: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileUser:
    name: str
    secret: Secret
    scopes: frozenset[Scope] = frozenset(USUAL)
