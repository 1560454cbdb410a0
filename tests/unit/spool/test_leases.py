"""Leases nobody has taken: lanes in turn, within room, overdue ones first."""

from __future__ import annotations

from relay.model import Envelope, Lease, Message, MessageId, Owed, QueueEntry, Source
from relay.spool.leases import Held, Ready

MESSAGE = Message(
    id=MessageId("0" * 13),
    envelope=Envelope(sender="", recipients=()),
    prefix=b"",
    size=0,
    source=Source(kind="smtp"),
    received_at=0.0,
    expires_at=0.0,
)


def held(token: int, lane: str, since: float = 0.0, *, overdue: bool = False) -> Held:
    lease = Lease(token=token, entry=QueueEntry(id=0, message=MESSAGE, owed=Owed(recipients=(), lane=lane)))
    made = Held(lease, token, 0, since, alone=True, file=False)
    made.overdue = overdue
    return made


def ready(*lanes: str) -> Ready:
    made = Ready()
    for token, lane in enumerate(lanes):
        made.put(held(token, lane))
    return made


def tokens(taken: list[Held]) -> list[int]:
    return [each.lease.token for each in taken]


def test_a_lane_is_first_in_first_out() -> None:
    assert tokens(ready("a:1", "a:1", "a:1").take(2, {})) == [0, 1]


def test_lanes_and_route_keys_take_turns() -> None:
    made = ready("a:1", "a:1", "a:2", "b:1", "b:1")
    assert tokens(made.take(5, {})) == [0, 3, 2, 4, 1]
    assert len(made) == 0


def test_room_is_kept() -> None:
    made = ready("a:1", "a:2", "b:1", "b:1", "c:1")
    assert made.available(10, {"a": 0, "b": 1}) == 2
    assert tokens(made.take(10, {"a": 0, "b": 1})) == [2, 4]
    assert made.count("a") == 2 and made.count("b") == 1


def test_overdue_ones_go_whatever_the_room() -> None:
    made = ready("a:1")
    made.put(held(9, "a:1", overdue=True))
    assert tokens(made.take(0, {"a": 0})) == [9]
    assert len(made) == 1


def test_old_ones_are_drained_and_young_ones_stay() -> None:
    made = Ready()
    made.put(held(1, "a:1", 10))
    made.put(held(2, "a:1", 20))
    assert tokens(made.drain(15)) == [1]
    assert [each.lease.token for each in made] == [2]
    assert tokens(made.take(5, {})) == [2]
