"""Mail that was there at start is counted behind the mail that comes and goes: nothing twice, nothing forgotten."""

from __future__ import annotations

from relay.model import Appetite, Lease
from relay.spool.tally import AT_START, STEP
from tests.contract.spools import Hands, delivered

MORE = 3 * STEP + 7


async def live(hands: Hands) -> int:
    return (await hands.spool.stats()).live_bytes


async def fill(hands: Hands, messages: int) -> int:
    """Their bytes, all together."""
    total = 0
    for done in range(0, messages, STEP):
        batch = [hands.submission(data=b"%d\r\n" % n) for n in range(done, min(done + STEP, messages))]
        assert await hands.spool.accept(batch) is None
        total += sum(submission.message.size for submission in batch)
    return total


async def claimed(hands: Hands, messages: int) -> list[Lease]:
    found: list[Lease] = []
    while len(found) < messages:
        found += await hands.claim(Appetite(total=messages - len(found)))
    return found


async def test_a_short_queue_is_counted_at_once(hands: Hands) -> None:
    total = await fill(hands, 20)
    await hands.reopen()

    assert await live(hands) == total


async def test_a_long_queue_is_counted_while_mail_comes_and_goes(hands: Hands) -> None:
    total = await fill(hands, AT_START + MORE)
    await hands.reopen()
    at_start = await live(hands)
    assert at_start < total

    leases = await claimed(hands, AT_START + MORE)
    counted, uncounted = leases[:5], leases[-5:]
    gone = sum(lease.entry.message.size for lease in (*counted, *uncounted))
    await hands.settle(*[delivered(lease) for lease in counted])
    await hands.settle(*[delivered(lease) for lease in uncounted])
    fresh = await hands.accept(data=b"while it counts\r\n")
    assert await live(hands) == at_start - sum(lease.entry.message.size for lease in counted) + fresh.size

    await hands.spool.maintain(hands.now)
    assert await live(hands) == total - gone + fresh.size

    await hands.settle(*[delivered(lease) for lease in leases[5:-5]])
    assert await live(hands) == fresh.size
