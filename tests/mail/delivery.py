"""Send samples through a running relay into the byte-keeping upstream, and judge each.

The tests of this folder call `deliver`. It holds nothing of what is right: `samples.fault` says that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clients import queued_id
from mail.samples import Sample, fault
from mail.wire import Client, Upstream, send_all, upstream
from relay_process import Relay, provider
from waiting import until

MAKE = Callable[..., Relay]
LIMIT = "40MiB"


def deliver(make: MAKE, samples: Sequence[Sample], *, connections: int = 8, line_endings: str = "normalize") -> None:
    """Every sample that nothing refuses goes out once, byte for byte; of the others nothing does."""
    assert len({sample.name for sample in samples}) == len(samples) > 0
    with upstream() as keeper:
        one = make(providers=[provider("keeper", keeper.port)])
        one.config["listeners"][0] |= {"max_message_size": LIMIT, "line_endings": line_endings}
        one.start()
        replies = send_all(lambda: Client(one.smtp_port), samples, connections)
        wrong = [f"{each.name}: {replies[each.name]}" for each in samples if not _answered(each, replies[each.name])]
        assert not wrong, wrong
        due = [sample for sample in samples if not sample.refused]
        until(lambda: len(keeper.kept) >= len(due), 120, f"{len(due)} mails went out")
        until(lambda: one.queue() == [], 30, "nothing waits")
        _judge(keeper, due, replies)


def _answered(sample: Sample, reply: str) -> bool:
    return reply.startswith(sample.refused or "250 2.0.0 Ok: queued as ")


def _judge(keeper: Upstream, due: Sequence[Sample], replies: dict[str, str]) -> None:
    assert set(keeper.kept) == {sample.recipient for sample in due}, "to each its mail, and none but these"
    faults: list[str] = []
    for sample in due:
        wires = keeper.kept[sample.recipient]
        assert len(wires) == 1, f"{sample.name} went out {len(wires)} times"
        if wrong := fault(sample, wires[0], queued_id(replies[sample.name])):
            faults.append(f"{sample.name}: {wrong}")
    assert not faults, "\n".join(faults)
