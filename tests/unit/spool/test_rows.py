"""What is written in the database comes back as it was, and what is damaged is seen."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from relay.model import (
    Body,
    Ended,
    Envelope,
    Labels,
    Message,
    MessageId,
    Owed,
    Recipient,
    Rewrite,
    Source,
    State,
    Submission,
    TimelineEvent,
)
from relay.spool import rows
from relay.spool.views import Gone

TEXT = st.text(max_size=20)
TIMES = st.floats(0, 4e9)
RECIPIENTS = st.lists(
    st.builds(Recipient, address=TEXT, notify=TEXT, orcpt=TEXT), min_size=1, max_size=5, unique_by=lambda r: r.address
).map(tuple)
MESSAGES = st.builds(
    Message,
    id=st.just(MessageId("0cmfxxv008yf8")),
    envelope=st.builds(
        Envelope, sender=TEXT, recipients=RECIPIENTS, eight_bit=st.booleans(), utf8=st.booleans(), ret=TEXT, envid=TEXT
    ),
    prefix=st.binary(max_size=20),
    size=st.integers(0, 1 << 40),
    source=st.builds(Source, kind=TEXT, listener=TEXT, client=TEXT, user=TEXT),
    received_at=TIMES,
    expires_at=TIMES,
    labels=st.none()
    | st.builds(Labels, tags=st.lists(TEXT, max_size=3).map(tuple), metadata=st.dictionaries(TEXT, TEXT, max_size=2)),
    identity=st.none() | st.builds(Rewrite, envelope_from=TEXT, header_from=TEXT, reply_to=TEXT),
    via=st.just("") | TEXT,
)
NAMES = st.lists(TEXT, max_size=3).map(tuple)
EVENTS = st.builds(
    TimelineEvent,
    at=TIMES,
    kind=TEXT,
    provider=TEXT,
    recipients=NAMES,
    detail=TEXT,
    conversation=NAMES,
    rule=st.none() | st.integers(-1, 9),
    rewrite=st.none() | st.builds(Rewrite, envelope_from=TEXT, header_from=TEXT, reply_to=TEXT),
)


@given(MESSAGES)
def test_a_message_comes_back(message: Message) -> None:
    again = rows.message(
        message.id, rows.meta(message), message.size, message.received_at, message.expires_at, message.prefix
    )
    assert again == message


def test_a_message_without_labels_and_identity_is_written_as_ever() -> None:
    old = '["a@x",[["b@x"]],0,"","","smtp","internal","127.0.0.1","crm"]'
    message = rows.message(MessageId("0cmfxxv008yf8"), old, 1, 1.0, 2.0, b"")
    assert (message.labels, message.identity, message.via) == (None, None, "")
    assert rows.meta(message) == old


@given(MESSAGES, st.data())
def test_a_debt_comes_back(message: Message, data: st.DataObject) -> None:
    everybody = message.envelope.recipients
    owed = data.draw(
        st.builds(
            Owed,
            recipients=st.lists(st.sampled_from(everybody), min_size=1, unique=True).map(tuple),
            lane=TEXT,
            state=st.sampled_from(State),
            tries=st.integers(0, 99),
            since=TIMES,
            due_at=TIMES,
            deadline=TIMES,
            avoid=NAMES,
            refused=NAMES,
            pin=TEXT,
            reason=TEXT,
            warned=st.booleans(),
            crashes=st.integers(0, 3),
            begun=st.just(0.0) | TIMES,
        )
    )
    text = rows.details(owed, everybody)
    assert rows.owed(text, owed.lane, owed.state, owed.due_at, owed.deadline, everybody) == owed


def test_a_fresh_debt_costs_nothing() -> None:
    everybody = (Recipient(address="b@x"),)
    assert rows.details(Owed(recipients=everybody, lane="a:1", since=5.0, due_at=5.0, deadline=9.0), everybody) == "{}"


def test_a_debt_written_before_a_field_was_invented_is_read() -> None:
    everybody = (Recipient(address="b@x"),)
    assert rows.owed('{"tries":2}', "a:1", State.QUEUED, 1.0, 2.0, everybody).avoid == ()


@given(st.lists(EVENTS, max_size=3))
def test_the_past_comes_back(events: list[TimelineEvent]) -> None:
    ended = Ended(recipient=Recipient(address="b@x"), state=State.FAILED, provider="p", reply='550 "no"')
    change = rows.done(7, 1, 5.0, [ended], events, 3)
    assert rows.past(f"[{change.owed}]") == [Gone(ended=ended, tries=3), *events]
    assert change.state == 7
    for event in events:
        assert rows.past(f"[{rows.note(7, event).owed}]") == [event]


def test_an_event_written_before_a_field_was_invented_is_read() -> None:
    [event] = rows.past('[[1,"p",5.0,"attempt",["b@x"],"accepted: 250 Ok"]]')
    assert event == TimelineEvent(
        at=5.0, kind="attempt", provider="p", recipients=("b@x",), detail="accepted: 250 Ok", conversation=(), rule=None
    )


def test_a_new_message_is_one_row_and_one_more_for_each_further_entry() -> None:
    everybody = (Recipient(address="b@x"), Recipient(address="c@x"))
    message = Message(
        id=MessageId("0cmfxxv008yf8"),
        envelope=Envelope(sender="a@x", recipients=everybody),
        prefix=b"R: x\r\n",
        size=10,
        source=Source(kind="smtp"),
        received_at=1.0,
        expires_at=2.0,
    )
    owed = Owed(recipients=everybody[:1], lane="a:1", due_at=1.0, since=1.0)
    other = replace(owed, recipients=everybody[1:], state=State.SCHEDULED)
    submission = Submission(message=message, body=Body(size=4, data=b"hi\r\n"))
    debts = [rows.Debt(owed=owed, leased=True), rows.Debt(owed=other)]
    first, second = rows.arrival(7, submission, debts)
    assert (first.state, first.waiting, first.body, json.loads(first.owed or "")["to"]) == (1, 0, b"hi\r\n", [0])
    assert (second.state, second.waiting, second.body, json.loads(second.owed or "")["to"]) == (3, True, None, [1])


@pytest.mark.parametrize("bit", range(8))
def test_G6_every_flipped_bit_of_a_debt_is_seen(bit: int) -> None:
    everybody = tuple(Recipient(address=f"{n}@x") for n in range(3))
    owed = Owed(
        recipients=everybody[:2], lane="a:1", since=1.0, due_at=2.0, deadline=9.0, tries=2, reason="450 not now"
    )
    text = rows.details(owed, everybody).encode()
    for place in range(len(text)):
        flipped = bytearray(text)
        flipped[place] ^= 1 << bit
        with pytest.raises((ValueError, TypeError, LookupError)):
            rows.owed(flipped.decode("utf-8", "surrogateescape"), "a:1", State.DEFERRED, 2.0, 9.0, everybody)


EXTRA = '["a",[["b"]],0,"","","","","","",%s]'


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "[1,2,3]", '["a",[["b"]],0]', '["a",7,0,"","","","","",""]']
    + [EXTRA % extra for extra in ("7", "[[1],{}]", '[["t"],{"k":1}]', "[[]]", "null,7", 'null,["a","b"]')]
    + [EXTRA % "null,null,null"],
)
def test_G6_a_damaged_row_is_seen(text: str) -> None:
    with pytest.raises((ValueError, TypeError, LookupError)):
        rows.message(MessageId("0cmfxxv008yf8"), text, 1, 1.0, 1.0, b"")
