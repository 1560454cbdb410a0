"""Who is slow waits for who is slow, and is known by what it is made of."""

from __future__ import annotations

import asyncio

import pytest

from relay.automation.jobs import Job
from relay.automation.turns import Turn, Turns

SLOW, FAST = Job(condition="slow"), Job(condition="fast")


def _again(job: Job) -> list[Job]:
    """As the next event asks for it."""
    return [Job(condition=job.condition)]


def test_what_was_marked_is_news_once() -> None:
    async def main() -> None:
        turns = Turns(2)
        assert not turns.known([SLOW, FAST])
        assert turns.mark(SLOW) and not turns.mark(*_again(SLOW))
        assert turns.known([FAST, *_again(SLOW)]) and not turns.known([FAST])

    asyncio.run(main())


def test_no_more_is_remembered_than_a_thousand() -> None:
    async def main() -> None:
        turns = Turns(2)
        for number in range(1001):
            turns.mark(Job(condition=str(number)))
        assert not turns.known([Job(condition="0")]) and turns.known([Job(condition="1")])

    asyncio.run(main())


def test_H3_the_slow_leave_a_turn_for_the_others() -> None:
    async def main() -> None:
        turns = Turns(2)
        turns.mark(SLOW)
        first, second, other = (Turn(turns, _again(job)) for job in (SLOW, SLOW, FAST))
        await first.take()
        waiting = asyncio.create_task(second.take())
        await other.take()
        assert not waiting.done()
        first.end()
        await waiting

    asyncio.run(main())


def test_H3_what_was_shown_while_one_waited_counts() -> None:
    async def main() -> None:
        turns = Turns(2)
        first, second, third = (Turn(turns, _again(SLOW)) for _ in range(3))
        await first.take()
        await second.take()
        waiting = asyncio.create_task(third.take())
        turns.mark(SLOW)
        await first.justify()  # goes among the slow, and has its turn at once
        moving = asyncio.create_task(second.justify())
        await Turn(turns, [FAST]).take()
        assert not waiting.done() and not moving.done()
        first.end()
        await asyncio.wait((waiting, moving), return_when=asyncio.FIRST_COMPLETED)
        second.end()
        third.end()
        await asyncio.wait((waiting, moving))

    asyncio.run(main())


def test_who_is_cancelled_while_it_waits_holds_nothing_afterwards() -> None:
    async def main() -> None:
        turns = Turns(2)
        turns.mark(SLOW)
        first, second, third = (Turn(turns, [SLOW]) for _ in range(3))
        await first.take()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(second.take(), 0.01)
        second.end()
        first.end()
        await third.take()
        await Turn(turns, [FAST]).take()

    asyncio.run(main())
