"""Providers of the file and those made by hand, over a real spool file."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay.db.errors import SpoolError
from relay.model import Health, Limits, Provider, Reservation, Settlement, Spent, State, Tls
from relay.ports import NameTaken, ReadOnly, Registry
from relay.store.registry import NameInBoth, StoredRegistry
from relay.store.sealing import unlock
from tests.contract.spools import START, Hands, finished
from tests.unit.store.keeping import NOW, OF_FILE, SECRET, Keeping, ended, settings


def names(kept: Keeping) -> list[tuple[int, str]]:
    return [(one.id, one.settings.name) for one in kept.registry.providers()]


# What outlives a restart


async def test_a_provider_outlives_the_process_with_all_that_was_set(kept: Keeping) -> None:
    await kept.open()
    given = settings(
        port=2525,
        use_tls=False,
        from_email="a@example.com",
        from_name="Ärger",
        reply_to="r@example.com",
        daily_limit=5,
        monthly_limit=60,
        rate_limit_per_minute=7,
        priority=3,
        active=False,
    )
    registry: Registry = kept.registry
    made = await registry.add(given, default=True, now=NOW)
    assert made.settings == given
    await kept.reopen()
    assert kept.made() == made
    assert kept.registry.find(made.id) == made


async def test_H8_no_secret_lies_in_the_spool_nor_shows(kept: Keeping) -> None:
    await kept.open(OF_FILE)
    made = await kept.registry.add(settings(), default=False, now=NOW)
    await kept.registry.change(made.id, settings(port=588), default=False, now=NOW)
    shown = [repr(kept.registry), repr(kept.registry.providers())]
    with pytest.raises(NameTaken) as taken:
        await kept.registry.add(settings(), default=False, now=NOW)
    shown += [repr(taken.value), str(taken.value)]
    files = b"".join(path.read_bytes() for path in kept.folder.iterdir())
    assert b"smtp.example.com" in files
    for secret in (SECRET, "of-the-file"):
        assert secret.encode() not in files
        assert all(secret not in text for text in shown)


async def test_an_id_is_for_life_and_never_given_again(kept: Keeping) -> None:
    await kept.open(OF_FILE)
    await kept.registry.add(settings("a"), default=False, now=NOW)
    last = await kept.registry.add(settings("b"), default=False, now=NOW)
    await kept.registry.remove(last.id, NOW)
    await kept.reopen(OF_FILE)
    again = await kept.registry.add(settings("b"), default=False, now=NOW)
    assert again.id == last.id + 1
    assert names(kept) == [(1, "filed"), (2, "a"), (4, "b")]


async def test_what_was_asked_for_is_done_even_if_nobody_waits_for_it(kept: Keeping) -> None:
    await kept.open()
    asked = asyncio.create_task(kept.registry.add(settings(), default=False, now=NOW))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    with pytest.raises(NameTaken):
        await kept.registry.add(settings(), default=False, now=NOW)
    await kept.reopen()
    assert names(kept) == [(1, "made")]


async def test_of_two_who_want_a_name_at_once_one_has_it(kept: Keeping) -> None:
    await kept.open()
    asked = [kept.registry.add(settings(port=port), default=True, now=NOW) for port in (1, 2, 3)]
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one).__name__ for one in done] == ["Registered", "NameTaken", "NameTaken"]
    assert kept.made().settings.port == 1


# What is derived


@pytest.mark.parametrize(
    ("given", "tls"),
    [
        ({}, Tls.STARTTLS),
        ({"port": 465}, Tls.IMPLICIT),
        ({"use_ssl": True, "use_tls": False}, Tls.IMPLICIT),
        ({"use_tls": False}, Tls.NONE),
        ({"use_tls": False, "port": 465}, Tls.NONE),
    ],
)
async def test_tls_as_the_two_flags_say(kept: Keeping, given: dict[str, Any], tls: Tls) -> None:
    await kept.open()
    made = await kept.registry.add(settings(**given), default=False, now=NOW)
    assert made.provider.tls is tls


async def test_H2_a_provider_made_by_hand_stays_out_of_private_networks_unless_allowed(kept: Keeping) -> None:
    await kept.open(OF_FILE)
    made = await kept.registry.add(settings(username="", password="", daily_limit=5), default=False, now=NOW)
    assert made.provider == Provider(
        name="made",
        host="smtp.example.com",
        port=587,
        auth="none",
        public_only=True,
        limits=Limits(per_day=5),
    )
    assert not kept.made("filed").provider.public_only
    await kept.reopen(allow_private=True)
    assert not kept.made().provider.public_only


async def test_a_provider_of_the_file_looks_like_the_others(kept: Keeping) -> None:
    implicit = replace(OF_FILE, name="b", tls=Tls.IMPLICIT, priority=2, limits=Limits(per_minute=1, per_day=2))
    await kept.open(OF_FILE, implicit, replace(OF_FILE, name="c", tls=Tls.OPPORTUNISTIC))
    flags = [(one.settings.use_tls, one.settings.use_ssl) for one in kept.registry.providers()]
    assert flags == [(True, False), (False, True), (True, False)]
    shown = kept.made("b")
    assert shown.provider == implicit
    assert (shown.origin, shown.settings.daily_limit, shown.settings.rate_limit_per_minute) == ("file", 2, 1)


# Default


async def test_at_most_one_is_the_default(kept: Keeping) -> None:
    await kept.open(OF_FILE)
    first = await kept.registry.add(settings("a"), default=True, now=NOW)
    second = await kept.registry.add(settings("b"), default=True, now=NOW)
    for expected in (second.id, 1, first.id):
        one = kept.registry.find(expected)
        assert one
        await kept.registry.change(expected, one.settings, default=True, now=NOW)
        assert [one.id for one in kept.registry.providers() if one.default] == [expected]
        await kept.reopen(OF_FILE)
        assert [one.id for one in kept.registry.providers() if one.default] == [expected]
    await kept.registry.change(first.id, first.settings, default=False, now=NOW)
    await kept.reopen(OF_FILE)
    assert not any(one.default for one in kept.registry.providers())


async def test_of_the_file_only_the_default_can_be_set(kept: Keeping) -> None:
    await kept.open(OF_FILE)
    one = kept.made("filed")
    changed = await kept.registry.change(one.id, one.settings, default=True, now=NOW + 1)
    assert (changed.default, changed.updated_at) == (True, NOW + 1)
    for other in (replace(one.settings, active=False), replace(one.settings, password="x")):
        with pytest.raises(ReadOnly):
            await kept.registry.change(one.id, other, default=False, now=NOW)
    with pytest.raises(ReadOnly):
        await kept.registry.remove(one.id, NOW)
    assert kept.made("filed") == changed


# The file is read again


async def test_who_left_the_file_is_not_listed_and_has_its_id_when_it_comes_back(kept: Keeping) -> None:
    other = replace(OF_FILE, name="other")
    await kept.open(OF_FILE, other)
    await kept.registry.change(1, kept.made("filed").settings, default=True, now=NOW)
    await kept.registry.adopt([other], NOW)
    assert names(kept) == [(2, "other")]
    assert kept.registry.find(1) is None
    with pytest.raises(LookupError):
        await kept.registry.change(1, settings(), default=True, now=NOW)
    await kept.reopen(other, replace(OF_FILE, name="third"))
    assert names(kept) == [(2, "other"), (3, "third")]
    await kept.registry.adopt([other, replace(OF_FILE, host="elsewhere.example")], NOW)
    assert names(kept) == [(1, "filed"), (2, "other")]
    assert kept.made("filed").default
    assert kept.made("filed").provider.host == "elsewhere.example"


async def test_a_name_in_the_file_and_made_by_hand_is_refused_with_both_ways_out(kept: Keeping) -> None:
    await kept.open()
    await kept.registry.add(settings("filed"), default=False, now=NOW)
    before = kept.registry.providers()
    with pytest.raises(NameInBoth, match=r"'filed'.*rename it in the configuration.*relay provider remove filed"):
        await kept.registry.adopt([replace(OF_FILE, name="new"), OF_FILE], NOW)
    assert kept.registry.providers() == before
    with pytest.raises(SpoolError, match="filed"):
        await kept.reopen(OF_FILE)


async def test_names_are_unique_over_file_and_hand(kept: Keeping) -> None:
    await kept.open(OF_FILE)
    made = await kept.registry.add(settings("a"), default=False, now=NOW)
    with pytest.raises(NameTaken):
        await kept.registry.add(settings("filed"), default=False, now=NOW)
    with pytest.raises(NameTaken):
        await kept.registry.change(made.id, settings("filed"), default=False, now=NOW)
    await kept.registry.adopt([], NOW)
    renamed = await kept.registry.change(made.id, settings("filed"), default=False, now=NOW)
    assert renamed.settings.name == "filed"


async def test_a_reload_that_leads_elsewhere_forgets_the_health(kept: Keeping) -> None:
    await kept.open(OF_FILE)
    await kept.registry.checked("filed", Health(healthy=False, checked_at=NOW, detail="535"))
    await kept.registry.adopt([replace(OF_FILE, priority=2)], NOW)
    assert kept.made("filed").health.healthy is False
    await kept.registry.adopt([replace(OF_FILE, password="right")], NOW)
    assert kept.made("filed").health == Health()


# Capture


async def test_only_while_there_never_was_a_provider_the_registry_is_empty(kept: Keeping) -> None:
    await kept.open()
    assert kept.registry.empty()
    made = await kept.registry.add(settings(active=False), default=False, now=NOW)
    assert not kept.registry.empty()
    await kept.registry.remove(made.id, NOW)
    assert not kept.registry.empty()
    await kept.reopen()
    assert not kept.registry.empty()


async def test_a_provider_of_the_file_ends_capture_while_it_is_there(kept: Keeping) -> None:
    await kept.open(replace(OF_FILE, active=False))
    assert not kept.registry.empty()
    await kept.reopen()
    assert kept.registry.empty()


# Removing and renaming


async def test_H8_a_removed_provider_keeps_no_password(kept: Keeping) -> None:
    await kept.open()
    made = await kept.registry.add(settings(), default=True, now=NOW)
    await kept.registry.remove(made.id, NOW + 1)
    assert kept.registry.providers() == []
    with pytest.raises(LookupError):
        await kept.registry.remove(made.id, NOW)
    assert await kept.ask("SELECT secret, is_default, deleted_at FROM provider") == [(None, 0, NOW + 1)]


async def spend(hands: Hands, provider: str, *, settled: bool) -> None:
    """Reserve one of each period, and perhaps take it."""
    wanted = Reservation(id=1 + settled, provider=provider, amount=1, at=START, periods=("day:2026-11-18",))
    assert await hands.spool.reserve([wanted])
    if settled:
        await hands.accept()
        lease = await hands.one()
        done = finished(lease, State.ACCEPTED, START, provider)
        spent = Spent(reservation=wanted, taken=1, at=START)
        await hands.settle(Settlement(token=done.token, ended=done.ended, usage=(spent,)))


async def over(hands: Hands, folder: Path) -> StoredRegistry:
    database = hands.spool.database  # type: ignore[attr-defined]
    vault = await unlock(database, folder / "secret.key")
    return await StoredRegistry.open(database, vault, [], now=START, allow_private=False)


async def test_a_removed_name_is_free_and_nothing_counts_against_it(hands: Hands, tmp_path: Path) -> None:
    registry = await over(hands, tmp_path)
    made = await registry.add(settings(), default=False, now=START)
    for settled in (True, False):
        await spend(hands, "made", settled=settled)
    registry.observe(ended("made", 250))
    await registry.maintain(START)
    await registry.remove(made.id, START)
    assert list(await hands.spool.usage(START)) == []
    again = await registry.add(settings(), default=False, now=START)
    assert registry.counts(again.id, START).attempts == 0
    statistic = await hands.spool.database.work.ask(  # type: ignore[attr-defined]
        lambda connection: connection.execute("SELECT * FROM statistic").fetchall()
    )
    assert statistic == []


async def test_what_was_used_goes_along_with_a_new_name(hands: Hands, tmp_path: Path) -> None:
    registry = await over(hands, tmp_path)
    made = await registry.add(settings("old"), default=False, now=START)
    for settled in (True, False):
        await spend(hands, "old", settled=settled)
    await registry.change(made.id, settings("new"), default=False, now=START)
    (used,) = await hands.spool.usage(START)
    assert (used.provider, used.periods, len(used.minute)) == ("new", {"day:2026-11-18": 2}, 2)


# Health


async def test_health_outlives_the_process_once_it_was_maintained(kept: Keeping) -> None:
    await kept.open(OF_FILE)
    await kept.registry.add(settings(), default=False, now=NOW)
    bad = Health(healthy=False, checked_at=NOW, detail="535: set the password")
    await kept.registry.checked("made", bad)
    await kept.registry.checked("filed", Health(healthy=True, checked_at=NOW))
    await kept.registry.checked("nobody", bad)
    assert kept.made().health == bad
    await kept.registry.maintain(NOW)
    await kept.reopen(OF_FILE)
    assert (kept.made().health, kept.made("filed").health.healthy) == (bad, True)


async def test_a_delivery_makes_healthy_and_is_not_written_for_every_mail(kept: Keeping) -> None:
    async def written() -> list[Any]:
        await kept.registry.maintain(kept.now)
        return await kept.ask("SELECT health ->> 'checked_at' FROM provider")

    await kept.open()
    await kept.registry.add(settings(), default=False, now=NOW)
    await kept.registry.checked("made", Health(healthy=False, checked_at=NOW, detail="refused"))
    kept.registry.observe(ended("made", 451))
    assert kept.made().health.healthy is False
    kept.registry.observe(ended("made", 550, 250))
    assert kept.made().health == Health(healthy=True, checked_at=NOW)
    assert await written() == [(NOW,)]
    for after, expected in ((299, NOW), (300, NOW + 300), (599, NOW + 300)):
        kept.now = NOW + after
        kept.registry.observe(ended("made", 250))
        assert kept.made().health.checked_at == kept.now
        assert await written() == [(expected,)]
    await kept.registry.close()
    await kept.reopen()
    assert kept.made().health.checked_at == NOW + 599


async def test_health_is_unknown_again_where_a_change_leads_elsewhere(kept: Keeping) -> None:
    await kept.open()
    made = await kept.registry.add(settings(), default=False, now=NOW)
    await kept.registry.checked("made", Health(healthy=False, checked_at=NOW, detail="535"))
    await kept.registry.maintain(NOW)
    changed = await kept.registry.change(made.id, settings(daily_limit=1), default=False, now=NOW)
    assert changed.health.healthy is False
    changed = await kept.registry.change(made.id, settings(password="right"), default=False, now=NOW)
    assert changed.health == Health()
    await kept.registry.maintain(NOW)
    await kept.reopen()
    assert kept.made().health == Health()
