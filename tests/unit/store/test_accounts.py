"""Users and tokens, of the file and by hand, over a real database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest

from relay.db.database import Database
from relay.events import nobody
from relay.model import Account, Scope
from relay.ports import NameTaken, ReadOnly
from relay.store.accounts import StoredAccounts
from relay.store.tokens import SESSIONS
from relay.store.users import FileUser, Secret

NOW = 1_795_000_000.0
CRM = FileUser(name="crm", secret=Secret(clear="open sesame"), scopes=frozenset({Scope.SEND}))
CLIENT = "10.0.0.1"


@dataclass
class Kept:
    """Accounts on a file that is there after `again`."""

    path: Path
    database: Database
    accounts: StoredAccounts

    async def again(self, of_file: Sequence[FileUser] = ()) -> StoredAccounts:
        await self.close()
        await self.open(of_file)
        return self.accounts

    async def open(self, of_file: Sequence[FileUser] = ()) -> None:
        self.database = Database(self.path)
        self.database.start(nobody)
        self.accounts = await StoredAccounts.open(self.database, of_file)

    async def close(self) -> None:
        await self.accounts.close()
        await self.database.close()

    def content(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.path.parent.iterdir() if path.is_file())


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    made = Kept.__new__(Kept)
    made.path = tmp_path / "spool" / "spool.db"
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def accounts(kept: Kept) -> StoredAccounts:
    return kept.accounts


async def test_a_user_added_by_hand_gets_in_at_once_and_after_a_restart(kept: Kept) -> None:
    accounts = kept.accounts
    assert accounts.nobody()
    added = await accounts.add_user("erp", b"open sesame", [Scope.SEND, Scope.QUEUE], NOW)
    assert added == Account(name="erp", scopes=frozenset({Scope.SEND, Scope.QUEUE}), origin="api", created_at=NOW)
    for now in (accounts, await kept.again()):
        assert not now.nobody()
        assert now.users() == [added]
        assert await now.authenticate("erp", b"open sesame", CLIENT) == added
        assert await now.authenticate("erp", b"open sesamf", CLIENT) is None
        assert await now.authenticate("nobody", b"open sesame", CLIENT) is None


async def test_a_removed_user_is_gone_at_once_though_the_password_was_right_a_moment_ago(kept: Kept) -> None:
    accounts = kept.accounts
    await accounts.add_user("erp", b"open sesame", [Scope.SEND], NOW)
    assert await accounts.authenticate("erp", b"open sesame", CLIENT)
    _, secret = await accounts.issue("erp", [Scope.SEND], NOW, user="erp", seconds=3600)
    assert accounts.bearer(secret, NOW)
    await accounts.remove_user("erp")
    for now in (accounts, await kept.again()):
        assert await now.authenticate("erp", b"open sesame", CLIENT) is None
        assert now.bearer(secret, NOW) is None
        assert now.nobody()
    await kept.accounts.add_user("erp", b"another one", [Scope.SEND], NOW)
    assert await kept.accounts.authenticate("erp", b"open sesame", CLIENT) is None
    assert kept.accounts.bearer(secret, NOW) is None


async def test_names_are_unique_and_the_file_is_read_only(accounts: StoredAccounts) -> None:
    accounts.adopt([CRM])
    await accounts.add_user("erp", b"open sesame", [Scope.SEND], NOW)
    for name in ("crm", "erp"):
        with pytest.raises(NameTaken):
            await accounts.add_user(name, b"open sesame", [Scope.SEND], NOW)
    with pytest.raises(ReadOnly):
        await accounts.remove_user("crm")
    with pytest.raises(LookupError):
        await accounts.remove_user("nobody")
    assert [user.name for user in accounts.users()] == ["crm", "erp"]


async def test_two_who_add_the_same_name_at_once(accounts: StoredAccounts) -> None:
    both = [accounts.add_user("erp", word, [Scope.SEND], NOW) for word in (b"open sesame", b"shut sesame")]
    results = await asyncio.gather(*both, return_exceptions=True)
    assert {type(result) for result in results} == {Account, NameTaken}
    winner = b"open sesame" if isinstance(results[0], Account) else b"shut sesame"
    assert await accounts.authenticate("erp", winner, CLIENT)


async def test_of_one_name_in_both_places_the_file_counts_and_a_warning_says_so(kept: Kept) -> None:
    await kept.accounts.add_user("crm", b"by the hand", [Scope.ADMIN], NOW)
    assert kept.accounts.warnings == ()
    accounts = await kept.again([CRM])
    [warning] = accounts.warnings
    assert "'crm'" in warning
    assert "relay user remove" in warning
    assert await accounts.authenticate("crm", b"open sesame", CLIENT) == Account(
        name="crm", scopes=CRM.scopes, origin="file"
    )
    assert await accounts.authenticate("crm", b"by the hand", CLIENT) is None
    await accounts.remove_user("crm")
    assert accounts.warnings == ()
    assert await accounts.authenticate("crm", b"open sesame", CLIENT)


async def test_a_reload_changes_who_the_file_knows_and_ends_their_sessions(accounts: StoredAccounts) -> None:
    other = FileUser(name="erp", secret=Secret(clear="shut sesame"))
    accounts.adopt([CRM, other])
    secrets = {
        name: (await accounts.issue(name, [Scope.SEND], NOW, user=name, seconds=3600))[1] for name in ("crm", "erp")
    }
    accounts.adopt([CRM, FileUser(name="erp", secret=Secret(clear="new sesame"))])
    assert [accounts.bearer(secrets[name], NOW) is None for name in ("crm", "erp")] == [False, True]
    assert await accounts.authenticate("erp", b"shut sesame", CLIENT) is None
    accounts.adopt([])
    assert accounts.nobody()
    assert accounts.bearer(secrets["crm"], NOW) is None
    accounts.adopt([CRM])
    assert accounts.bearer(secrets["crm"], NOW) is None


async def test_whether_anybody_could_send(accounts: StoredAccounts) -> None:
    reader = FileUser(name="reader", secret=CRM.secret, scopes=frozenset({Scope.QUEUE}))
    boss = FileUser(name="boss", secret=CRM.secret, scopes=frozenset({Scope.ADMIN}))
    assert [accounts.somebody_sends(of_file) for of_file in ([], [reader], [CRM, reader], [boss])] == [
        False,
        False,
        True,
        True,
    ]
    await accounts.add_user("reader", b"open sesame", [Scope.SEND], NOW)
    assert [accounts.somebody_sends(of_file) for of_file in ([], [reader])] == [True, False]


async def test_a_session_of_a_file_user_outlives_a_restart_but_not_its_user(kept: Kept) -> None:
    kept.accounts.adopt([CRM])
    _, secret = await kept.accounts.issue("crm", [Scope.SEND], NOW, user="crm", seconds=3600)
    assert (await kept.again([CRM])).bearer(secret, NOW)
    assert (await kept.again()).bearer(secret, NOW) is None


@pytest.mark.parametrize("after", [[], [FileUser(name="crm", secret=Secret(clear="another"), scopes=CRM.scopes)]])
async def test_H5_a_session_that_was_being_written_when_its_user_changed_is_over(
    kept: Kept, after: list[FileUser]
) -> None:
    kept.accounts.adopt([CRM])
    issuing = asyncio.create_task(kept.accounts.issue("crm", [Scope.SEND], NOW, user="crm", seconds=3600))
    await asyncio.sleep(0)
    kept.accounts.adopt(after)
    _, secret = await issuing
    assert kept.accounts.bearer(secret, NOW) is None
    kept.accounts.adopt([CRM])
    assert kept.accounts.bearer(secret, NOW) is None
    await kept.accounts.maintain(NOW)
    assert (await kept.again([CRM])).bearer(secret, NOW) is None


async def test_a_session_can_do_no_more_than_its_user_can_now(accounts: StoredAccounts) -> None:
    def user(*scopes: Scope) -> list[FileUser]:
        return [FileUser(name="crm", secret=CRM.secret, scopes=frozenset(scopes))]

    accounts.adopt(user(Scope.SEND, Scope.QUEUE))
    _, secret = await accounts.issue("crm", [Scope.SEND, Scope.QUEUE], NOW, user="crm", seconds=3600)
    for now, left in (
        (user(Scope.QUEUE), {Scope.QUEUE}),
        (user(Scope.ADMIN), {Scope.SEND, Scope.QUEUE}),
        (user(Scope.PROVIDERS), None),
    ):
        accounts.adopt(now)
        token = accounts.bearer(secret, NOW)
        assert (token and token.scopes) == left


async def test_H5_a_token_is_256_bits_shown_once_and_hashed_at_rest(kept: Kept) -> None:
    token, secret = await kept.accounts.issue("ci", [Scope.SEND], NOW, seconds=60)
    assert re.fullmatch(r"relay_[A-Za-z0-9_-]{43}", secret)
    assert (token.name, token.scopes, token.user, token.expires_at) == ("ci", {Scope.SEND}, "", NOW + 60)
    assert secret not in repr(token) + repr(kept.accounts.tokens(NOW))
    await kept.accounts.add_user("erp", b"Canary-5e4d", [Scope.SEND], NOW)
    again = await kept.again()
    assert again.bearer(secret, NOW) == token
    for canary in (secret.encode(), secret.removeprefix("relay_").encode(), b"Canary-5e4d"):
        assert canary not in kept.content()


async def test_H5_wrong_revoked_and_expired_tokens_are_nobodys(kept: Kept) -> None:
    accounts = kept.accounts
    one, secret = await accounts.issue("ci", [Scope.SEND], NOW, seconds=60)
    two, forever = await accounts.issue("cd", [Scope.ADMIN], NOW)
    assert accounts.bearer(secret, NOW + 59.9)
    assert accounts.bearer(secret, NOW + 60) is None
    for wrong in ("", "relay_", secret[:-1], secret + "x", secret.upper(), "\ud800", "é", one.name):
        assert accounts.bearer(wrong, NOW) is None
    assert accounts.bearer(forever, NOW + 10 * 365 * 86400) == two
    await accounts.revoke(two.id)
    with pytest.raises(LookupError):
        await accounts.revoke(two.id)
    for now in (accounts, await kept.again()):
        assert now.bearer(forever, NOW) is None
        assert [token.name for token in now.tokens(NOW)] == ["ci"]


async def test_names_of_tokens_are_unique_and_free_again_their_ids_never(accounts: StoredAccounts) -> None:
    one, _ = await accounts.issue("ci", [Scope.SEND], NOW)
    with pytest.raises(NameTaken):
        await accounts.issue("ci", [Scope.SEND], NOW)
    await accounts.revoke(one.id)
    two, _ = await accounts.issue("ci", [Scope.SEND], NOW)
    assert two.id > one.id


async def test_a_token_that_expired_does_not_open_the_API_again(accounts: StoredAccounts) -> None:
    token, _ = await accounts.issue("ci", [Scope.SEND], NOW, seconds=1)
    await accounts.maintain(NOW + 100)
    assert [one.id for one in accounts.tokens(NOW + 100)] == [token.id]
    assert not accounts.nobody()
    await accounts.revoke(token.id)
    assert accounts.nobody()


async def test_sessions_are_no_tokens_of_operators(accounts: StoredAccounts) -> None:
    accounts.adopt([CRM])
    session, _ = await accounts.issue("crm", [Scope.SEND], NOW, user="crm", seconds=3600)
    await accounts.issue("crm", [Scope.SEND], NOW, user="crm", seconds=3600)
    await accounts.issue("crm", [Scope.SEND], NOW)
    assert [token.user for token in accounts.tokens(NOW)] == [""]
    with pytest.raises(LookupError):
        await accounts.revoke(session.id)


async def test_sessions_that_are_over_are_pruned(kept: Kept) -> None:
    accounts = kept.accounts
    accounts.adopt([CRM])
    for seconds in (1, 10, 3600):
        await accounts.issue("crm", [Scope.SEND], NOW, user="crm", seconds=seconds)
    await accounts.issue("ci", [Scope.SEND], NOW, seconds=1)
    assert await rows(kept) == 4
    await accounts.maintain(NOW + 10)
    assert await rows(kept) == 2
    accounts.adopt([])
    await accounts.maintain(NOW + 10)
    assert await rows(kept) == 1


async def rows(kept: Kept) -> int:
    def count(connection: apsw.Connection) -> int:
        found: list[tuple[int]] = connection.execute("SELECT count(*) FROM token").fetchall()
        return found[0][0]

    return await kept.database.desk.ask(count)


async def test_sessions_of_one_user_are_bounded_the_oldest_ends(accounts: StoredAccounts) -> None:
    accounts.adopt([CRM, FileUser(name="erp", secret=CRM.secret)])
    _, others = await accounts.issue("erp", [Scope.SEND], NOW, user="erp", seconds=3600)
    issued = await asyncio.gather(
        *(accounts.issue("crm", [Scope.SEND], NOW, user="crm", seconds=3600) for _ in range(SESSIONS))
    )
    oldest = min(issued, key=lambda one: one[0].id)
    assert accounts.bearer(oldest[1], NOW)
    await accounts.issue("crm", [Scope.SEND], NOW, user="crm", seconds=3600)
    assert accounts.bearer(oldest[1], NOW) is None
    assert sum(accounts.bearer(secret, NOW) is not None for _, secret in issued) == SESSIONS - 1
    assert accounts.bearer(others, NOW)


async def test_who_goes_away_while_a_change_is_written_leaves_memory_and_disk_the_same(kept: Kept) -> None:
    issuing = asyncio.create_task(kept.accounts.issue("ci", [Scope.SEND], NOW))
    await asyncio.sleep(0)
    issuing.cancel()
    await asyncio.gather(issuing, return_exceptions=True)
    await kept.accounts.close()
    known = [token.name for token in kept.accounts.tokens(NOW)]
    assert known == [token.name for token in (await kept.again()).tokens(NOW)] == ["ci"]
