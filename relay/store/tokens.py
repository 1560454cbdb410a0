"""Bearer tokens as they lie in the database and in memory: by the SHA-256 of a secret that is not kept.

Used by `accounts` only, which says whose token still counts. 256 random bits need no slow hash.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import apsw

from relay.model import Scope, Token

SESSIONS = 1000  # of one user; a login beyond them ends the oldest
_PREFIX = "relay_"  # what scanners for leaked secrets look for


class Stored(NamedTuple):
    token: Token
    digest: bytes


def fresh_secret() -> str:
    return _PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


class Tokens:
    """All of them, sessions too."""

    def __init__(self, stored: Collection[Stored] = ()) -> None:
        self._by_digest = {one.digest: one for one in stored}

    def find(self, secret: str) -> Token | None:
        """The look-up tells at most how a digest begins, which nobody can choose; the rest takes the same time."""
        digest = digest_of(secret)
        found = self._by_digest.get(digest)
        return found.token if found and hmac.compare_digest(found.digest, digest) else None

    def __iter__(self) -> Iterator[Token]:
        return (one.token for one in self._by_digest.values())

    def add(self, one: Stored) -> None:
        self._by_digest[one.digest] = one

    def drop(self, ids: Collection[int]) -> None:
        self._by_digest = {d: one for d, one in self._by_digest.items() if one.token.id not in ids}

    def surplus(self, user: str) -> frozenset[int]:
        """Sessions of a user that make way for one more."""
        sessions = sorted(token.id for token in self if token.user == user)
        return frozenset(sessions[: max(0, len(sessions) - SESSIONS + 1)])


# Tasks on the database.


def written(scopes: Collection[Scope]) -> str:
    return " ".join(sorted(scopes))


def scopes_of(text: str) -> frozenset[Scope]:
    """A newer relay may know others."""
    return frozenset(Scope(word) for word in text.split() if word in set(Scope))


def read(connection: apsw.Connection) -> list[Stored]:
    query = "SELECT id, name, digest, scopes, user, created_at, expires_at FROM token"
    rows: list[Any] = connection.execute(query).fetchall()
    return [_stored(*row) for row in rows]


def _stored(
    id: int, name: str, digest: bytes, scopes: str, user: str, created_at: float, expires_at: float | None
) -> Stored:
    token = Token(id=id, name=name, scopes=scopes_of(scopes), user=user, created_at=created_at, expires_at=expires_at)
    return Stored(token, bytes(digest))


def insert(
    connection: apsw.Connection,
    digest: bytes,
    name: str,
    scopes: Collection[Scope],
    user: str,
    created_at: float,
    expires_at: float | None,
) -> Stored | None:
    """None: an operator's token has this name."""
    row = (name, digest, written(scopes), user, created_at, expires_at)
    made: list[Any] = connection.execute(
        "INSERT INTO token (name, digest, scopes, user, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (name) WHERE user = '' DO NOTHING RETURNING id",
        row,
    ).fetchall()
    return _stored(made[0][0], name, digest, row[2], user, created_at, expires_at) if made else None


def delete(connection: apsw.Connection, ids: Collection[int]) -> None:
    connection.executemany("DELETE FROM token WHERE id = ?", [(id,) for id in ids])
