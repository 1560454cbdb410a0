"""Upkeep of the spool on disk: space that is set aside, and space that is given back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relay.spool.limits import SpoolLimits
from relay.spool.reserve import SIZE, Reserve
from relay.spool.upkeep import SPARE_PAGES
from tests.contract.spools import Hands, delivered


def test_space_is_set_aside_once(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", 1 << 40)
    reserve.fill(1 << 40)
    reserve.fill(1 << 40)
    assert (tmp_path / "reserve").stat().st_size == SIZE
    assert (tmp_path / "reserve").stat().st_mode & 0o777 == 0o600
    assert reserve.give_up()
    assert not reserve.give_up()


def test_little_is_set_aside_of_little(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", 4000)
    reserve.fill(1999)
    assert not (tmp_path / "reserve").exists(), "half of what there is would be too much"
    reserve.fill(4000)
    assert (tmp_path / "reserve").stat().st_size == 1000


async def test_the_file_shrinks_when_much_of_it_is_unused(hands: Hands) -> None:
    await hands.reopen(SpoolLimits(unclaimed=0))
    body = b"x" * 250_000
    many = SPARE_PAGES * 4096 // len(body) + 20
    for _ in range(many):
        await hands.accept(data=body)
    await hands.settle(*[delivered(lease) for lease in await hands.claim()])
    database: Any = hands.spool._books.database  # type: ignore[attr-defined]

    async def pages() -> int:
        return int(await database.desk.ask(lambda c: c.execute("PRAGMA page_count").fetchall()[0][0]))

    before = await pages()
    await hands.spool.maintain(hands.now)
    assert await pages() < before
