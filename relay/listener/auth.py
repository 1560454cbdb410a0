"""Judges user names and passwords of SMTP clients. One object for each listener, shared by its connections.

`session` awaits `check`. Argon2 runs in threads, few at once; passwords are neither kept nor logged.
"""

from __future__ import annotations

import asyncio
import enum
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence

import argon2

from relay.listener.exchange import Credentials
from relay.listener.settings import Patience, User

CACHE_SECONDS = 300.0
CACHE_SIZE = 1024
AT_ONCE = 2  # argon2 takes tens of milliseconds and tens of megabytes each
WAITING = 64  # more logins than this waiting for a thread are told to come back


class Verdict(enum.Enum):
    YES = enum.auto()
    NO = enum.auto()
    BUSY = enum.auto()


class Throttle:
    """Failures by client: each doubles the time the next answer to it takes, a quiet quarter of an hour forgives."""

    FORGIVEN = 900.0

    def __init__(self, base: float) -> None:
        self._base = base
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def failed(self, client: str, now: float) -> float:
        """Count one failure; how many seconds to wait before saying so."""
        count, last = self._failures.pop(client, (0, now))
        count = 1 if now - last > self.FORGIVEN else count + 1
        self._failures[client] = (count, now)
        if len(self._failures) > CACHE_SIZE:
            self._failures.popitem(last=False)
        return float(self._base * 2 ** min(count - 1, 4))

    def succeeded(self, client: str) -> None:
        self._failures.pop(client, None)


class Authenticator:
    """Knows the users of one listener. Successes are remembered for five minutes under a keyed hash."""

    def __init__(self, users: Sequence[User], patience: Patience, monotonic: Callable[[], float]) -> None:
        self.throttle = Throttle(patience.auth_delay)
        self._users = {user.name: user for user in users}
        self._monotonic = monotonic
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, float] = OrderedDict()
        self._hasher = argon2.PasswordHasher()
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        hashed = next((user.hash for user in users if user.hash), "")
        self._nobody = User(name="", password="" if hashed else secrets.token_hex(16), hash=hashed)

    async def check(self, claim: Credentials) -> Verdict:
        """Unknown names cost what known ones do, so time tells nobody which exist."""
        user = self._users.get(claim.name)
        judged = user or self._nobody
        right = self._same(judged.password, claim.password) if not judged.hash else await self._argon2(judged, claim)
        if right is None:
            return Verdict.BUSY
        return Verdict.YES if right and user is not None else Verdict.NO

    def _same(self, expected: str, given: bytes) -> bool:
        # Hashed first: compare_digest is constant-time only for equal lengths.
        return hmac.compare_digest(self._digest(expected.encode()), self._digest(given))

    def _digest(self, *parts: bytes) -> bytes:
        digest = hashlib.blake2b(key=self._key, digest_size=32)
        for part in parts:
            digest.update(len(part).to_bytes(4, "big") + part)
        return digest.digest()

    async def _argon2(self, user: User, claim: Credentials) -> bool | None:
        """None: too many are waiting already."""
        if self.remembers(claim):
            return True
        if self._waiting >= WAITING:
            return None
        self._waiting += 1
        try:
            async with self._gate:
                right = await asyncio.to_thread(self._verify, user.hash, claim.password)
        finally:
            self._waiting -= 1
        if right and user is not self._nobody:
            self._remember(claim)
        return right

    def remembers(self, claim: Credentials) -> bool:
        """True if this name was right with this password less than five minutes ago."""
        return self._known.get(self._mark(claim), 0.0) > self._monotonic()

    def _mark(self, claim: Credentials) -> bytes:
        return self._digest(claim.name.encode(), claim.password)

    def _remember(self, claim: Credentials) -> None:
        self._known[self._mark(claim)] = self._monotonic() + CACHE_SECONDS
        if len(self._known) > CACHE_SIZE:
            self._known.popitem(last=False)

    def _verify(self, encoded: str, password: bytes) -> bool:
        try:
            return self._hasher.verify(encoded, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
