"""What people can do with users, tokens and the encryption key, over plain JSON-able data.

Called by the API, which asks for the scope admin first. Passwords come in and never go out; the secret of a token goes
out once. Every change that succeeded is told to the audit log and put in force.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relay.api.parts import ApiParts
from relay.api.problem import Refusal
from relay.api.views import moment
from relay.config.units import seconds
from relay.db.errors import SpoolError
from relay.events import Changed
from relay.model import USUAL, Account, Scope, Token
from relay.ports import Busy, NameTaken, ReadOnly

LONGEST_NAME = 100  # characters
LONGEST_PASSWORD = 1024  # bytes
LONGEST_LIFE = 36500 * 86400.0

JSON = dict[str, Any]
Errors = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class AccountOperations:
    """`who`, everywhere: whose change it is, for the audit log."""

    parts: ApiParts

    # Users.

    def users(self, *, limit: int, after: str = "") -> JSON:
        """By name. `after`: the last name of the page before."""
        return _page([_user_json(user) for user in self.parts.accounts.users() if user.name > after], limit)

    async def add_user(self, who: str, *, name: str, password: str, scopes: Sequence[str] = USUAL) -> JSON:
        octets = password.encode(errors="surrogatepass")
        errors = [*_name_errors(name), *_scope_errors(scopes)]
        if not 1 <= len(octets) <= LONGEST_PASSWORD:
            errors.append(("password", f"must have 1 to {LONGEST_PASSWORD} bytes"))
        _refuse(errors, "this user cannot be added")
        accounts, now = self.parts.accounts, self.parts.clock()
        try:
            account = await accounts.add_user(name, octets, [Scope(scope) for scope in scopes], now)
        except NameTaken:
            raise Refusal(409, f"there is a user {name!r} already: take another name, or remove that one") from None
        except Busy as busy:
            detail = "too many passwords are being judged; come back a little later"
            raise Refusal(429, detail, retry_after=math.ceil(busy.seconds)) from None
        await self._changed(who, "user added", name)
        return _user_json(account)

    async def remove_user(self, who: str, name: str) -> None:
        try:
            await self.parts.accounts.remove_user(name)
        except ReadOnly:
            detail = f"user {name!r} stands in the configuration file: remove it there, then reload"
            raise Refusal(409, detail) from None
        except LookupError:
            raise Refusal(404, f"there is no user {name[:LONGEST_NAME]!a}") from None
        await self._changed(who, "user removed", name)

    # Tokens.

    def tokens(self, *, limit: int, after: int = 0) -> JSON:
        """By id, those that have expired too. `after`: the last id of the page before."""
        now = self.parts.clock()
        return _page([_token_json(one, now) for one in self.parts.accounts.tokens(now) if one.id > after], limit)

    async def create_token(
        self, who: str, *, name: str = "", scopes: Sequence[str] = USUAL, expires: str | None = None
    ) -> JSON:
        """`expires`: a duration from now, None: never. `token` of the answer is the secret."""
        errors = [*(_token_name_errors(name) if name else ()), *_scope_errors(scopes)]
        life = None if expires is None else _duration(expires)
        if life is not None and not 0 < life <= LONGEST_LIFE:
            errors.append(("expires", "must be a duration such as 12h or 30d, or null for never"))
        _refuse(errors, "this token cannot be made")
        now, granted = self.parts.clock(), [Scope(scope) for scope in scopes]
        try:
            token, secret = await self.parts.accounts.issue(name or self._free_name(now), granted, now, seconds=life)
        except NameTaken:
            raise Refusal(409, f"there is a token {name!r} already: take another name, or revoke that one") from None
        await self._changed(who, "token created", token.name)
        return _token_json(token, now) | {"token": secret}

    def _free_name(self, now: float) -> str:
        taken = {token.name for token in self.parts.accounts.tokens(now)}
        return next(name for number in range(1, len(taken) + 2) if (name := f"token-{number}") not in taken)

    async def revoke_token(self, who: str, which: str) -> None:
        """`which`: its name or its id; no name is a number."""
        known = self.parts.accounts.tokens(self.parts.clock())
        found = next((token for token in known if which in (token.name, str(token.id))), None)
        if found is None:
            raise Refusal(404, f"there is no token {which[:LONGEST_NAME]!a}")
        try:
            await self.parts.accounts.revoke(found.id)
        except LookupError:
            raise Refusal(404, f"token {found.name!r} has just been revoked") from None
        await self._changed(who, "token revoked", found.name)

    # The key.

    async def rotate_key(self, who: str) -> JSON:
        """A new encryption key; `rotated`: how many secrets it encrypts now."""
        try:
            rotated = await self.parts.registry.rotate()
        except SpoolError as error:  # about the key's file; cause and fix are in its text
            raise Refusal(503, str(error)) from None
        await self._changed(who, "key rotated", "")
        return {"rotated": rotated}

    async def _changed(self, who: str, what: str, target: str) -> None:
        self.parts.observe(Changed(who=who, what=what, target=target))
        await self.parts.apply()


def _user_json(account: Account) -> JSON:
    return {
        "name": account.name,
        "scopes": sorted(account.scopes),
        "origin": account.origin,
        "created_at": moment(account.created_at),
    }


def _token_json(token: Token, now: float) -> JSON:
    return {
        "id": token.id,
        "name": token.name,
        "scopes": sorted(token.scopes),
        "created_at": moment(token.created_at),
        "expires_at": moment(token.expires_at),
        "expired": token.expires_at is not None and now >= token.expires_at,
    }


def _page(rows: Sequence[Mapping[str, Any]], limit: int) -> JSON:
    return {"data": list(rows[:limit]), "has_more": len(rows) > limit}


def _name_errors(name: str) -> Errors:
    if 0 < len(name) <= LONGEST_NAME and name.isprintable() and name == name.strip():
        return []
    return [("name", f"must be 1 to {LONGEST_NAME} printable characters, without blanks around them")]


def _token_name_errors(name: str) -> Errors:
    return [("name", "must not be a number, which would look like an id")] if name.isdigit() else _name_errors(name)


def _scope_errors(scopes: Sequence[str]) -> Errors:
    known = ", ".join(Scope)
    if not scopes:
        return [("scopes", f"must name at least one of {known}")]
    return [("scopes", f"must be of {known}")] if set(scopes) - set(Scope) else []


def _duration(text: str) -> float:
    """Seconds; 0 for what is none."""
    try:
        return seconds(text[:LONGEST_NAME])
    except ValueError:
        return 0.0


def _refuse(errors: Errors, detail: str) -> None:
    if errors:
        raise Refusal(422, f"{detail}; see errors", errors)
