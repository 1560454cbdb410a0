"""Looking through a long queue on disk: what is found is tested for both spools, here only what it costs others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw

from relay.ports import Filter
from relay.spool.desk import STRETCH
from tests.contract.spools import Hands, delivered, to_lane

RARE = [
    Filter(text="needle@x"),
    Filter(recipient="needle@*"),
    Filter(recipient="needle@*", ended=True),
    Filter(text="0", tag="none", ended=True),
]


async def fill(hands: Hands, many: int) -> None:
    hands.lane = to_lane("a:1", ready=False)
    for start in range(0, many, 1000):
        batch = [hands.submission() for _ in range(min(1000, many - start))]
        assert await hands.spool.accept(batch) is None


async def test_a_search_for_what_is_rare_goes_by_in_short_questions(hands: Hands) -> None:
    """The reader serves one question at a time: the counts of /metrics must not wait for the whole queue."""
    await fill(hands, 2 * STRETCH)
    await hands.accept("needle@x")
    await fill(hands, STRETCH)
    reader: Any = hands.spool._books.database.desk  # type: ignore[attr-defined]
    steps: list[int] = []
    asked: list[int] = []
    ask = reader.ask

    async def counted(question: Callable[[apsw.Connection], Any]) -> Any:
        steps.clear()
        answer = await ask(question)
        asked.append(sum(steps))
        return answer

    reader.ask = counted
    trace = apsw.SQLITE_TRACE_PROFILE
    reader._connection.trace_v2(trace, lambda e: steps.append(e["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]))
    for where in RARE:
        asked.clear()
        page = await hands.spool.find(where, limit=10)
        assert len(page.data) == (0 if where.tag else 1) and not page.has_more
        assert 3 <= len(asked) <= 4
        assert max(asked) < sum(asked) / 2, "no question looked through more than a stretch"


async def test_the_first_page_of_a_long_queue_is_one_short_question(hands: Hands) -> None:
    await fill(hands, STRETCH + 50)
    steps: list[int] = []
    reader: Any = hands.spool._books.database.desk._connection  # type: ignore[attr-defined]
    trace = apsw.SQLITE_TRACE_PROFILE
    reader.trace_v2(trace, lambda e: steps.append(e["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]))
    page = await hands.spool.find(Filter(), limit=20)
    assert (len(page.data), page.has_more) == (20, True)
    assert sum(steps) < STRETCH * 10, "what is listed is read, not the stretch"


async def test_pages_over_queue_and_history_are_in_one_order(hands: Hands) -> None:
    for _ in range(5):
        await hands.accept()
        (lease,) = await hands.claim()
        await hands.settle(delivered(lease))
        hands.lane = to_lane("a:1", ready=False)
        hands.now += 1
        await hands.accept()
        await hands.claim()
        hands.lane = to_lane("b:1")
    found, after = [], ""
    while True:
        page = await hands.spool.find(Filter(ended=True), limit=3, after=after)
        found += [shown.id for shown in page.data]
        if not page.has_more:
            break
        after = found[-1]
    assert len(found) == 10 and found == sorted(found)
