"""Property: whatever is accepted, claimed, settled, acted on and restarted, every recipient is in exactly one place.

Handed over, failed for good, or still owed; on both spools."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from relay.model import ENDED, Appetite, Ended, Lease, Settlement, State
from relay.ports import Filter
from tests.contract.spools import Hands, each_to_its_own, to_lane

PLACEMENTS = {
    "together": to_lane("a:1"),
    "apart": each_to_its_own,
    "captured": to_lane("a:1", state=State.CAPTURED),
    "parked": to_lane("b:2", ready=False),
}
FATES = st.sampled_from(["accepted", "failed", "again", "later", "held"])


class Queue(RuleBasedStateMachine):
    """A spool, and beside it a ledger of who was accepted and what became of whom."""

    kind = "memory"

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.hands = Hands(self.kind, Path(self.folder.name))
        self.accepted: dict[str, set[str]] = {}
        self.gone: dict[tuple[str, str], State] = {}
        self.leases: dict[int, Lease] = {}
        self.do(self.hands.open())

    def do(self, work):  # type: ignore[no-untyped-def]
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.do(self.hands.spool.close())
            self.do(self.loop.shutdown_default_executor())
            self.loop.close()
            self.folder.cleanup()

    @rule(many=st.integers(1, 4), place=st.sampled_from(sorted(PLACEMENTS)))
    def accept(self, many: int, place: str) -> None:
        self.hands.lane = PLACEMENTS[place]
        addresses = [f"{n}@x" for n in range(many)]
        message = self.do(self.hands.accept(*addresses))
        self.accepted[message.id] = set(addresses)

    @rule(total=st.integers(0, 5), room=st.sampled_from([{}, {"a": 0}, {"b": 1}]))
    def claim(self, total: int, room: dict[str, int]) -> None:
        for lease in self.do(self.hands.claim(Appetite(total=total, room=room))):
            assert lease.token not in self.leases
            owners = {(old.entry.message.id, r) for old in self.leases.values() for r in old.entry.owed.recipients}
            assert not owners & {(lease.entry.message.id, r) for r in lease.entry.owed.recipients}
            self.leases[lease.token] = lease

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        lease = self.leases.pop(data.draw(st.sampled_from(sorted(self.leases))))
        owed, ended, remainders = lease.entry.owed, [], []
        for recipient in owed.recipients:
            fate = data.draw(FATES)
            if fate in ("accepted", "failed"):
                ended.append(Ended(recipient=recipient, state=State(fate)))
                self.gone[lease.entry.message.id, recipient.address] = State(fate)
            else:
                state = {"again": State.QUEUED, "later": State.DEFERRED, "held": State.HELD}[fate]
                due_at = self.hands.now + (30 if fate == "later" else 0)
                remainders.append(replace(owed, recipients=(recipient,), state=state, due_at=due_at))
        done = Settlement(token=lease.token, ended=tuple(ended), remainders=tuple(remainders))
        assert self.do(self.hands.settle(done)) == {lease.token}

    @rule(action=st.sampled_from(["hold", "release", "retry", "reroute", "cancel"]), data=st.data())
    def act(self, action: str, data: st.DataObject) -> None:
        where = Filter(id=data.draw(st.sampled_from(sorted(self.accepted)))) if self.accepted else Filter()
        self.do(self.hands.spool.act(action, where, self.hands.now, provider="p"))

    @rule(seconds=st.sampled_from([1, 10, 60]))
    def later(self, seconds: int) -> None:
        self.hands.now += seconds
        self.do(self.hands.spool.maintain(self.hands.now))

    @precondition(lambda self: self.kind == "sqlite")
    @rule()
    def restart(self) -> None:
        self.do(self.hands.reopen())
        self.leases.clear()

    @invariant()
    def everybody_is_in_one_place(self) -> None:
        if not hasattr(self, "hands"):
            return
        page = self.do(self.hands.spool.find(Filter(ended=True), limit=1000))
        shown = {message.id: message for message in page.data}
        assert set(shown) == set(self.accepted)
        for message, addresses in self.accepted.items():
            states = {recipient.address: recipient.state for recipient in shown[message].recipients}
            assert set(states) == addresses
            for address, state in states.items():
                expected = self.gone.get((message, address))
                assert state is expected or (expected is None and state not in ENDED - {State.CANCELLED})
            assert (shown[message].ended_at is not None) == all(state in ENDED for state in states.values())
        live = [m.size for m in shown.values() if m.ended_at is None]
        assert self.do(self.hands.spool.stats()).live_bytes == sum(live)


class SqliteQueue(Queue):
    kind = "sqlite"


@pytest.mark.parametrize("machine", [Queue, SqliteQueue])
def test_nobody_is_lost_doubled_or_invented(machine: type[Queue]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
