"""Encrypts what must be read again: passwords of what people made by hand. Fernet, with the keys of a file.

Used by `sealing`. Whatever was not encrypted for that very row with a key we have stays closed (hazard H12). It loads
`cryptography` when there is something to encrypt or decrypt, and never before.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

from relay.db.errors import SpoolError
from relay.store import keys

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

_CANARY = ("canary", 1, "")


class Vault:
    """The keys of one file, the first for what is new. `open` makes it.

    May be used on several threads; only one may rotate.
    """

    def __init__(self, path: Path, known: tuple[bytes, ...]) -> None:
        self._path = path
        self._ring = _Ring(known)

    @classmethod
    def open(cls, path: Path, canary: str | None) -> Vault:
        """`canary`: what lies beside the secrets, None: there was never one. Raises SpoolError, nothing changed then.

        A key is made only where nothing can be locked with another.
        """
        known = keys.read(path)
        if known is None and canary is not None:
            raise SpoolError(
                f"the key file {path} is missing, without which no stored password can be decrypted; restore it "
                "from a backup or let secrets.key_file name it"
            )
        if known is None:
            known = (keys.fresh(),)
            keys.write(path, known)
        vault = cls(path, known)
        if canary is not None and vault.unseal(*_CANARY[:2], canary) is None:
            raise SpoolError(
                f"wrong key in {path}: the stored passwords were encrypted with another; restore the key file that "
                "belongs to this spool, or let secrets.key_file name it"
            )
        return vault

    async def ready(self) -> None:
        """Load what encrypts, without keeping anybody waiting for it."""
        await asyncio.to_thread(self._ring.cipher)

    def canary(self) -> str:
        """What tells at the next start whether the key is right."""
        return self.seal(*_CANARY)

    def seal(self, purpose: str, id: int, secret: str) -> str:
        """A token for that row only."""
        bound = json.dumps({"for": purpose, "id": id, "secret": secret})
        return self._ring.cipher().encrypt(bound.encode()).decode()

    def unseal(self, purpose: str, id: int, token: str) -> str | None:
        """None: damaged, cut off, of another row, or of a key that we have not."""
        from cryptography.fernet import InvalidToken

        try:
            bound = json.loads(self._ring.cipher().decrypt(token.encode()))
        except (InvalidToken, ValueError):
            return None
        ours = isinstance(bound, dict) and (bound.get("for"), bound.get("id")) == (purpose, id)
        return str(bound["secret"]) if ours else None

    # A new key. Between any two of these steps the file's keys decrypt everything.

    def begin(self) -> None:
        """The new key is in the file, before the others. Raises SpoolError."""
        if keys.read(self._path) not in (None, self._ring.keys):
            raise SpoolError(f"{self._path} was changed since the relay started; restart the relay first")
        self._use((keys.fresh(), *self._ring.keys))

    def reseal(self, token: str) -> str | None:
        """The same, by the new key; for the row it was for. None: it cannot be decrypted, and stays as it is."""
        from cryptography.fernet import InvalidToken

        try:
            return self._ring.cipher().rotate(token.encode()).decode()
        except (InvalidToken, ValueError):
            return None

    def finish(self) -> None:
        """What is stored needs the new key only: the others are gone. Raises SpoolError."""
        self._use(self._ring.keys[:1])

    def _use(self, known: tuple[bytes, ...]) -> None:
        keys.write(self._path, known)
        self._ring = _Ring(known)


class _Ring:
    """Keys and what encrypts with them, replaced together: who encrypts meanwhile has the one ring or the other."""

    def __init__(self, known: tuple[bytes, ...]) -> None:
        self.keys = known
        self._made: MultiFernet | None = None

    def cipher(self) -> MultiFernet:
        from cryptography.fernet import Fernet, MultiFernet

        made = self._made
        if made is None:
            made = self._made = MultiFernet([Fernet(key) for key in self.keys])
        return made
