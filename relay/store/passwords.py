"""Judges and hashes passwords, for listeners and HTTP alike. The only place that does.

Used by `accounts`. Argon2 is loaded when it is first needed and runs in threads, two at once: each takes tens of
milliseconds and 19 MiB. Passwords are neither kept nor logged.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING, TypeVar

from relay.ports import Busy
from relay.store.throttle import Throttle
from relay.store.users import Secret

if TYPE_CHECKING:
    from argon2 import PasswordHasher

REMEMBERED = 300.0  # seconds: an application may log in for every mail
REMEMBERED_AT_MOST = 1024
AT_ONCE = 2
WAITING = 64  # more than this waiting for a thread are told to come back
COME_BACK = 1.0

T = TypeVar("T")


@cache
def _argon2() -> PasswordHasher:
    """As OWASP's Password Storage Cheat Sheet has it: 19 MiB, two passes, one lane."""
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def _matches(encoded: str, password: bytes) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return _argon2().verify(encoded, password)
    except (VerificationError, InvalidHashError):
        return False


def _octets(text: str) -> bytes:
    """A password from the environment may have any octets, which are surrogates in a str (PEP 383)."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode(errors="surrogatepass")


class Passwords:
    """`monotonic`: seconds that never go back."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._throttle = Throttle()
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, float] = OrderedDict()
        self._threads = ThreadPoolExecutor(AT_ONCE, "argon2")
        self._waiting = 0

    async def judge(
        self, name: str, secret: Secret | None, password: bytes, client: str, hashes: Sequence[str]
    ) -> bool:
        """Whether it is right. `secret` None: nobody has the name. `hashes`: of everybody. Raises Busy."""
        if secret is not None and self.remembers(name, secret, password):
            return True
        keys = self._throttle.keys(client, name)
        if wait := self._throttle.enter(keys, self._monotonic()):
            raise Busy(wait)
        right: bool | None = None
        try:
            right = await self._compare(name, secret, password, hashes)
        finally:
            self._throttle.leave(keys, right, self._monotonic())
        if right and secret is not None:
            self._throttle.succeeded(client, name)
            self._remember(self._mark(name, secret, password))
        return right

    async def _compare(self, name: str, secret: Secret | None, password: bytes, hashes: Sequence[str]) -> bool:
        """A wrong password and an unknown name cost the same: time tells nobody which names exist."""
        if secret is not None and secret.hash:
            return await self._in_thread(partial(_matches, secret.hash, password))
        if secret is not None and secret.clear and self._same(_octets(secret.clear), password):
            return True
        if hashes:  # which one is always the same for a name, as that of somebody real would be
            one = int.from_bytes(self._digest(_octets(name))[:8], "big") % len(hashes)
            await self._in_thread(partial(_matches, hashes[one], password))
        return False

    async def hashed(self, password: bytes) -> str:
        """Raises Busy."""
        return await self._in_thread(lambda: _argon2().hash(password))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING + AT_ONCE:
            raise Busy(COME_BACK)
        self._waiting += 1
        job = asyncio.get_running_loop().run_in_executor(self._threads, work)
        job.add_done_callback(self._ended)
        return await job

    def _ended(self, job: asyncio.Future[T]) -> None:
        self._waiting -= 1

    # What was right lately.

    def remembers(self, name: str, secret: Secret, password: bytes) -> bool:
        """True if this was right less than five minutes ago; another secret of the same name was not."""
        return self._known.get(self._mark(name, secret, password), 0.0) > self._monotonic()

    def _remember(self, mark: bytes) -> None:
        self._known[mark] = self._monotonic() + REMEMBERED
        if len(self._known) > REMEMBERED_AT_MOST:
            self._known.popitem(last=False)

    def _mark(self, name: str, secret: Secret, password: bytes) -> bytes:
        return self._digest(_octets(name), _octets(secret.clear), _octets(secret.hash), password)

    def _same(self, expected: bytes, given: bytes) -> bool:
        # Hashed first: compare_digest is constant-time only for equal lengths.
        return hmac.compare_digest(self._digest(expected), self._digest(given))

    def _digest(self, *parts: bytes) -> bytes:
        digest = hashlib.blake2b(key=self._key, digest_size=32)
        for part in parts:
            digest.update(len(part).to_bytes(4, "big") + part)
        return digest.digest()
