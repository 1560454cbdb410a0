"""A registry, accounts and checks for tests of the API and the command line: dictionaries, nothing durable.

They keep to what `relay.ports` says, simply: passwords as they are, secrets of tokens counted up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from relay.model import Account, Counts, Health, Provider, ProviderSettings, Registered, Scope, Token
from relay.ports import Busy, NameTaken, ReadOnly, Tested, Trouble
from relay.store.derive import provider_of


class FakeRegistry:
    """`of_file`: settings of providers of the file. `counted`: what `counts` answers, by id."""

    def __init__(self, of_file: Sequence[ProviderSettings] = ()) -> None:
        self.known: dict[int, Registered] = {}
        self.counted: dict[int, Counts] = {}
        self.rotated = 0
        self._last = 0
        for settings in of_file:
            self._put(settings, origin="file", default=False, now=0.0)

    def _put(self, settings: ProviderSettings, *, origin: str, default: bool, now: float) -> Registered:
        self._last += 1
        made = Registered(
            id=self._last,
            origin=origin,
            settings=settings,
            provider=provider_of(settings, allow_private=True),
            default=default,
            created_at=now,
            updated_at=now,
        )
        return self._keep(made)

    def _keep(self, one: Registered) -> Registered:
        if one.default:
            self.known = {id: replace(other, default=False) for id, other in self.known.items()}
        self.known[one.id] = one
        return one

    def _free(self, name: str, id: int) -> None:
        if any(other.settings.name == name for other in self.known.values() if other.id != id):
            raise NameTaken(name)

    def providers(self) -> Sequence[Registered]:
        return [self.known[id] for id in sorted(self.known)]

    def find(self, id: int) -> Registered | None:
        return self.known.get(id)

    def empty(self) -> bool:
        return self._last == 0

    async def add(self, settings: ProviderSettings, *, default: bool, now: float) -> Registered:
        self._free(settings.name, 0)
        return self._put(settings, origin="api", default=default, now=now)

    async def change(self, id: int, settings: ProviderSettings, *, default: bool, now: float) -> Registered:
        old = self.known[id]
        self._free(settings.name, id)
        if old.origin == "file" and settings != old.settings:
            raise ReadOnly(old.settings.name)
        changed = replace(
            old, settings=settings, provider=provider_of(settings, allow_private=True), default=default, updated_at=now
        )
        return self._keep(changed)

    async def remove(self, id: int, now: float) -> None:
        if self.known[id].origin == "file":
            raise ReadOnly(self.known[id].settings.name)
        del self.known[id]

    async def checked(self, name: str, health: Health) -> None:
        for id, one in self.known.items():
            if one.settings.name == name:
                self.known[id] = replace(one, health=health)

    def counts(self, id: int, now: float) -> Counts:
        return self.counted.get(id, Counts())

    async def rotate(self) -> int:
        self.rotated += 1
        return sum(bool(one.settings.password) for one in self.known.values())


class FakeAccounts:
    """`passwords`: by user. The secret of the first token is "secret-1". `busy`: seconds of the Busy it raises."""

    def __init__(self, users: Mapping[str, str] | None = None) -> None:
        """`users`: names and passwords of the file's."""
        self.passwords = {name: password.encode() for name, password in (users or {}).items()}
        scopes = frozenset({Scope.SEND, Scope.QUEUE, Scope.PROVIDERS})
        self.known = {name: Account(name=name, scopes=scopes, origin="file") for name in self.passwords}
        self.secrets: dict[str, Token] = {}
        self.busy = 0.0

    def nobody(self) -> bool:
        return not self.known and not self.secrets

    async def authenticate(self, name: str, password: bytes, client: str) -> Account | None:
        if self.busy:
            raise Busy(self.busy)
        return self.known.get(name) if self.passwords.get(name) == password else None

    def bearer(self, secret: str, now: float) -> Token | None:
        token = self.secrets.get(secret)
        return token if token and (token.expires_at is None or now < token.expires_at) else None

    def users(self) -> Sequence[Account]:
        return [self.known[name] for name in sorted(self.known)]

    async def add_user(self, name: str, password: bytes, scopes: Collection[Scope], now: float) -> Account:
        if name in self.known:
            raise NameTaken(name)
        self.passwords[name] = password
        self.known[name] = Account(name=name, scopes=frozenset(scopes), origin="api", created_at=now)
        return self.known[name]

    async def remove_user(self, name: str) -> None:
        if self.known[name].origin == "file":
            raise ReadOnly(name)
        del self.known[name], self.passwords[name]
        self.secrets = {secret: token for secret, token in self.secrets.items() if token.user != name}

    def tokens(self, now: float) -> Sequence[Token]:
        return [token for token in self.secrets.values() if not token.user]

    async def issue(
        self, name: str, scopes: Collection[Scope], now: float, *, user: str = "", seconds: float | None = None
    ) -> tuple[Token, str]:
        if not user and any(token.name == name for token in self.tokens(now)):
            raise NameTaken(name)
        id = len(self.secrets) + 1
        token = Token(
            id=id,
            name=name,
            scopes=frozenset(scopes),
            user=user,
            created_at=now,
            expires_at=None if seconds is None else now + seconds,
        )
        self.secrets[f"secret-{id}"] = token
        return token, f"secret-{id}"

    async def revoke(self, id: int) -> None:
        secret = next((secret for secret, token in self.secrets.items() if token.id == id and not token.user), None)
        if secret is None:
            raise LookupError(id)
        del self.secrets[secret]


class FakeChecks:
    """`found`, `tested`, `trouble`: what it answers. `asked`: (provider, recipient), "" for a check.

    `verified`: providers; `arrivals`: the same as they come; `gate`: what `verify` waits for.
    """

    def __init__(self) -> None:
        self.found = Health(healthy=True, checked_at=0.0)
        self.tested = Tested(seconds=0.25, message_id="smtp_1795000000")
        self.asked: list[tuple[str, str]] = []
        self.hurried: list[str] = []
        self.trouble: Trouble | None = None
        self.verified: list[Provider] = []
        self.arrivals: asyncio.Queue[Provider] = asyncio.Queue()
        self.gate: asyncio.Event | None = None

    async def check(self, provider: Registered) -> Health:
        self.asked.append((provider.settings.name, ""))
        return self.found

    async def test(self, provider: Registered, recipient: str) -> Tested:
        self.asked.append((provider.settings.name, recipient))
        return self.tested

    async def verify(self, provider: Provider) -> Trouble | None:
        self.verified.append(provider)
        self.arrivals.put_nowait(provider)
        if self.gate is not None:
            await self.gate.wait()
        return self.trouble

    def soon(self, name: str) -> None:
        self.hurried.append(name)
