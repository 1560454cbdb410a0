"""A flipped bit gave a message's row another number: its entry is held, its file is kept, the others go (hazard G6)."""

from __future__ import annotations

import contextlib

import apsw
import pytest

from relay.model import Appetite, Message, State
from relay.ports import Filter
from relay.spool.ids import decode
from tests.contract.spools import Hands, to_lane

ANOTHER_BIT = 1 << 61


async def renumber(hands: Hands, *messages: Message) -> None:
    """Change the file behind the spool's back, and open it again."""
    await hands.spool.close()
    with contextlib.closing(apsw.Connection(str(hands.path))) as connection:
        for message in messages:
            connection.execute("UPDATE message SET id = id + ? WHERE id = ?", (ANOTHER_BIT, decode(message.id)))
    await hands.open()


@pytest.mark.parametrize("most", [1, 2, 1000])
async def test_G6_entries_without_their_message_stop_no_lane(hands: Hands, most: int) -> None:
    hands.lane = to_lane("a:1", ready=False)
    made = [await hands.accept() for _ in range(6)]
    broken, sound = made[:3], made[3:]
    await renumber(hands, *broken)
    claimed: list[str] = []
    for _ in made:
        claimed += [lease.entry.message.id for lease in await hands.claim(Appetite(total=most))]
    assert claimed == [message.id for message in sound]
    assert [await hands.state(message) for message in broken] == [State.HELD] * 3


async def test_G6_an_entry_without_its_message_is_seen(hands: Hands) -> None:
    hands.lane = to_lane("a:1", ready=False)
    broken, sound = await hands.accept(), await hands.accept()
    await renumber(hands, broken)
    assert {shown.id for shown in (await hands.spool.find(Filter(), limit=5)).data} == {broken.id, sound.id}
    acted = await hands.spool.act("hold", Filter(), hands.now)
    assert acted.changed == (sound.id,)
    assert acted.skipped == {broken.id: "is damaged"}


@pytest.mark.parametrize("what", ["SET id = id + 1", "SET body = 'x'"])
async def test_G6_what_is_owed_keeps_its_file(hands: Hands, what: str) -> None:
    hands.lane = to_lane("a:1", ready=False)
    await hands.large()
    await hands.spool.close()
    with contextlib.closing(apsw.Connection(str(hands.path))) as connection:
        connection.execute(f"UPDATE message {what}")
    await hands.open()
    assert len(list((hands.path.parent / "spool.db.bodies").iterdir())) == 1
