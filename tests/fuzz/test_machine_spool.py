"""State machine: the spool on disk does what the one in memory does, also over crashes; nobody is in two states.

A crash is a copy of the files as they lie, opened by a new spool. MemorySpool is the executable specification.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from fuzz.queues import MEMORY
from fuzz.walking import walk
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from msgspec.structs import replace

from relay.model import (
    ENDED,
    Appetite,
    Body,
    Ended,
    Envelope,
    Lease,
    Message,
    MessageId,
    Owed,
    Recipient,
    Settlement,
    Source,
    State,
    Submission,
)
from relay.ports import Filter, MessageView
from tests.contract.spools import PLENTY, Hands, each_to_its_own, to_lane

PLACES = {
    "together": to_lane("a:1"),
    "apart": each_to_its_own,
    "captured": to_lane("a:1", state=State.CAPTURED, ready=False),
    "not at once": to_lane("b:2", ready=False),
}
FATES = st.sampled_from(["accepted", "failed", "again", "later", "held"])
Key = tuple[MessageId, tuple[str, ...]]


class TwoSpools(RuleBasedStateMachine):
    """The same is done to both. `leases`: by message and recipients, of each spool."""

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY))
        self.copies = 0
        self.memory, self.disk = Hands("memory", self.folder), Hands("sqlite", self.folder / "0")
        self.both = (self.memory, self.disk)
        self.leases: list[dict[Key, Lease]] = [{}, {}]
        self.accepted: dict[MessageId, set[str]] = {}
        self.disk.path.parent.mkdir(parents=True)
        self.set_aside()
        for hands in self.both:
            self.do(hands.open())

    def set_aside(self) -> None:
        """An empty reserve: making a full one takes longer than everything else here."""
        self.disk.path.with_name("spool.db.reserve").touch()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 20))

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            for hands in self.both:
                self.do(hands.spool.close())
            self.do(self.loop.shutdown_default_executor())
            self.loop.close()
            shutil.rmtree(self.folder)

    @rule(many=st.integers(1, 3), place=st.sampled_from(sorted(PLACES)))
    def accept(self, many: int, place: str) -> None:
        addresses = [f"{n}@x" for n in range(many)]
        message = self.message(addresses)
        for hands in self.both:
            hands.lane = PLACES[place]
            assert self.do(hands.spool.accept([Submission(message=message, body=Body(size=4, data=b"hi\r\n"))])) is None
        self.accepted[message.id] = set(addresses)

    def message(self, addresses: list[str]) -> Message:
        return Message(
            id=self.disk.spool.new_id(self.disk.now),
            envelope=Envelope(sender="a@x", recipients=tuple(Recipient(address=each) for each in addresses)),
            prefix=b"",
            size=4,
            source=Source(kind="smtp"),
            received_at=self.disk.now,
            expires_at=self.disk.now + 5 * 86400,
        )

    @rule(room=st.sampled_from([{}, {"a": 0}, {"b": 0}]))
    def claim(self, room: dict[str, int]) -> None:
        """In both the same becomes leased, if there is room for all; in which order is the contract suite's."""
        appetite = replace(PLENTY, room=room)
        found = []
        for hands, leases in zip(self.both, self.leases, strict=True):
            new = {key(lease): lease for lease in self.do(hands.claim(appetite))}
            assert not set(new) & set(leases), "leased twice"
            leases.update(new)
            found.append(new)
        assert set(found[0]) == set(found[1])
        for one, other in zip(*(sorted(new.items()) for new in found), strict=True):
            assert one[1].entry.owed == other[1].entry.owed

    @rule(total=st.integers(0, 2))
    def claim_some(self, total: int) -> None:
        """What the disk gives is asked of memory by claiming all and giving the others back."""
        new = {key(lease): lease for lease in self.do(self.disk.claim(Appetite(total=total)))}
        assert len(new) <= total and not set(new) & set(self.leases[1])
        mine = {key(lease): lease for lease in self.do(self.memory.claim())}
        assert set(new) <= set(mine), "the disk leases what is not due"
        assert len(new) == min(total, len(mine)), "the disk keeps back what is due"
        for name in set(mine) - set(new):
            self.do(self.memory.settle(Settlement(token=mine[name].token, remainders=(mine[name].entry.owed,))))
        self.leases[0].update({name: mine[name] for name in new})
        self.leases[1].update(new)

    @precondition(lambda self: self.leases[0])
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.leases[0])))
        fates = {address: data.draw(FATES) for address in name[1]}
        for hands, leases in zip(self.both, self.leases, strict=True):
            lease = leases.pop(name)
            assert self.do(hands.settle(settlement(lease, fates, hands.now))) == {lease.token}
            assert self.do(hands.settle(settlement(lease, fates, hands.now))) == set(), "settled twice"

    @precondition(lambda self: self.accepted)
    @rule(action=st.sampled_from(["hold", "release", "retry", "reroute", "cancel"]), data=st.data())
    def act(self, action: str, data: st.DataObject) -> None:
        where = Filter(id=data.draw(st.sampled_from(sorted(self.accepted))))
        one, other = (self.do(hands.spool.act(action, where, hands.now, provider="p")) for hands in self.both)
        assert (one.changed, set(one.skipped)) == (other.changed, set(other.skipped))

    @rule(seconds=st.sampled_from([1, 10, 60]))
    def later(self, seconds: int) -> None:
        for hands in self.both:
            hands.now += seconds
            self.do(hands.spool.maintain(hands.now))

    @rule(clean=st.booleans())
    def restart(self, clean: bool) -> None:
        """Every lease is void: who was being sent to is owed again, now."""
        self.copies += 1
        old, path = self.disk.spool, self.disk.path
        if clean:
            self.do(old.close())
        self.disk.path = self.folder / str(self.copies) / "spool" / "spool.db"
        shutil.copytree(path.parent, self.disk.path.parent, ignore=shutil.ignore_patterns("*-shm", "*.lock"))
        if not clean:
            self.do(old.close())
        self.do(self.disk.open())
        for lease in self.leases[0].values():
            owed = lease.entry.owed
            again = replace(owed, due_at=min(owed.due_at, self.memory.now))
            self.do(self.memory.settle(Settlement(token=lease.token, remainders=(again,))))
        self.leases = [{}, {}]

    @invariant()
    def everybody_is_in_exactly_one_state(self) -> None:
        if not hasattr(self, "both"):
            return
        one, other = (self.shown(hands) for hands in self.both)
        assert one == other
        assert {message: set(states) for message, states in other.items()} == self.accepted
        assert len({self.do(hands.spool.stats()).live_bytes for hands in self.both}) == 1

    def shown(self, hands: Hands) -> dict[MessageId, dict[str, State]]:
        page = self.do(hands.spool.find(Filter(ended=True), limit=1000))
        return {view.id: states(view) for view in page.data}


def states(view: MessageView) -> dict[str, State]:
    addresses = [recipient.address for recipient in view.recipients]
    assert len(set(addresses)) == len(addresses), "shown twice"
    assert (view.ended_at is not None) == all(recipient.state in ENDED for recipient in view.recipients)
    return {recipient.address: recipient.state for recipient in view.recipients}


def key(lease: Lease) -> Key:
    return lease.entry.message.id, tuple(recipient.address for recipient in lease.entry.owed.recipients)


def settlement(lease: Lease, fates: dict[str, str], now: float) -> Settlement:
    ended: list[Ended] = []
    remainders: list[Owed] = []
    for recipient in lease.entry.owed.recipients:
        fate = fates[recipient.address]
        if fate in ("accepted", "failed"):
            ended.append(Ended(recipient=recipient, state=State(fate)))
            continue
        state = {"again": State.QUEUED, "later": State.DEFERRED, "held": State.HELD}[fate]
        due_at, tries = now + (30 if fate == "later" else 0), lease.entry.owed.tries + (fate == "later")
        changed = replace(lease.entry.owed, recipients=(recipient,), state=state, due_at=due_at, tries=tries)
        remainders.append(changed)
    return Settlement(token=lease.token, ended=tuple(ended), remainders=tuple(remainders))


def test_the_spool_on_disk_is_the_one_in_memory() -> None:
    walk(TwoSpools, walks=30, steps=25)
