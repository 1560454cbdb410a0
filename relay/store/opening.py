"""A row of a provider as the rest of the program knows it, its password in clear if it can be.

Used by `registry` at start. One that cannot be read is shown, locked and not used; the others are none the wiser.
"""

from __future__ import annotations

from dataclasses import replace

from relay.model import ProviderSettings, Registered
from relay.store.derive import provider_of
from relay.store.provider_rows import FILE, Row
from relay.store.sealing import PROVIDER
from relay.store.vault import Vault

_DAMAGED = "what is stored of it is damaged; set all of it again, or remove it"
_LOCKED = "its password cannot be decrypted: it is damaged, or another provider's or key's; set the password again"


def opened(row: Row, vault: Vault, *, allow_private: bool) -> Registered:
    """Of one of the file only what the file does not say; it is not active until the file has been read."""
    settings, locked = _settings(row, vault)
    return Registered(
        id=row.id,
        origin=row.origin,
        settings=settings,
        provider=provider_of(settings, allow_private=allow_private, locked=locked),
        default=row.default,
        created_at=row.created_at,
        updated_at=row.updated_at,
        health=row.health,
        locked=locked,
    )


def _settings(row: Row, vault: Vault) -> tuple[ProviderSettings, str]:
    """And why they are locked."""
    if row.origin == FILE:
        return ProviderSettings(name=row.name, host="", active=False), ""
    if row.settings is None:
        return ProviderSettings(name=f"damaged-{row.id}", host="", active=False), _DAMAGED
    if row.secret is None:
        return row.settings, ""
    password = vault.unseal(PROVIDER, row.id, row.secret)
    return (row.settings, _LOCKED) if password is None else (replace(row.settings, password=password), "")
