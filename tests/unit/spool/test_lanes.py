"""The map of waiting lanes: in turn, within room, never later than it is."""

from __future__ import annotations

from relay.spool.lanes import NEVER, Lanes


def lanes(*due: tuple[str, float]) -> Lanes:
    made = Lanes()
    for lane, due_at in due:
        made.add(lane, due_at, NEVER)
    return made


def test_only_lanes_that_are_due_are_picked() -> None:
    made = lanes(("a:1", 10), ("a:2", 20), ("b:1", 30))
    assert made.pick(10, {}, 9) == {}
    assert set(made.pick(10, {}, 20)) == {"a:1", "a:2"}


def test_what_is_wanted_is_spread_over_lanes() -> None:
    made = lanes(("a:1", 1), ("a:2", 1), ("b:1", 1))
    assert made.pick(7, {}, 1) == {"a:1": 3, "b:1": 2, "a:2": 2}


def test_room_bounds_a_route_key_over_its_lanes() -> None:
    made = lanes(("a:1", 1), ("a:2", 1), ("b:1", 1), ("c:1", 1))
    picked = made.pick(100, {"a": 3, "b": 0}, 1)
    assert picked["a:1"] + picked["a:2"] == 3
    assert "b:1" not in picked
    assert picked["c:1"] == 97


def test_lanes_take_turns_from_call_to_call() -> None:
    made = lanes(*[(f"a:{n}", 1) for n in range(5)], *[(f"b:{n}", 1) for n in range(2)])
    seen = [next(iter(made.pick(1, {}, 1))) for _ in range(8)]
    assert {lane for lane in seen if lane.startswith("b")} == {"b:0", "b:1"}
    assert len(set(seen[::2] + seen[1::2])) >= 6


def test_nothing_is_picked_for_nobody() -> None:
    assert lanes(("a:1", 1)).pick(0, {}, 1) == {}


def test_a_lane_that_is_empty_is_forgotten() -> None:
    made = lanes(("a:1", 1))
    assert made.busy("a:1", 1)
    made.pick(1, {}, 1)
    made.refresh("a:1", NEVER)
    assert not made.busy("a:1", 1e9)
    assert made.pick(1, {}, 1e9) == {}


def test_a_lane_comes_back_when_it_is_next_due() -> None:
    made = lanes(("a:1", 1))
    made.pick(1, {}, 1)
    made.refresh("a:1", 50)
    assert made.pick(1, {}, 49) == {}
    assert made.next_due(2) == 50
    assert made.pick(1, {}, 50) == {"a:1": 1}


def test_an_earlier_entry_makes_the_lane_due_earlier() -> None:
    made = lanes(("a:1", 100))
    made.add("a:1", 5, NEVER)
    assert made.pick(1, {}, 5) == {"a:1": 1}


def test_deadlines_count_as_due() -> None:
    made = lanes(("a:1", 100))
    made.add("a:1", 200, 30)
    assert (made.deadline, made.next_due(1)) == (30, 30)


def test_a_deadline_that_is_over_is_not_yet_to_come() -> None:
    made = lanes(("a:1", 100))
    made.add("a:1", 200, 30)
    assert made.next_due(30) == 100


def test_picking_costs_what_is_picked_not_what_waits() -> None:
    made = lanes(*[(f"dead:{n}", 1) for n in range(100_000)], ("live:1", 1))
    made.pick(1, {"dead": 0}, 1)
    assert made.pick(5, {"dead": 0}, 1) == {"live:1": 5}
