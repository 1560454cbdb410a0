"""Bodies that are read back from the disk."""

from __future__ import annotations

import asyncio
import threading

from tests.contract.spools import Hands, to_lane


async def test_F10_a_large_body_keeps_no_small_one_waiting(hands: Hands) -> None:
    """All of a file is read to check it; here no thread is free to do that."""
    hands.lane = to_lane("a:1", ready=False)
    slow, first, quick = await hands.large(), await hands.accept(), await hands.accept()
    await hands.reopen()
    turnstile = threading.Event()
    busy = [asyncio.get_running_loop().run_in_executor(None, turnstile.wait) for _ in range(64)]
    waiting = asyncio.create_task(hands.spool.body(slow.id))
    try:
        async with asyncio.timeout(5):
            assert await hands.spool.body(first.id) is not None
            assert await hands.spool.body(quick.id) is not None
        assert not waiting.done()
    finally:
        turnstile.set()
        await asyncio.gather(*busy)
    assert await waiting is not None
