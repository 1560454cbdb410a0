"""Secrets at rest: bound to their row, closed to every other key, readable through every moment of a rotation."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from relay.db.errors import SpoolError
from relay.store import keys, sealing
from relay.store.vault import Vault
from relay.store.writing import write
from tests.unit.store.keeping import NOW, OPTIONS, SECRET, Keeping, settings


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault.open(tmp_path / "secret.key", None)


def test_H12_a_token_opens_only_for_its_own_row(vault: Vault) -> None:
    token = vault.seal("provider", 1, SECRET)
    assert vault.unseal("provider", 1, token) == SECRET
    assert vault.unseal("provider", 2, token) is None
    assert vault.unseal("integration", 1, token) is None


def test_H12_a_damaged_token_stays_closed(vault: Vault) -> None:
    token = vault.seal("provider", 1, SECRET)
    flipped = [token[:n] + ("A" if token[n] != "A" else "B") + token[n + 1 :] for n in range(0, len(token) - 2, 7)]
    for bad in (*flipped, *(token[:n] for n in (0, 1, 10, len(token) - 4)), "\udcff", "é"):
        assert vault.unseal("provider", 1, bad) is None
        assert vault.reseal(bad) is None


def test_H12_what_another_program_encrypted_with_the_key_is_not_ours(vault: Vault, tmp_path: Path) -> None:
    theirs = Fernet((tmp_path / "secret.key").read_bytes().strip())
    for payload in (b"hunter2", b"[1]", b'{"for": "provider"}', b'"provider"'):
        assert vault.unseal("provider", 1, theirs.encrypt(payload).decode()) is None


def test_a_key_is_made_at_the_first_start_and_then_kept(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    Vault.open(path, None)
    first = path.read_bytes()
    Vault.open(path, None)
    assert path.read_bytes() == first
    assert path.stat().st_mode & 0o777 == 0o600


def test_H12_no_new_key_where_something_is_encrypted(vault: Vault, tmp_path: Path) -> None:
    canary = vault.canary()
    (tmp_path / "secret.key").unlink()
    with pytest.raises(SpoolError, match=r"secret\.key is missing.*restore it"):
        Vault.open(tmp_path / "secret.key", canary)
    assert list(tmp_path.iterdir()) == []


def test_H12_a_wrong_key_is_refused_and_stays_as_it_is(vault: Vault, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    keys.write(other, (keys.fresh(),))
    before = other.read_bytes()
    with pytest.raises(SpoolError, match=r"wrong key in .*other\.key.*restore the key file"):
        Vault.open(other, vault.canary())
    assert other.read_bytes() == before


def test_any_of_the_given_keys_decrypts_and_the_first_encrypts(vault: Vault, tmp_path: Path) -> None:
    token, canary = vault.seal("provider", 1, SECRET), vault.canary()
    (old,) = keys.read(tmp_path / "secret.key") or ()
    new = keys.fresh()
    keys.write(tmp_path / "secret.key", (new, old))
    both = Vault.open(tmp_path / "secret.key", canary)
    assert both.unseal("provider", 1, token) == SECRET
    keys.write(tmp_path / "new.key", (new,))
    assert Vault.open(tmp_path / "new.key", both.canary()).unseal("provider", 1, token) is None


def test_H8_a_vault_shows_no_key(vault: Vault, tmp_path: Path) -> None:
    key = (tmp_path / "secret.key").read_text().strip()
    assert key not in repr(vault) + str(vault)


def test_a_key_file_changed_by_hand_is_not_written_over(vault: Vault, tmp_path: Path) -> None:
    theirs = (keys.fresh(),)
    keys.write(tmp_path / "secret.key", theirs)
    with pytest.raises(SpoolError, match="changed since the relay started; restart"):
        vault.begin()
    assert keys.read(tmp_path / "secret.key") == theirs


async def test_H12_a_kill_at_any_moment_of_a_rotation_leaves_everything_readable(kept: Keeping) -> None:
    await kept.open()
    for name in ("one", "two"):
        await kept.registry.add(settings(name, password=f"{SECRET} {name}"), default=False, now=NOW)
    await kept.integrations.register("smtp", OPTIONS, NOW)
    await kept.close()

    database = kept.start()
    vault = await sealing.unlock(database, kept.key)
    moments = [kept.at_this_moment("before")]
    vault.begin()
    moments.append(kept.at_this_moment("begun"))
    assert await write(database, partial(sealing.reseal, vault=vault)) == 3
    moments.append(kept.at_this_moment("stored"))
    vault.finish()
    moments.append(kept.at_this_moment("finished"))

    for moment in moments:
        for _ in range(2):  # the second time after a rotation that goes through
            await moment.open()
            passwords = [one.settings.password for one in moment.registry.providers()]
            assert passwords == [f"{SECRET} one", f"{SECRET} two"], moment.folder
            assert [one.options for one in moment.integrations.registrations()] == [OPTIONS], moment.folder
            assert await moment.registry.rotate() == 3
            await moment.close()
        assert len(keys.read(moment.key) or ()) == 1


async def test_H12_after_a_rotation_the_old_key_opens_nothing(kept: Keeping) -> None:
    await kept.open()
    await kept.registry.add(settings(), default=False, now=NOW)
    old = kept.key.read_bytes()
    assert await kept.registry.rotate() == 1
    await kept.registry.add(settings("later"), default=False, now=NOW)
    await kept.reopen()
    assert {one.settings.password for one in kept.registry.providers()} == {SECRET}
    kept.key.write_bytes(old)
    with pytest.raises(SpoolError, match="wrong key"):
        await kept.reopen()


async def test_H12_a_rotation_keeps_swapped_secrets_where_they_can_be_swapped_back(kept: Keeping) -> None:
    await kept.open()
    for name in ("one", "two"):
        await kept.registry.add(settings(name, password=name), default=False, now=NOW)
    await kept.swap(1, 2)
    await kept.open()
    assert [bool(one.locked) for one in kept.registry.providers()] == [True, True]
    await kept.registry.rotate()
    await kept.swap(1, 2)
    await kept.open()
    assert [one.settings.password for one in kept.registry.providers()] == ["one", "two"]


_LAZY = """
import asyncio, sys
from pathlib import Path
from tests.unit.store.keeping import OF_FILE, Keeping, settings

async def main():
    kept = Keeping(Path(sys.argv[1]))
    await kept.open(OF_FILE)
    await kept.registry.add(settings(username="", password=""), default=True, now=1.0)
    await kept.reopen(OF_FILE)
    print("cryptography" in sys.modules)
    await kept.registry.add(settings("other"), default=True, now=1.0)
    print("cryptography" in sys.modules)
    await kept.close()

asyncio.run(main())
"""


def test_a_relay_that_encrypts_nothing_does_not_load_what_encrypts(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LAZY, str(tmp_path / "var")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]
