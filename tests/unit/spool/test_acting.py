"""Acting on a long queue on disk: what the rules are is tested for both spools, here only what it costs others."""

from __future__ import annotations

from typing import Any

import apsw

from relay.ports import Filter
from relay.spool.acting import STRETCH
from relay.store.writing import write
from tests.contract.spools import Hands, to_lane


async def test_a_search_that_finds_nothing_keeps_no_commit_waiting(hands: Hands) -> None:
    """An action looks for its mail in stretches, or one that fits nothing would hold the writer for the whole queue."""
    hands.lane = to_lane("a:1", ready=False)
    for _ in range(5):
        assert await hands.spool.accept([hands.submission() for _ in range(STRETCH // 2)]) is None
    steps: list[int] = []

    def trace(event: Any) -> None:
        steps.append(event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"])

    database: Any = hands.spool._books.database  # type: ignore[attr-defined]
    await write(database, lambda connection: connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, trace))
    acted = await hands.spool.act("hold", Filter(provider="nobody"), hands.now)
    assert not acted.changed and not acted.skipped
    assert max(steps) < sum(steps) / 2, "no statement looked through more than a stretch"
