"""Fixtures for the tests of the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.contract.spools import Hands
from tests.unit.db.disks import Disk
from tests.unit.store.keeping import Keeping


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.unregister()


@pytest_asyncio.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Keeping]:
    """A registry that the test opens."""
    keeping = Keeping(tmp_path / "var")
    yield keeping
    await keeping.close()


@pytest_asyncio.fixture
async def hands(tmp_path: Path) -> AsyncIterator[Hands]:
    """An open spool on disk."""
    hands = Hands("sqlite", tmp_path)
    await hands.open()
    yield hands
    await hands.spool.close()
