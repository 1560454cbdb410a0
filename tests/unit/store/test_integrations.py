"""Registrations with their passwords, and attachments, over a real spool file."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from relay.db.errors import SpoolError, StorageFailed, StorageFull
from relay.model import Attached, Registration
from relay.ports import Integrations, TooMany
from relay.store.integrations import MOST_ATTACHMENTS, MOST_REGISTRATIONS
from tests.unit.db.disks import Disk
from tests.unit.store.keeping import NOW, OPTIONS, SECRET, Keeping, server_of, settings

CC = {"cc": "security@example.com"}


def passwords(kept: Keeping) -> list[str]:
    return [one.options["password"] for one in kept.integrations.registrations()]


async def register(kept: Keeping, **more: str) -> Registration:
    return await kept.integrations.register("smtp", OPTIONS | more, NOW)


# What outlives a restart


async def test_a_registration_and_its_attachments_outlive_the_process(kept: Keeping) -> None:
    await kept.open()
    integrations: Integrations = kept.integrations
    made = await integrations.register("smtp", OPTIONS, NOW)
    attached = await integrations.attach("nightly build", made.id, CC, NOW + 1)
    assert made.provider == server_of(made.id, OPTIONS)
    assert (made.id, made.integration, made.options, made.created_at, made.locked) == (1, "smtp", OPTIONS, NOW, "")
    assert attached == Attached(id=1, workflow="nightly build", registration=1, options=CC, created_at=NOW + 1)
    for _ in range(2):
        assert kept.integrations.registrations() == [made]
        assert kept.integrations.registration(made.id) == made
        assert kept.integrations.attachments() == [attached]
        assert kept.integrations.attachments("nightly build") == [attached]
        assert list(kept.integrations.attachments("other")) == []
        assert kept.integrations.providers() == {"integration/1": made.provider}
        await kept.reopen()


async def test_what_was_given_may_be_changed_afterwards_by_whoever_gave_it(kept: Keeping) -> None:
    await kept.open()
    given, cc = dict(OPTIONS), dict(CC)
    made = await kept.integrations.register("smtp", given, NOW)
    attached = await kept.integrations.attach("w", made.id, cc, NOW)
    given.clear()
    cc.clear()
    assert (made.options, attached.options) == (OPTIONS, CC)


async def test_an_empty_password_is_one(kept: Keeping) -> None:
    await kept.open()
    made = await register(kept, password="")
    await kept.reopen()
    assert kept.integrations.registrations() == [made]


async def test_an_id_is_never_given_again(kept: Keeping) -> None:
    await kept.open()
    first, second = await register(kept), await register(kept)
    attached = [await kept.integrations.attach("w", id, {}, NOW) for id in (first.id, second.id, second.id)]
    assert [one.id for one in attached] == [1, 2, 3]
    assert await kept.integrations.unregister(second.id) == 2
    await kept.integrations.detach(1)
    await kept.reopen()
    again = await register(kept)
    assert (again.id, [one.id for one in kept.integrations.registrations()]) == (3, [1, 3])
    assert (await kept.integrations.attach("w", again.id, {}, NOW)).id == 4


async def test_who_is_not_registered_has_no_attachments(kept: Keeping) -> None:
    await kept.open()
    one, other = await register(kept), await register(kept)
    for workflow in ("v", "w"):
        for id in (one.id, other.id):
            await kept.integrations.attach(workflow, id, {}, NOW)
    assert await kept.integrations.unregister(one.id) == 2
    for _ in range(2):
        assert kept.integrations.registration(one.id) is None
        assert [one.registration for one in kept.integrations.attachments("w")] == [other.id]
        assert len(kept.integrations.attachments()) == 2
        await kept.reopen()
    for asked in (
        kept.integrations.unregister(one.id),
        kept.integrations.attach("w", one.id, {}, NOW),
        kept.integrations.detach(1),
    ):
        with pytest.raises(LookupError):
            await asked


async def test_what_was_asked_for_is_done_even_if_nobody_waits_for_it(kept: Keeping) -> None:
    await kept.open()
    asked = asyncio.create_task(register(kept))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await kept.integrations.close()
    assert passwords(kept) == [SECRET]
    await kept.reopen()
    assert passwords(kept) == [SECRET]


async def test_who_is_attached_while_it_is_removed_is_not_left_behind(kept: Keeping) -> None:
    await kept.open()
    made = await register(kept)
    done = await asyncio.gather(
        kept.integrations.unregister(made.id),
        kept.integrations.attach("w", made.id, {}, NOW),
        return_exceptions=True,
    )
    assert (done[0], type(done[1])) == (0, LookupError)
    await kept.reopen()
    assert kept.integrations.attachments() == []


async def test_there_may_be_so_many(kept: Keeping) -> None:
    await kept.open()
    made = await register(kept)
    rows = "SELECT * FROM generate"
    counting = "WITH RECURSIVE generate(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM generate WHERE n < {})"
    await kept.spoil(
        f"{counting.format(MOST_REGISTRATIONS)} INSERT INTO registration "
        f"SELECT n, 'smtp', (SELECT options FROM registration), '', 1.0 FROM ({rows})"
    )
    await kept.spoil(
        f"{counting.format(MOST_ATTACHMENTS + 1)} INSERT INTO attachment SELECT n, 'w', 1, '{{}}', 1.0 FROM ({rows})"
    )
    await kept.open()
    with pytest.raises(TooMany, match="there are 1,000 registrations"):
        await register(kept)
    with pytest.raises(TooMany, match="there are 10,000 attachments"):
        await kept.integrations.attach("w", made.id, {}, NOW)
    await kept.integrations.detach(2)
    await kept.integrations.attach("w", made.id, {}, NOW)
    await kept.integrations.unregister(2)
    await register(kept)


# Secrets


async def test_H8_no_password_lies_in_the_spool_nor_shows(kept: Keeping) -> None:
    await kept.open()
    made = await register(kept)
    await kept.integrations.attach("w", made.id, CC, NOW)
    shown = [f(one) for f in (repr, str) for one in (kept.integrations, made, kept.integrations.providers())]
    for asked in (kept.integrations.unregister(7), kept.integrations.attach("w", 7, OPTIONS, NOW)):
        with pytest.raises(LookupError) as error:
            await asked
        shown += [repr(error.value), str(error.value)]
    files = b"".join(path.read_bytes() for path in kept.folder.iterdir())
    assert OPTIONS["host"].encode() in files
    assert SECRET.encode() not in files
    assert all(SECRET not in text for text in shown)
    await kept.integrations.unregister(made.id)
    assert await kept.ask("SELECT count(*) FROM registration") == [(0,)]


async def test_H12_a_wrong_key_at_the_start_changes_nothing(kept: Keeping) -> None:
    """With the first registration came what tells so: no provider has a password."""
    await kept.open()
    await register(kept)
    stored = await kept.ask("SELECT * FROM registration, canary")
    await kept.close()
    right = kept.key.read_bytes()
    kept.key.write_bytes(b"A" * 43 + b"=\n")
    with pytest.raises(SpoolError, match=r"wrong key in .*secret\.key"):
        await kept.open()
    assert kept.key.read_bytes() == b"A" * 43 + b"=\n"
    kept.key.unlink()
    with pytest.raises(SpoolError, match="missing, without which no stored password can be decrypted"):
        await kept.open()
    assert not kept.key.exists()
    kept.key.write_bytes(right)
    kept.key.chmod(0o600)
    await kept.open()
    assert await kept.ask("SELECT * FROM registration, canary") == stored
    assert passwords(kept) == [SECRET]


def locked(one: Registration) -> bool:
    assert SECRET not in one.locked
    assert "password" not in one.options
    return "register it again" in one.locked and not one.provider.active and not one.provider.password


async def test_H12_swapped_and_cut_secrets_lock_their_registrations_only(kept: Keeping) -> None:
    await kept.open()
    for n in range(1, 6):
        await register(kept, password=f"{SECRET} {n}")
    await kept.registry.add(settings(), default=False, now=NOW)  # its id is 1, too
    tokens = dict(await kept.ask("SELECT id, secret FROM registration"))
    (of_provider,) = (await kept.ask("SELECT secret FROM provider"))[0]
    flipped = tokens[5][:50] + ("A" if tokens[5][50] != "A" else "B") + tokens[5][51:]
    await kept.spoil("UPDATE provider SET secret = ?", tokens[1])
    for id, token in {1: of_provider, 2: tokens[3], 3: tokens[3][:40], 5: flipped}.items():
        await kept.spoil("UPDATE registration SET secret = ? WHERE id = ?", token, id)
    await kept.open()
    one, two, three, four, five = kept.integrations.registrations()
    assert [locked(one) for one in (one, two, three, five)] == [True] * 4
    assert one.provider.name in kept.integrations.providers()
    assert (four.locked, four.options["password"], four.provider.active) == ("", f"{SECRET} 4", True)
    assert "cannot be decrypted" in kept.made().locked
    for id, token in tokens.items():  # nothing was overwritten
        await kept.spoil("UPDATE registration SET secret = ? WHERE id = ?", token, id)
    await kept.spoil("UPDATE provider SET secret = ?", of_provider)
    await kept.open()
    assert passwords(kept) == [f"{SECRET} {n}" for n in range(1, 6)]
    assert kept.made().settings.password == SECRET


@pytest.mark.parametrize("secret", ["''", "x'ff00'", "'" + "gA" * 5000 + "'"])
async def test_H12_what_is_no_secret_locks(kept: Keeping, secret: str) -> None:
    await kept.open()
    await register(kept)
    await kept.spoil(f"UPDATE registration SET secret = {secret}")
    await kept.open()
    assert locked(kept.integrations.registrations()[0])
    await kept.integrations.unregister(1)
    await kept.reopen()
    assert kept.integrations.registrations() == []


@pytest.mark.parametrize("before", [True, False])
async def test_H12_one_registered_while_the_key_is_rotated_can_be_decrypted(kept: Keeping, before: bool) -> None:
    await kept.open()
    await register(kept)
    asked: list[Any] = [kept.registry.rotate(), *[register(kept) for _ in range(5)]]
    await asyncio.gather(*(asked[::-1] if before else asked))
    await kept.reopen()
    assert passwords(kept) == [SECRET] * 6
    assert await kept.registry.rotate() == 6
    await kept.reopen()
    assert passwords(kept) == [SECRET] * 6


async def test_H12_after_a_rotation_the_old_key_opens_nothing(kept: Keeping) -> None:
    await kept.open()
    await register(kept)
    old = kept.key.read_bytes()
    assert await kept.registry.rotate() == 1
    await register(kept)
    await kept.reopen()
    assert passwords(kept) == [SECRET, SECRET]
    kept.key.write_bytes(old)
    with pytest.raises(SpoolError, match="wrong key"):
        await kept.reopen()


# Damage


@pytest.mark.parametrize(
    "damage",
    [
        "options = CAST(x'7b22fe' AS TEXT)",
        "options = '{\"host\": 1}'",
        "options = '{}'",
        "options = replace(options, '587', '5x7')",
        "options = x'00ff', integration = x'ff', created_at = 'x'",
    ],
    ids=["flipped", "a number", "empty", "no port", "bytes"],
)
async def test_G6_a_damaged_registration_is_shown_as_such_and_spoils_no_other(kept: Keeping, damage: str) -> None:
    await kept.open()
    await register(kept)
    whole = await register(kept)
    await kept.integrations.attach("w", 1, CC, NOW)
    await kept.spoil(f"UPDATE registration SET {damage} WHERE id = 1")
    await kept.open()
    broken, other = kept.integrations.registrations()
    assert other == whole
    assert "damaged; remove the registration and register it again" in broken.locked
    assert locked(broken)
    assert (broken.provider.name, broken.provider.reserved) == ("integration/1", True)
    assert await kept.integrations.unregister(1) == 1


async def test_G6_of_a_damaged_attachment_is_shown_what_can_be_read(kept: Keeping) -> None:
    await kept.open()
    made = await register(kept)
    whole = await kept.integrations.attach("w", made.id, CC, NOW)
    await kept.integrations.attach("w", made.id, CC, NOW)
    await kept.spoil("UPDATE attachment SET workflow = CAST(x'77ff' AS TEXT), options = '[]' WHERE id = 2")
    await kept.open()
    first, broken = kept.integrations.attachments()
    assert (first, broken.id, broken.workflow, broken.options) == (whole, 2, "w?", {})
    await kept.integrations.detach(2)
    assert kept.integrations.attachments() == [whole]


# The disk


async def test_G4_what_a_full_disk_refuses_has_not_happened(disk: Disk, kept: Keeping) -> None:
    await kept.open()
    made = await register(kept)
    attached = await kept.integrations.attach("w", made.id, CC, NOW)
    disk.full = True
    for asked in (
        register(kept),
        kept.integrations.unregister(made.id),
        kept.integrations.attach("w", made.id, {}, NOW),
        kept.integrations.detach(attached.id),
        kept.registry.rotate(),
    ):
        with pytest.raises(StorageFull):
            await asked
    disk.full = False
    for _ in range(2):
        assert (kept.integrations.registrations(), kept.integrations.attachments()) == ([made], [attached])
        await kept.reopen()


async def test_G5_a_disk_that_fails_is_told_and_the_key_still_fits(disk: Disk, kept: Keeping) -> None:
    await kept.open()
    await register(kept)
    disk.broken = True
    with pytest.raises(StorageFailed):
        await kept.registry.rotate()
    with pytest.raises(StorageFailed):
        await register(kept)
    await kept.registry.close()
    disk.broken = False
    await kept.reopen()
    assert passwords(kept) == [SECRET]
