"""What mail is found by: what its sender wrote on it, and part of what people see of it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from relay.model import Labels, Message, Rewrite, State
from relay.ports import Filter
from tests.contract.spools import Hands, delivered, to_lane

LABELS = Labels(tags=("Invoice", "über 100%", 'a "b" \\c'), metadata={"order": "17", "": "ü\n"})
IDENTITY = Rewrite(envelope_from="bounce@x", header_from="Billing <b@x>", reply_to="help@x")


async def labelled(
    hands: Hands,
    labels: Labels | None,
    *recipients: str,
    identity: Rewrite | None = None,
    sender: str = "app@x.org",
) -> Message:
    submission = hands.submission(*recipients, sender=sender)
    message = replace(submission.message, labels=labels, identity=identity)
    assert await hands.spool.accept([replace(submission, message=message)]) is None
    return message


@pytest.mark.parametrize("labels", [None, Labels(), Labels(tags=("a",)), Labels(metadata={"k": "v"}), LABELS])
@pytest.mark.parametrize("identity", [None, IDENTITY])
async def test_what_a_sender_wrote_on_it_stays_with_it(
    hands: Hands, labels: Labels | None, identity: Rewrite | None
) -> None:
    hands.lane = to_lane("a:1", ready=False)
    message = await labelled(hands, labels, identity=identity)
    await hands.reopen()
    if hands.kind == "memory":
        message = await labelled(hands, labels, identity=identity)
    lease = await hands.one()
    assert lease.entry.message == message
    for ended in (False, True):
        if ended:
            await hands.settle(delivered(lease))
        shown = await hands.spool.show(message.id)
        (listed,) = (await hands.spool.find(Filter(ended=True), limit=5)).data
        assert shown is not None and shown.labels == listed.labels == labels
        assert shown.state is (State.ACCEPTED if ended else State.SENDING)


@pytest.mark.parametrize("ended", [False, True])
async def test_filters_by_tag_and_text(hands: Hands, ended: bool) -> None:
    one = await labelled(hands, LABELS, "Bob@Example.org", "carol_@example.net")
    two = await labelled(hands, Labels(tags=("invoice", "100")), "dave@example.com", sender="")
    three = await labelled(hands, None, "erin@ÄRGER.example", sender="caro1x@y.example")
    if ended:
        await hands.settle(*[delivered(lease) for lease in await hands.claim()])
    names = {one.id: "one", two.id: "two", three.id: "three"}

    async def found(**where: str) -> list[str]:
        page = await hands.spool.find(Filter(ended=True, **where), limit=9)  # type: ignore[arg-type]
        return [names[shown.id] for shown in page.data]

    assert await found(tag="Invoice") == ["one"]
    assert await found(tag="invoice") == ["two"]
    assert await found(tag="Invoic") == await found(tag="invoice\n") == []
    assert await found(tag="über 100%") == await found(tag='a "b" \\c') == ["one"]
    assert await found(text="INVOICE") == ["one", "two"]
    assert await found(text="bob@example") == await found(text="B@eXample.ORG") == ["one"]
    assert await found(text="@") == ["one", "two", "three"]
    assert await found(text="app@x") == ["one"]
    assert await found(text="100%") == await found(text="%") == ["one"]
    assert await found(text="carol_") == await found(text="_") == ["one"]
    assert await found(text="b*b") == await found(text="b[o]b") == await found(text="b?b") == []
    assert await found(text='"b" \\C') == ["one"]
    assert await found(text="ÜBER") == ["one"]
    assert await found(text="ärger") == ["three"]
    assert await found(text=three.id) == await found(text=three.id.upper()) == ["three"]
    assert "two" in await found(text=two.id[5:])
    assert await found(text="order") == await found(text="17") == [], "what is written beside is shown, not searched"
    assert await found(text="smtp internal") == []
    assert await found(text="invoice", recipient="dave@*") == ["two"]
    assert await found(text="x" * 5000) == []


async def test_pages_of_what_is_found_follow_each_other(hands: Hands) -> None:
    wanted = [await labelled(hands, Labels(tags=("t",)) if n % 3 == 0 else None) for n in range(12)][::3]
    pages, after, more = [], "", True
    while more:
        page = await hands.spool.find(Filter(tag="t"), limit=2, after=after)
        pages.append([shown.id for shown in page.data])
        after, more = page.data[-1].id, page.has_more
    assert pages == [[m.id for m in wanted[:2]], [m.id for m in wanted[2:]]]


async def test_an_action_takes_what_is_found(hands: Hands) -> None:
    hands.lane = to_lane("a:1", ready=False)
    one = await labelled(hands, LABELS)
    two = await labelled(hands, None, "bob@example.org")
    assert (await hands.spool.act("hold", Filter(tag="Invoice"), hands.now)).changed == (one.id,)
    assert (await hands.spool.act("hold", Filter(text="BOB@"), hands.now, dry_run=True)).changed == (two.id,)
    assert (await hands.spool.act("cancel", Filter(text="nobody"), hands.now)).changed == ()
