"""Acting on a long queue on disk: what the rules are is tested for both spools, here only what it costs others."""

from __future__ import annotations

from typing import Any

import apsw

from relay.ports import Filter
from relay.spool.acting import STRETCH
from tests.contract.spools import Hands, to_lane


async def test_a_search_that_finds_nothing_keeps_no_commit_waiting(hands: Hands) -> None:
    """An action looks for its mail in stretches, or one that fits nothing would hold the writer for the whole queue."""
    hands.lane = to_lane("a:1", ready=False)
    for _ in range(5):
        assert await hands.spool.accept([hands.submission() for _ in range(STRETCH // 2)]) is None
    steps: list[int] = []
    writer: Any = hands.spool._books.database._connection  # type: ignore[attr-defined]
    writer.trace_v2(apsw.SQLITE_TRACE_PROFILE, lambda e: steps.append(e["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]))
    acted = await hands.spool.act("hold", Filter(provider="nobody"), hands.now)
    assert not acted.changed and not acted.skipped
    assert max(steps) < sum(steps) / 2, "no statement looked through more than a stretch"
