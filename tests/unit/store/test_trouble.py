"""Keys that do not fit, secrets and rows that are damaged, disks that are full or fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from relay.db.errors import SpoolError, StorageFailed, StorageFull
from tests.unit.db.disks import Disk
from tests.unit.store.keeping import NOW, OF_FILE, SECRET, Keeping, settings

# What cannot be read


async def test_H12_swapped_and_cut_secrets_lock_their_providers_only(kept: Keeping) -> None:
    await kept.open()
    for name in ("one", "two", "three", "four"):
        await kept.registry.add(settings(name, password=name), default=False, now=NOW)
    await kept.swap(1, 2)
    await kept.spoil("UPDATE provider SET secret = substr(secret, 1, 40) WHERE id = 3")
    await kept.open()
    one, two, three, four = kept.registry.providers()
    for locked in (one, two, three):
        assert "cannot be decrypted" in locked.locked
        assert "set the password again" in locked.locked
        assert (locked.settings.password, locked.settings.active, locked.provider.active) == ("", True, False)
    assert (four.locked, four.settings.password, four.provider.active) == ("", "four", True)


async def test_H12_a_locked_password_is_not_lost_by_changing_something_else(kept: Keeping) -> None:
    await kept.open()
    made = await kept.registry.add(settings(), default=False, now=NOW)
    (token,) = (await kept.ask("SELECT secret FROM provider"))[0]
    await kept.spoil("UPDATE provider SET secret = substr(secret, 1, 40)")
    await kept.open()
    changed = await kept.registry.change(made.id, settings(password="", priority=2), default=False, now=NOW)
    assert changed.locked
    assert not changed.provider.active
    await kept.spoil("UPDATE provider SET secret = ?", token)
    await kept.open()
    assert (kept.made().locked, kept.made().settings.password, kept.made().settings.priority) == ("", SECRET, 2)


@pytest.mark.parametrize("given", [{"password": "new"}, {"username": "", "password": ""}])
async def test_a_new_password_or_none_at_all_unlocks(kept: Keeping, given: dict[str, Any]) -> None:
    await kept.open()
    made = await kept.registry.add(settings(), default=False, now=NOW)
    await kept.spoil("UPDATE provider SET secret = 'x'")
    await kept.open()
    changed = await kept.registry.change(made.id, settings(**given), default=False, now=NOW)
    assert (changed.locked, changed.provider.active) == ("", True)
    await kept.reopen()
    assert kept.made() == changed


async def test_H12_a_wrong_key_at_the_start_changes_nothing(kept: Keeping) -> None:
    await kept.open()
    await kept.registry.add(settings(), default=False, now=NOW)
    stored = await kept.ask("SELECT * FROM provider, canary")
    await kept.close()
    right = kept.key.read_bytes()
    kept.key.write_bytes(b"A" * 43 + b"=\n")
    with pytest.raises(SpoolError, match=r"wrong key in .*secret\.key"):
        await kept.open(OF_FILE)
    assert kept.key.read_bytes() == b"A" * 43 + b"=\n"
    kept.key.unlink()
    with pytest.raises(SpoolError, match="missing"):
        await kept.open(OF_FILE)
    assert not kept.key.exists()
    kept.key.write_bytes(right)
    kept.key.chmod(0o600)
    await kept.open()
    assert await kept.ask("SELECT * FROM provider, canary") == stored
    assert kept.made().settings.password == SECRET


@pytest.mark.parametrize(
    "damage",
    [
        "settings = CAST(x'7b22fe' AS TEXT)",
        "settings = '{\"name\": 1}'",
        "settings = x'00ff', name = x'ff'",
        "origin = 'zile', settings = ''",
    ],
)
async def test_G6_a_damaged_row_is_shown_as_such_and_spoils_no_other(kept: Keeping, damage: str) -> None:
    await kept.open()
    await kept.registry.add(settings("whole"), default=False, now=NOW)
    broken = await kept.registry.add(settings("broken"), default=False, now=NOW)
    await kept.spoil(f"UPDATE provider SET {damage}, health = x'fe', created_at = 'x' WHERE id = {broken.id}")
    await kept.open(OF_FILE)
    assert [(one.id, one.settings.name) for one in kept.registry.providers()] == [
        (1, "whole"),
        (2, "damaged-2"),
        (3, "filed"),
    ]
    found = kept.registry.find(broken.id)
    assert found
    assert "damaged" in found.locked
    assert not found.provider.active
    assert kept.made("whole").settings.password == SECRET
    mended = await kept.registry.change(broken.id, settings("broken"), default=False, now=NOW)
    assert (mended.locked, mended.provider.active) == ("", True)


# The disk


async def test_G4_what_a_full_disk_refuses_has_not_happened(disk: Disk, kept: Keeping) -> None:
    await kept.open(OF_FILE)
    made = await kept.registry.add(settings("a"), default=False, now=NOW)
    before = kept.registry.providers()
    disk.full = True
    for asked in (
        kept.registry.add(settings("b"), default=True, now=NOW),
        kept.registry.change(made.id, settings("c"), default=True, now=NOW),
        kept.registry.remove(made.id, NOW),
        kept.registry.adopt([replace(OF_FILE, name="new")], NOW),
        kept.registry.rotate(),
    ):
        with pytest.raises(StorageFull):
            await asked
    assert kept.registry.providers() == before
    disk.full = False
    await kept.registry.add(settings("b"), default=True, now=NOW)
    assert await kept.registry.rotate() == 2
    await kept.reopen(OF_FILE)
    assert [one.settings.password for one in kept.registry.providers()] == ["of-the-file", SECRET, SECRET]


async def test_G4_a_start_that_finds_the_disk_full_says_so(disk: Disk, kept: Keeping) -> None:
    await kept.open()
    await kept.close()
    disk.full = True
    with pytest.raises(SpoolError, match=r"spool\.db cannot take up new providers .*; free some room"):
        await kept.open(OF_FILE)


async def test_G5_a_disk_that_fails_is_told_and_the_key_still_fits(disk: Disk, kept: Keeping) -> None:
    await kept.open()
    await kept.registry.add(settings(), default=False, now=NOW)
    disk.broken = True
    with pytest.raises(StorageFailed):
        await kept.registry.rotate()
    await kept.registry.maintain(NOW)
    await kept.registry.close()
    disk.broken = False
    await kept.reopen()
    assert kept.made().settings.password == SECRET
