"""What a log costs: nothing that it does not use."""

from __future__ import annotations

import subprocess
import sys

import pytest


def loaded(code: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


def test_the_log_loads_neither_rich_nor_pygments() -> None:
    names = loaded("import relay.observe.log")
    assert "structlog" in names
    assert not names & {"rich", "pygments"}


@pytest.mark.parametrize("code", ["import relay.observe.log, rich.table", "import rich.table, relay.observe.log"])
def test_who_wants_rich_has_it_before_and_after(code: str) -> None:
    assert "rich.table" in loaded(f"{code}; assert rich.table.Table().columns == []")
