"""What providers did, by day: counted once a message, by their own calendar, kept over restarts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from relay.model import Counts, Health
from relay.store.statistics import DAY
from tests.unit.db.disks import Disk
from tests.unit.store.keeping import OF_FILE, Keeping, ended, limited, settings

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()


@pytest.fixture(autouse=True)
def noon(kept: Keeping) -> None:
    kept.now = NOON


def counts(kept: Keeping, id: int = 1) -> Counts:
    return kept.registry.counts(id, kept.now)


async def test_a_message_of_many_recipients_counts_once(kept: Keeping) -> None:
    await kept.open(OF_FILE)
    kept.registry.observe(ended("filed", *[250] * 50, seconds=2.0))
    assert counts(kept) == Counts(today=1, month=1, attempts=1, accepted=1, seconds=2.0)


async def test_what_was_taken_in_part_or_not_at_all(kept: Keeping) -> None:
    await kept.open(OF_FILE)
    for codes in ((250, 550), (451,), (550, 550), (250,)):
        kept.registry.observe(ended("filed", *codes))
    kept.registry.observe(ended("stranger", 250))
    assert counts(kept) == Counts(today=2, month=2, attempts=4, accepted=1, seconds=2.0)
    assert counts(kept, 99) == Counts()


async def test_a_clock_set_back_takes_no_time_away(kept: Keeping) -> None:
    await kept.open(OF_FILE)
    kept.registry.observe(ended("filed", 250, seconds=-3600.0))
    assert counts(kept).seconds == 0.0


async def test_days_and_months_are_the_providers_own(kept: Keeping) -> None:
    kept.now = datetime(2026, 10, 31, 15, 30, tzinfo=UTC).timestamp()  # 1 November, 00:30 in Tokyo
    await kept.open(limited("tokyo", "Asia/Tokyo"), limited("utc", "UTC"))
    for name in ("tokyo", "utc"):
        kept.registry.observe(ended(name, 250))
    kept.now += DAY
    for name in ("tokyo", "utc"):
        kept.registry.observe(ended(name, 250))
    assert [(counts(kept, id).today, counts(kept, id).month) for id in (1, 2)] == [(1, 2), (1, 1)]


async def test_counts_outlive_the_process_once_maintained(kept: Keeping) -> None:
    await kept.open(OF_FILE)
    kept.registry.observe(ended("filed", 250))
    await kept.registry.maintain(kept.now)
    kept.registry.observe(ended("filed", 451))
    await kept.registry.close()
    await kept.reopen(OF_FILE)
    assert counts(kept) == Counts(today=1, month=1, attempts=2, accepted=1, seconds=1.0)
    kept.registry.observe(ended("filed", 250))
    await kept.registry.close()
    await kept.reopen(OF_FILE)
    assert counts(kept).attempts == 3


async def test_an_idle_relay_writes_nothing(kept: Keeping) -> None:
    await kept.open(OF_FILE)
    kept.registry.observe(ended("filed", 250))
    await kept.registry.maintain(kept.now)
    version = await kept.ask("PRAGMA data_version")
    await kept.registry.maintain(kept.now + 5)
    assert await kept.ask("PRAGMA data_version") == version


async def test_sums_are_over_the_kept_history_and_the_month_is_kept_for_itself(kept: Keeping) -> None:
    await kept.open(OF_FILE, keep=7 * DAY)
    for day in (0, 10, 19):  # the 2nd, 12th and 21st
        kept.now = NOON - (19 - day) * DAY
        kept.registry.observe(ended("filed", 250))
        await kept.registry.maintain(kept.now)
    assert counts(kept) == Counts(today=1, month=3, attempts=1, accepted=1, seconds=0.5)
    kept.registry.keep = 30 * DAY
    assert counts(kept).attempts == 3


async def test_what_is_older_than_the_history_is_pruned(kept: Keeping) -> None:
    async def days() -> list[str]:
        kept.registry.observe(ended("filed", 250))
        await kept.registry.maintain(kept.now)
        return [day for (day,) in await kept.ask("SELECT day FROM statistic ORDER BY day")]

    await kept.open(OF_FILE, keep=40 * DAY)
    assert await days() == ["2026-11-21"]
    kept.now += 40 * DAY
    assert await days() == ["2026-11-21", "2026-12-31"]
    kept.now += DAY
    assert await days() == ["2026-12-31", "2027-01-01"]
    kept.registry.keep = 1e15  # the beginning of time is early enough
    assert len(await days()) == 2


async def test_a_name_belongs_to_whoever_has_it_now(kept: Keeping) -> None:
    await kept.open()
    first = await kept.registry.add(settings("a"), default=False, now=kept.now)
    kept.registry.observe(ended("a", 250))
    await kept.registry.change(first.id, settings("b"), default=False, now=kept.now)
    second = await kept.registry.add(settings("a"), default=False, now=kept.now)
    kept.registry.observe(ended("a", 250))
    kept.registry.observe(ended("b", 250))
    assert (counts(kept, first.id).today, counts(kept, second.id).today) == (2, 1)


async def test_G6_a_damaged_line_counts_for_nothing(kept: Keeping) -> None:
    await kept.open(OF_FILE)
    kept.registry.observe(ended("filed", 250))
    await kept.registry.maintain(kept.now)
    await kept.spoil(
        "INSERT INTO statistic VALUES (1, '2026-11-20', 'x', 1, 1, 1), (1, x'ff', 1, 1, 1, 1), (7, 'x', 1, 1, 1, 1)"
    )
    await kept.open(OF_FILE)
    assert counts(kept).today == 1
    await kept.registry.maintain(kept.now)


async def test_G4_a_full_disk_loses_no_count(disk: Disk, kept: Keeping) -> None:
    await kept.open(OF_FILE)
    kept.registry.observe(ended("filed", 250))
    await kept.registry.checked("filed", Health(healthy=False, checked_at=kept.now, detail="535"))
    disk.full = True
    await kept.registry.maintain(kept.now)
    kept.registry.observe(ended("filed", 250))
    disk.full = False
    await kept.registry.maintain(kept.now)
    await kept.reopen(OF_FILE)
    assert (counts(kept).today, kept.made("filed").health.healthy) == (2, True)
