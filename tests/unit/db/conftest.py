"""Fixtures for the tests of `db`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.db.disks import Disk


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.unregister()
