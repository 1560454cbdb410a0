"""A spool with flipped bits: what is damaged is held, everything else is delivered (hazard G6)."""

from __future__ import annotations

import asyncio
import contextlib

import apsw
import pytest

from relay.db.errors import SpoolError, StorageFailed
from relay.events import MessageEnded, SpoolFailed
from relay.model import Appetite, Message, Reservation, State
from relay.ports import Filter
from relay.spool.ids import decode
from relay.spool.limits import SpoolLimits
from tests.contract.spools import Hands, delivered, each_to_its_own, to_lane
from tests.unit.db.disks import Disk


async def damage(hands: Hands, statement: str, *values: object) -> None:
    """Change the file behind the spool's back, and open it again."""
    await hands.spool.close()
    connection = apsw.Connection(str(hands.path))
    connection.execute(statement, values)
    connection.close()
    await hands.open()


DAMAGE = {
    "no UTF-8 in the envelope": "UPDATE message SET meta = CAST(replace(meta, 'broken', x'ff') AS TEXT)",
    "no UTF-8 in the debt": "UPDATE entry SET owed = CAST(x'7bff7d' AS TEXT)",
    "another kind of JSON": "UPDATE entry SET owed = '5'",
    "no JSON": "UPDATE entry SET owed = '{'",
    "a size that is none": "UPDATE message SET size = 'large'",
    "a time that is none": "UPDATE entry SET deadline = ''",
    "bytes where text was": "UPDATE message SET meta = x'0c0000'",
    "what SQLite takes for JSONB": "UPDATE message SET meta = x'00'",
    "a debt it takes for JSONB": "UPDATE entry SET owed = x'00'",
    "a lane it takes for JSONB": "UPDATE entry SET lane = x'00'",
    "a state there is none of": "UPDATE entry SET state = 77",
    "another recipient": "UPDATE message SET meta = replace(meta, 'b@example.org', 'c@example.org')",
    "another sender": "UPDATE message SET meta = replace(meta, 'broken', 'brokem')",
    "another prefix": "UPDATE message SET prefix = CAST(replace(CAST(prefix AS TEXT), 'test', 'tess') AS BLOB)",
    "another seal": "UPDATE message SET crc = crc + 4294967296",
    "a lane that is no UTF-8": "UPDATE entry SET lane = CAST(x'ff3a31' AS TEXT)",
}


@pytest.mark.parametrize("state", ["waiting", "leased"])
@pytest.mark.parametrize("what", DAMAGE)
async def test_G6_a_damaged_row_stops_no_other(hands: Hands, what: str, state: str) -> None:
    hands.lane = to_lane("a:1", ready=state == "leased")
    broken, sound = await hands.accept(sender="broken@example.com"), await hands.accept()
    key = "message" if "entry" in DAMAGE[what] else "id"
    await damage(hands, f"{DAMAGE[what]} WHERE {key} = ?", decode(broken.id))
    async with asyncio.timeout(5):
        assert [lease.entry.message.id for lease in await hands.claim()] == [sound.id]
        assert await hands.claim() == []
    for where in (Filter(), Filter(sender="*@*"), Filter(recipient="*"), Filter(provider="p")):
        found = await hands.spool.find(where, limit=5)
        assert (sound.id in {shown.id for shown in found.data}) == (not where.provider)
    acted = await hands.spool.act("hold", Filter(), hands.now)
    assert sound.id in acted.changed
    assert await hands.state(broken) is State.HELD


def pages(hands: Hands, name: str, kind: str) -> list[int]:
    """Numbers of the pages of a table or an index, in the order of their keys. The spool is not open."""
    with contextlib.closing(apsw.Connection(str(hands.path))) as connection:
        found = connection.execute(
            "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = ? ORDER BY path", (name, kind)
        )
        return [number for (number,) in found]


def spoil(hands: Hands, *numbers: int) -> None:
    with hands.path.open("r+b") as file:
        for number in numbers:
            file.seek((number - 1) * 4096)
            file.write(b"\xa5" * 4096)


async def many(hands: Hands, count: int = 120) -> list[Message]:
    """So many that each table has several pages; closed then."""
    hands.lane = to_lane("a:1", ready=False)
    made = [await hands.accept(data=b"x" * 1000 + b"\r\n") for _ in range(count)]
    await hands.spool.close()
    return made


@pytest.mark.parametrize("table", ["message", "entry"])
async def test_G6_a_search_that_meets_damaged_pages_shows_the_others(hands: Hands, table: str) -> None:
    made = await many(hands)
    numbers = pages(hands, table, "leaf")
    await hands.open()
    spoil(hands, numbers[1], numbers[-1])
    assert (await hands.spool.stats()).healthy or table == "entry"
    listed = {shown.id: shown.state for shown in (await hands.spool.find(Filter(), limit=500)).data}
    readable = [id for id, state in listed.items() if state is not State.HELD]
    assert 20 <= len(readable) < len(made)
    assert made[0].id in readable
    assert len(listed) == len(made) if table == "message" else len(listed) < len(made)
    stats = await hands.spool.stats()
    assert not stats.healthy and "is damaged" in stats.detail and "restore it from a backup" in stats.detail
    refused = hands.spool.admits(1)
    assert refused is not None and refused.code == 451
    with pytest.raises(StorageFailed, match="is damaged") if table == "entry" else contextlib.nullcontext():
        await hands.spool.act("hold", Filter(), hands.now, dry_run=True)
    await hands.spool.maintain(hands.now)


async def test_G6_damaged_pages_of_bodies_are_told_and_the_others_are_sent(hands: Hands) -> None:
    made = await many(hands)
    numbers = pages(hands, "message", "leaf")
    await hands.open()
    leases = await hands.claim()
    assert len(leases) == len(made)
    spoil(hands, numbers[1])
    bodies = [await hands.spool.body(lease.entry.message.id) for lease in leases]
    assert 100 < len([body for body in bodies if body is not None]) < len(made)
    assert not (await hands.spool.stats()).healthy
    assert len([event for event in hands.events if isinstance(event, SpoolFailed)]) == 1


async def test_G6_what_cannot_be_recorded_is_the_last_that_is_sent(hands: Hands) -> None:
    await many(hands)
    roots = pages(hands, "history_ended", "leaf")
    await hands.open()
    spoil(hands, *roots)
    leases = await hands.claim(Appetite(total=10))
    assert len(leases) == 10
    assert await hands.settle(delivered(leases[0])) == set()
    assert not hands.spool.can_settle()
    assert await hands.claim() == []
    assert not (await hands.spool.stats()).healthy


async def test_G6_what_could_not_be_recorded_is_not_sent_again_at_every_start(hands: Hands) -> None:
    """A supervisor that restarts what is not healthy would send the same mail again for ever."""
    await many(hands)
    whole = hands.path.read_bytes()
    spoil(hands, *pages(hands, "history_ended", "leaf"))
    await hands.open()
    await hands.settle(delivered((await hands.claim(Appetite(total=1)))[0]))
    await hands.spool.close()
    for _ in range(2):
        with pytest.raises(SpoolError, match=r"is damaged .*restore it from a backup or move it away"):
            await hands.open()
    hands.path.write_bytes(whole)
    await hands.open()
    assert len(await hands.claim()) == 120
    await hands.reopen()


async def test_G6_a_body_of_another_type_costs_no_other_its_body(hands: Hands) -> None:
    await hands.reopen(SpoolLimits(cache=0))
    broken, sound = await hands.accept(), await hands.accept()
    await damage(hands, "UPDATE message SET body = 'text' WHERE id = ?", decode(broken.id))
    async with asyncio.timeout(5):
        bodies = await asyncio.gather(hands.spool.body(broken.id), hands.spool.body(sound.id))
    assert bodies[0] is None and bodies[1] is not None


@pytest.mark.parametrize(
    "change", ["crc = 'text'", "crc = CAST(x'ff' AS TEXT)", "body = CAST(x'ff' AS TEXT)", "size = 'x'"]
)
async def test_G6_a_column_of_another_type_costs_no_other_its_body(hands: Hands, change: str) -> None:
    await hands.reopen(SpoolLimits(cache=0))
    broken, sound = await hands.accept(), await hands.accept()
    await damage(hands, f"UPDATE message SET {change} WHERE id = ?", decode(broken.id))
    async with asyncio.timeout(5):
        bodies = await asyncio.gather(hands.spool.body(broken.id), hands.spool.body(sound.id))
    assert bodies[0] is None and bodies[1] is not None


NO_NUMBERS = ("'large'", "x'ff'", "0.5", "-1", "9e999", "1 << 40")


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("column", ["size", "received_at", "expires_at"])
async def test_G6_acting_on_a_message_with_a_number_that_is_none_comes_to_an_end(
    hands: Hands, column: str, value: str
) -> None:
    broken, sound = await hands.accept(), await hands.accept()
    await damage(hands, f"UPDATE message SET {column} = {value} WHERE id = ?", decode(broken.id))
    async with asyncio.timeout(5):
        acted = await hands.spool.act("cancel", Filter(), hands.now)
        shown = await hands.spool.show(broken.id)
    assert sound.id in acted.changed
    assert shown is not None and type(shown.size) is int and 0 <= shown.received_at < 1e11


@pytest.mark.parametrize("value", ["''", "x'ff'", "CAST(x'ff' AS TEXT)", "9e999", "-9e999"])
@pytest.mark.parametrize("column", ["entry.due_at", "entry.deadline", "entry.lane", "message.received_at"])
async def test_G6_a_queue_of_nothing_but_damage_opens(hands: Hands, column: str, value: str) -> None:
    """Where it is alone a damaged value is also the smallest, the first and the oldest."""
    hands.lane = to_lane("a:1", ready=False)
    broken = await hands.accept()
    table, _, name = column.partition(".")
    await damage(hands, f"UPDATE {table} SET {name} = {value}")
    async with asyncio.timeout(5):
        sound = await hands.accept()
        assert sound.id in {lease.entry.message.id for lease in await hands.claim()}
        stats = await hands.spool.stats()
        assert stats.oldest is not None and 0 <= stats.oldest < 1e11
        await hands.spool.maintain(hands.now)
    assert await hands.state(broken) in (State.HELD, State.SENDING)


@pytest.mark.parametrize("column", ["due_at", "deadline"])
async def test_G6_a_time_that_breaks_while_the_relay_runs_stops_no_lane(hands: Hands, column: str) -> None:
    hands.lane = to_lane("a:1", ready=False)
    broken, sound = await hands.accept(), await hands.accept()
    with apsw.Connection(str(hands.path)) as other:
        other.execute(f"UPDATE entry SET {column} = 'x' WHERE message = ?", (decode(broken.id),))
    assert [lease.entry.message.id for lease in await hands.claim()] == [sound.id]
    assert await hands.claim() == []
    assert await hands.state(broken) is State.HELD


@pytest.mark.parametrize("size", ["size + (1 << 40)", "-1 << 40", "0.5", "'x'"])
async def test_G6_a_size_that_none_had_fills_no_spool(hands: Hands, size: str) -> None:
    hands.lane = to_lane("a:1", ready=False)
    broken, sound = await hands.accept(), await hands.accept()
    await damage(hands, f"UPDATE message SET size = {size} WHERE id = ?", decode(broken.id))
    assert hands.spool.admits(1) is None
    assert (await hands.spool.stats()).live_bytes == sound.size


async def test_G5_a_disk_that_gives_nothing_back_is_told(disk: Disk, hands: Hands) -> None:
    """People, /readyz and upkeep were told of an internal error, new mail went on being promised."""
    made = await many(hands)
    await hands.open()
    disk.unreadable = True
    try:
        stats = await hands.spool.stats()
        for look in (hands.spool.find(Filter(), limit=5), hands.spool.show(made[60].id)):
            with pytest.raises(StorageFailed, match=r"cannot be used .* check the disk"):
                await look
        await hands.spool.maintain(hands.now)
    finally:
        disk.unreadable = False
    assert not stats.healthy and "check the disk" in stats.detail
    refused = hands.spool.admits(1)
    assert refused is not None and refused.code == 451
    assert len([event for event in hands.events if isinstance(event, SpoolFailed)]) == 1


@pytest.mark.parametrize("value", ["'x'", "0.5", "-1", "77"])
async def test_G6_a_state_there_is_none_of_is_counted_and_told_as_one_there_is(hands: Hands, value: str) -> None:
    """In the record of a message that ended, and of a recipient of one that goes on."""
    hands.lane = each_to_its_own
    gone, partly = await hands.accept(), await hands.accept("a@x", "b@x")
    leases = {lease.entry.message.id + lease.entry.owed.recipients[0].address: lease for lease in await hands.claim()}
    await hands.settle(delivered(leases[gone.id + "b@example.org"]), delivered(leases[partly.id + "a@x"]))
    await damage(hands, f"UPDATE history SET state = {value}")
    await damage(hands, f"UPDATE past SET state = {value}")
    async with asyncio.timeout(5):
        counted = (await hands.spool.stats()).states
        assert sum(counted.values()) == 2 and set(counted) <= {state.value for state in State}
        assert await hands.settle(delivered(await hands.one()))
    ended = [event.state for event in hands.events if isinstance(event, MessageEnded)]
    assert len(ended) == 2 and all(isinstance(state, State) for state in ended)


@pytest.mark.parametrize("value", ["CAST(x'ff' AS TEXT)", "x'ff'", "'many'", "0.5", "9e999"])
@pytest.mark.parametrize("place", ["reservation.provider", "reservation.amount", "counter.amount"])
async def test_G6_a_damaged_quota_stops_nothing_and_the_others_count(hands: Hands, place: str, value: str) -> None:
    for number, provider in enumerate(("broken", "sound")):
        wanted = Reservation(id=number, provider=provider, amount=2, at=hands.now, periods=("day:2026-11-21",))
        assert await hands.spool.reserve([wanted])
    table, _, column = place.partition(".")
    await damage(hands, f"UPDATE {table} SET {column} = {value} WHERE provider = 'broken'")
    used = {usage.provider: usage for usage in await hands.spool.usage(hands.now)}
    assert used["sound"].minute == ((hands.now, 2),)
    assert used["sound"].periods == {"day:2026-11-21": 2}
    await hands.spool.maintain(hands.now)
