"""The spools the contract suite runs over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.contract.spools import Hands


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def hands(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hands]:
    """An open spool of each kind."""
    hands = Hands(request.param, tmp_path)
    await hands.open()
    yield hands
    await hands.spool.close()
