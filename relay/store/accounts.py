"""Users and tokens: those of the configuration file and those that were added by hand. Implements ports.Accounts.

Opened by `app` over the spool's database, asked by listeners and the API. All of it is in memory; passwords and tokens
lie in the database as hashes. It never decides what somebody may do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import apsw

from relay.db.database import Database
from relay.db.errors import StorageFailed, StorageFull
from relay.model import Account, Scope, Token, implied
from relay.ports import NameTaken, ReadOnly
from relay.store import tokens
from relay.store.passwords import Passwords
from relay.store.tokens import Tokens
from relay.store.users import FileUser, Secret
from relay.store.writing import write

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _User:
    account: Account
    secret: Secret


class StoredAccounts:
    """`open` makes it. In memory is what is durable, and nothing else."""

    def __init__(
        self, database: Database, added: Mapping[str, _User], known: Tokens, monotonic: Callable[[], float]
    ) -> None:
        self._database = database
        self._added = dict(added)
        self._of_file: dict[str, _User] = {}
        self._users: Mapping[str, _User] = {}
        self._hashes: Sequence[str] = ()
        self._tokens = known
        self._ended: set[int] = set()  # sessions that are over and lie in the database still
        self._passwords = Passwords(monotonic)
        self._changes: set[asyncio.Future[Any]] = set()

    @classmethod
    async def open(
        cls, database: Database, of_file: Sequence[FileUser], *, monotonic: Callable[[], float] = time.monotonic
    ) -> StoredAccounts:
        """From within a running loop, on a database that has started."""
        added, stored = await database.desk.ask(lambda connection: (_read(connection), tokens.read(connection)))
        accounts = cls(database, added, Tokens(stored), monotonic)
        accounts.adopt(of_file)
        return accounts

    # The file.

    def adopt(self, of_file: Sequence[FileUser]) -> None:
        """These are the file's users from now on. Sessions of those who went, or have another password, are over."""
        before = self._users
        self._of_file = {user.name: _from_file(user) for user in of_file}
        self._settle()
        self._end(token.id for token in self._tokens if token.user and self._is_another(before.get(token.user), token))

    def _is_another(self, before: _User | None, session: Token) -> bool:
        """Whether a session's user is not the one who began it, as far as this process can know."""
        now = self._users.get(session.user)
        return now is None or (before is not None and before.secret != now.secret)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for the log, after `open` and `adopt`."""
        return tuple(
            f"user {name!r} is in the configuration and was added by hand, too: the configuration's password and "
            f"scopes count; end the other with relay user remove"
            for name in sorted(self._added.keys() & self._of_file.keys())
        )

    def somebody_sends(self, of_file: Sequence[FileUser]) -> bool:
        """Whether anybody could log in to send mail, were these the file's users."""
        scopes = {name: user.account.scopes for name, user in self._added.items()}
        scopes |= {user.name: user.scopes for user in of_file}
        return any(Scope.SEND in implied(one) for one in scopes.values())

    def _settle(self) -> None:
        self._users = self._added | self._of_file
        self._hashes = [user.secret.hash for user in self._users.values() if user.secret.hash]

    # Asked for every login and every request.

    def nobody(self) -> bool:
        """A token that has expired still is one: that it runs out must not open the API to everybody here."""
        return not self._users and not any(not token.user for token in self._tokens)

    async def authenticate(self, name: str, password: bytes, client: str) -> Account | None:
        user = self._users.get(name)
        secret = user.secret if user else None
        right = await self._passwords.judge(name, secret, password, client, self._hashes)
        still = self._users.get(name)  # who was removed meanwhile is nobody
        return still.account if right and user and still and still.secret == secret else None

    def bearer(self, secret: str, now: float) -> Token | None:
        token = self._tokens.find(secret)
        if token is None or _over(token, now):
            return None
        if not token.user:
            return token
        user = self._users.get(token.user)
        scopes = token.scopes & implied(user.account.scopes) if user else frozenset()
        return replace(token, scopes=scopes) if scopes else None

    # Looking.

    def users(self) -> Sequence[Account]:
        return [self._users[name].account for name in sorted(self._users)]

    def tokens(self, now: float) -> Sequence[Token]:
        return sorted((token for token in self._tokens if not token.user), key=lambda token: token.id)

    # Changing.

    async def add_user(self, name: str, password: bytes, scopes: Collection[Scope], now: float) -> Account:
        if name in self._users:
            raise NameTaken(name)
        account = Account(name=name, scopes=frozenset(scopes), origin="api", created_at=now)
        user = _User(account, Secret(hash=await self._passwords.hashed(password)))

        def added(done: bool) -> None:
            if not done:
                raise NameTaken(name)
            self._added[name] = user
            self._settle()

        await self._change(partial(_insert, user=user), added)
        return account

    async def remove_user(self, name: str) -> None:
        if name not in self._added:
            raise ReadOnly(name) if name in self._of_file else LookupError(name)
        sessions = [token.id for token in self._tokens if token.user == name]

        def removed(_: None) -> None:
            self._added.pop(name, None)
            self._settle()
            self._end(token.id for token in self._tokens if token.user == name)

        await self._change(partial(_delete, name=name, sessions=sessions), removed)

    async def issue(
        self, name: str, scopes: Collection[Scope], now: float, *, user: str = "", seconds: float | None = None
    ) -> tuple[Token, str]:
        secret = tokens.fresh_secret()
        expires = None if seconds is None else now + seconds
        whose = self._users.get(user)
        if user:
            self._end(self._tokens.surplus(user))

        def issued(stored: tokens.Stored | None) -> Token:
            if stored is None:
                raise NameTaken(name)
            self._tokens.add(stored)
            if user and self._is_another(whose, stored.token):  # since the password was judged
                self._end([stored.token.id])
            return stored.token

        task = partial(
            tokens.insert,
            digest=tokens.digest_of(secret),
            name=name,
            scopes=scopes,
            user=user,
            created_at=now,
            expires_at=expires,
        )
        return await self._change(task, issued), secret

    async def revoke(self, id: int) -> None:
        if all(token.id != id or token.user for token in self._tokens):
            raise LookupError(id)
        await self._change(partial(tokens.delete, ids=[id]), lambda _: self._tokens.drop({id}))

    async def maintain(self, now: float) -> None:
        """Forget sessions that are over. Call it every few seconds."""
        self._end(token.id for token in self._tokens if token.user and _over(token, now))
        ended = frozenset(self._ended)
        if ended:
            try:
                await self._change(partial(tokens.delete, ids=ended), lambda _: self._ended.difference_update(ended))
            except (StorageFull, StorageFailed):
                return  # they are over; their rows can wait

    def _end(self, sessions: Iterable[int]) -> None:
        over = frozenset(sessions)
        if over:
            self._tokens.drop(over)
            self._ended |= over

    async def _change(self, task: Callable[[apsw.Connection], Any], then: Callable[[Any], T]) -> T:
        """Write, then follow in memory; also if the caller goes away between the two."""

        async def both() -> T:
            return then(await write(self._database, task))

        change = asyncio.ensure_future(both())
        self._changes.add(change)
        change.add_done_callback(self._changed)
        return await asyncio.shield(change)

    def _changed(self, change: asyncio.Future[Any]) -> None:
        self._changes.discard(change)
        if not change.cancelled():
            change.exception()  # its caller was told, or went away

    async def close(self) -> None:
        """What is under way is written. Before the database is closed."""
        if self._changes:
            await asyncio.wait(self._changes)


def _over(token: Token, now: float) -> bool:
    return token.expires_at is not None and now >= token.expires_at


def _from_file(user: FileUser) -> _User:
    return _User(Account(name=user.name, scopes=user.scopes, origin="file"), user.secret)


def _read(connection: apsw.Connection) -> dict[str, _User]:
    rows: list[Any] = connection.execute("SELECT name, hash, scopes, created_at FROM account").fetchall()
    return {
        name: _User(
            Account(name=name, scopes=tokens.scopes_of(scopes), origin="api", created_at=created_at), Secret(hash=hash)
        )
        for name, hash, scopes, created_at in rows
    }


def _insert(connection: apsw.Connection, user: _User) -> bool:
    """False: the name is taken."""
    account = user.account
    made = connection.execute(
        "INSERT INTO account (name, hash, scopes, created_at) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (name) DO NOTHING RETURNING name",
        (account.name, user.secret.hash, tokens.written(account.scopes), account.created_at),
    ).fetchall()
    return bool(made)


def _delete(connection: apsw.Connection, name: str, sessions: Collection[int]) -> None:
    connection.execute("DELETE FROM account WHERE name = ?", (name,))
    tokens.delete(connection, sessions)
