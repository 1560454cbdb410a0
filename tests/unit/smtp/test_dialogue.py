"""The client conversation as bytes in, bytes out."""

from __future__ import annotations

import pytest

from relay.model import Phase, Provider, Recipient, Reply
from relay.smtp.dialogue import Dialogue
from relay.smtp.offer import Offer, obstacle, read_offer
from relay.smtp.transaction import Step, Transaction
from relay.testing.mail import shipment_to

PROVIDER = Provider(name="p", host="mx.example", port=25)
FULL = Offer(pipelining=True, eight_bit=True, utf8=True, dsn=True, size=1000)
PLAIN = Offer(pipelining=True)
RECIPIENTS = ("b@x.example", "c@x.example", "d@x.example")


def dialogue(offer: Offer = PLAIN, *, pipelining: bool = True) -> Dialogue:
    return Dialogue(offer, pipelining=pipelining)


def said(talk: Dialogue) -> bytes:
    out = b"".join(talk.out)
    talk.out.clear()
    return out


def fates(transaction: Transaction) -> list[tuple[str, str, int, bool]]:
    return [
        (result.recipient.address[0], result.phase.value, result.reply.code if result.reply else 0, result.uncertain)
        for result in transaction.results()
    ]


def send_body(talk: Dialogue) -> bytes:
    assert talk.due is not None
    talk.out.append(b"Subject: x\r\n\r\n")
    talk.body_written()
    return said(talk)


def to_dot(talk: Dialogue, *recipients: str, replies: bytes = b"") -> Transaction:
    """Begin a transaction and bring it to where its dot waits for a reply."""
    transaction = talk.begin(shipment_to(PROVIDER, *recipients), 5)
    said(talk)
    talk.receive(replies or b"250 a\r\n" + b"250 b\r\n" * len(transaction.shipment.recipients) + b"354 c\r\n")
    send_body(talk)
    return transaction


def test_envelope_and_data_are_one_write_and_the_body_waits_for_354() -> None:
    talk = dialogue()
    talk.begin(shipment_to(PROVIDER, "b@x.example", "c@x.example"), 5)
    assert said(talk) == (b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@x.example>\r\nRCPT TO:<c@x.example>\r\nDATA\r\n")
    assert talk.receive(b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n250 2.1.5 ok\r\n") == []
    assert talk.due is None and said(talk) == b""
    assert talk.receive(b"354 go\r\n") == []
    assert send_body(talk) == b"Subject: x\r\n\r\n.\r\n"
    [ended] = talk.receive(b"250 2.0.0 queued\r\n")
    assert fates(ended) == [("b", "dot", 250, False), ("c", "dot", 250, False)]
    assert talk.room and not talk.trouble


def test_next_envelope_rides_behind_the_dot_but_no_third() -> None:
    talk = dialogue()
    first = to_dot(talk)
    assert talk.room
    second = talk.begin(shipment_to(PROVIDER, sender="z@example.com"), 5)
    assert said(talk).startswith(b"MAIL FROM:<z@example.com>\r\n")
    assert not talk.room
    assert talk.receive(b"250 queued\r\n250 a\r\n250 b\r\n354 c\r\n") == [first]
    assert talk.due is second
    send_body(talk)
    assert talk.receive(b"250 queued\r\n") == [second]


def test_without_pipelining_one_command_at_a_time() -> None:
    for talk in (dialogue(Offer()), dialogue(PLAIN, pipelining=False)):
        transaction = talk.begin(shipment_to(PROVIDER, "b@x.example", "c@x.example"), 5)
        heard = []
        for reply in (b"250 a\r\n", b"550 b\r\n", b"250 c\r\n", b"354 d\r\n"):
            heard.append(said(talk))
            assert not talk.room
            talk.receive(reply)
        assert heard == [
            b"MAIL FROM:<a@example.com>\r\n",
            b"RCPT TO:<b@x.example>\r\n",
            b"RCPT TO:<c@x.example>\r\n",
            b"DATA\r\n",
        ]
        send_body(talk)
        assert not talk.room
        assert talk.receive(b"250 ok\r\n") == [transaction]
        assert fates(transaction) == [("b", "rcpt", 550, False), ("c", "dot", 250, False)]


def test_lock_step_stops_at_a_refused_mail_and_at_nobody_left() -> None:
    talk = dialogue(Offer())
    talk.begin(shipment_to(PROVIDER), 5)
    said(talk)
    talk.receive(b"550 5.7.1 not you\r\n")
    assert said(talk) == b"DATA\r\n"
    talk.receive(b"503 5.5.1 no\r\n")
    assert said(talk) == b"RSET\r\n"
    [ended] = talk.receive(b"250 ok\r\n")
    assert fates(ended) == [("b", "mail", 550, False)] and not ended.doubtful
    talk.begin(shipment_to(PROVIDER), 5)
    for reply in (b"250 a\r\n", b"450 4.2.0 later\r\n", b"554 5.5.1 nobody\r\n"):
        said(talk)
        talk.receive(reply)
    assert said(talk) == b"RSET\r\n"
    [ended] = talk.receive(b"250 ok\r\n")
    assert fates(ended) == [("b", "rcpt", 450, False)]


def test_F3_partial_refusal_sends_to_the_others() -> None:
    talk = dialogue()
    transaction = to_dot(talk, *RECIPIENTS, replies=b"250 a\r\n250 b\r\n450 4.2.0 c\r\n550 5.1.1 d\r\n354 e\r\n")
    assert talk.receive(b"250 ok\r\n") == [transaction]
    assert fates(transaction) == [
        ("b", "dot", 250, False),
        ("c", "rcpt", 450, False),
        ("d", "rcpt", 550, False),
    ]


def test_F3_all_refused_but_354_is_a_lone_dot_whose_250_counts_for_nothing() -> None:
    talk = dialogue()
    talk.begin(shipment_to(PROVIDER, "b@x.example", "c@x.example"), 5)
    said(talk)
    assert talk.receive(b"250 a\r\n550 b\r\n451 c\r\n354 d\r\n") == []
    assert talk.due is None
    assert said(talk) == b".\r\n"
    assert talk.room
    [ended] = talk.receive(b"250 queued\r\n")
    assert fates(ended) == [("b", "rcpt", 550, False), ("c", "rcpt", 451, False)]


def test_F3_all_refused_and_data_too_needs_a_reset_that_the_next_may_follow() -> None:
    talk = dialogue()
    talk.begin(shipment_to(PROVIDER), 5)
    said(talk)
    assert talk.receive(b"250 a\r\n550 5.1.1 b\r\n554 no recipients\r\n") == []
    talk.begin(shipment_to(PROVIDER, sender="z@example.com"), 5)
    assert said(talk).startswith(b"RSET\r\nMAIL FROM:<z@example.com>\r\n")
    [ended] = talk.receive(b"250 reset\r\n250 a\r\n")
    assert fates(ended) == [("b", "rcpt", 550, False)]


def test_F4_too_many_recipients_is_said_of_each_that_was_too_many() -> None:
    talk = dialogue()
    transaction = to_dot(talk, *RECIPIENTS, replies=b"250 a\r\n250 b\r\n452 4.5.3 c\r\n452 4.5.3 d\r\n354 e\r\n")
    talk.receive(b"250 ok\r\n")
    assert [result.reply.enhanced for result in transaction.results() if result.reply] == ["", "4.5.3", "4.5.3"]


def test_refused_mail_is_the_fate_of_all_whatever_rcpt_and_data_get() -> None:
    for last in (b"503 no\r\n", b"354 go\r\n"):
        talk = dialogue()
        talk.begin(shipment_to(PROVIDER, "b@x.example", "c@x.example"), 5)
        talk.receive(b"550 5.7.1 not you\r\n503 a\r\n503 b\r\n" + last)
        [ended] = talk.receive(b"250 ok\r\n")
        assert fates(ended) == [("b", "mail", 550, False), ("c", "mail", 550, False)]


@pytest.mark.parametrize(
    ("replies", "phase"),
    [(b"", "mail"), (b"250 a\r\n", "rcpt"), (b"250 a\r\n250 b\r\n", "data"), (b"250 a\r\n250 b\r\n354 c\r\n", "body")],
)
def test_F2_before_the_dot_is_written_nothing_is_uncertain(replies: bytes, phase: str) -> None:
    talk = dialogue()
    talk.begin(shipment_to(PROVIDER), 5)
    talk.receive(replies)
    [lost] = talk.abandon()
    assert fates(lost) == [("b", phase, 0, False)]
    assert lost.doubtful is (phase != "body")


def test_F2_after_the_dot_it_is_uncertain_but_not_for_the_refused_nor_for_the_next() -> None:
    talk = dialogue()
    first = to_dot(talk, *RECIPIENTS, replies=b"250 a\r\n250 b\r\n550 c\r\n250 d\r\n354 e\r\n")
    second = talk.begin(shipment_to(PROVIDER), 5)
    assert talk.abandon() == [first, second]
    assert fates(first) == [("b", "dot", 0, True), ("c", "rcpt", 550, False), ("d", "dot", 0, True)]
    assert fates(second) == [("b", "mail", 0, False)]
    assert second.doubtful


@pytest.mark.parametrize(
    ("before", "phase"),
    [(b"", "mail"), (b"250 a\r\n", "rcpt"), (b"250 a\r\n250 b\r\n", "data"), (b"250 a\r\n250 b\r\n354 c\r\n", "body")],
)
def test_F1_421_at_any_step_ends_the_connection_with_that_reply(before: bytes, phase: str) -> None:
    talk = dialogue()
    talk.begin(shipment_to(PROVIDER), 5)
    [ended] = talk.receive(before + b"421 4.3.2 closing\r\n250 never mind\r\n")
    assert fates(ended) == [("b", phase, 421, False)]
    assert "421 4.3.2 closing" in talk.trouble and not talk.room
    assert talk.abandon() == []


def test_F1_421_for_the_dot_is_certain_and_leaves_the_next_untouched() -> None:
    talk = dialogue()
    first = to_dot(talk)
    second = talk.begin(shipment_to(PROVIDER), 5)
    assert talk.receive(b"421 4.3.2 closing\r\n") == [first]
    assert fates(first) == [("b", "dot", 421, False)]
    assert talk.abandon() == [second] and second.doubtful


def test_F1_421_after_a_recipient_was_refused_keeps_that_refusal() -> None:
    talk = dialogue()
    talk.begin(shipment_to(PROVIDER, *RECIPIENTS), 5)
    [ended] = talk.receive(b"250 a\r\n550 b\r\n250 c\r\n421 d\r\n")
    assert fates(ended) == [("b", "rcpt", 550, False), ("c", "rcpt", 421, False), ("d", "rcpt", 421, False)]


def test_F6_a_reply_nobody_asked_for_ends_the_connection() -> None:
    talk = dialogue()
    talk.receive(b"250 surprise\r\n")
    assert talk.trouble == "said unasked: 250 surprise"
    assert not talk.room


def test_F6_a_second_reply_to_the_dot_is_never_believed_by_the_next() -> None:
    """Its MAIL, RCPT and DATA each get the reply of the command before: 2xx for DATA shows it."""
    talk = dialogue()
    first = to_dot(talk)
    second = talk.begin(shipment_to(PROVIDER), 5)
    assert talk.receive(b"250 queued\r\n250 again\r\n250 mail\r\n250 rcpt\r\n354 data\r\n") == [first]
    assert "DATA" in talk.trouble
    assert talk.abandon() == [second]
    assert fates(second) == [("b", "data", 0, False)]


def test_F6_a_shifted_refusal_is_not_believed_before_the_reset_proves_step() -> None:
    """The 550 of the RCPT seems to answer DATA; the 354 that seems to answer RSET tells the truth."""
    talk = dialogue()
    to_dot(talk)
    second = talk.begin(shipment_to(PROVIDER, "b@x.example", "c@x.example"), 5)
    talk.receive(b"250 queued\r\n250 again\r\n250 mail\r\n250 b\r\n550 c\r\n354 data\r\n")
    assert "354" in talk.trouble
    assert talk.abandon() == [second]
    assert fates(second) == [("b", "data", 0, False), ("c", "data", 0, False)]


@pytest.mark.parametrize(
    ("offer", "before", "phase"),
    [
        (Offer(), b"250 mail\r\n", "rcpt"),
        (Offer(), b"550 mail\r\n", "data"),
        (PLAIN, b"250 mail\r\n550 rcpt\r\n550 rcpt\r\n451 data\r\n", "data"),
        (PLAIN, b"250 mail\r\n550 rcpt\r\n550 rcpt\r\n354 data\r\n", ""),
    ],
)
def test_F6_a_reply_that_came_before_its_command_is_not_its_reply(offer: Offer, before: bytes, phase: str) -> None:
    """In one segment with the reply that calls for RCPT, DATA, RSET or the lone dot: it answers none of them."""
    talk = dialogue(offer)
    transaction = talk.begin(shipment_to(PROVIDER, "b@x.example", "c@x.example"), 5)
    said(talk)
    assert talk.receive(before + b"250 early\r\n") == []
    assert talk.trouble == "answered what was not asked yet: 250 early"
    assert talk.abandon() == [transaction]
    lost = [("b", phase, 0, False), ("c", phase, 0, False)]
    assert fates(transaction) == (lost if phase else [("b", "rcpt", 550, False), ("c", "rcpt", 550, False)])


def test_F1_421_right_behind_a_reply_is_a_good_bye() -> None:
    talk = dialogue(Offer())
    talk.begin(shipment_to(PROVIDER), 5)
    said(talk)
    [ended] = talk.receive(b"250 mail\r\n421 4.3.2 closing\r\n")
    assert fates(ended) == [("b", "rcpt", 421, False)] and ended.doubtful


@pytest.mark.parametrize("reply", [b"550 5.7.1 no\r\n", b"451 later\r\n"])
def test_F6_an_early_refusal_counts_and_ends_the_connection(reply: bytes) -> None:
    talk = dialogue()
    talk.begin(shipment_to(PROVIDER), 5)
    [ended] = talk.receive(b"250 a\r\n250 b\r\n354 c\r\n" + reply)
    assert fates(ended) == [("b", "body", int(reply[:3]), False)]
    assert talk.trouble and talk.due is None


def test_F6_an_early_250_is_no_acceptance() -> None:
    talk = dialogue()
    transaction = talk.begin(shipment_to(PROVIDER), 5)
    assert talk.receive(b"250 a\r\n250 b\r\n354 c\r\n250 queued already\r\n") == []
    assert talk.trouble
    assert talk.abandon() == [transaction]
    assert fates(transaction) == [("b", "body", 0, False)]


@pytest.mark.parametrize("garbage", [b"2x0 what\r\n", b"\x00\xff\r\n", b"999 no\r\n", b"250-a\r\n251 b\r\n"])
def test_malformed_reply_makes_the_connection_unusable(garbage: bytes) -> None:
    talk = dialogue()
    talk.begin(shipment_to(PROVIDER), 5)
    talk.receive(garbage)
    assert talk.trouble.startswith("sent what is no SMTP reply")
    [lost] = talk.abandon()
    assert fates(lost) == [("b", "mail", 0, False)]


def test_malformed_reply_to_the_dot_is_uncertain_and_what_came_before_it_counts() -> None:
    talk = dialogue()
    first = to_dot(talk)
    assert talk.receive(b"250 queued\r\nrubbish\r\n") == [first]
    assert fates(first) == [("b", "dot", 250, False)]
    talk = dialogue()
    to_dot(talk)
    assert talk.receive(b"rubbish\r\n") == []
    assert fates(talk.abandon()[0]) == [("b", "dot", 0, True)]


@pytest.mark.parametrize("reply", [b"354 what\r\n", b"334 huh\r\n"])
def test_wrong_class_for_the_dot_is_uncertain(reply: bytes) -> None:
    talk = dialogue()
    to_dot(talk)
    assert talk.receive(reply) == []
    assert fates(talk.abandon()[0]) == [("b", "dot", 0, True)]


def test_same_result_however_the_replies_are_cut() -> None:
    replies = b"250-2.1.0 a\r\n250 2.1.0 b\r\n250 2.1.5 c\r\n550 5.1.1 d\r\n354 e\r\n"
    for size in (1, 3, 7, len(replies)):
        talk = dialogue()
        transaction = talk.begin(shipment_to(PROVIDER, "b@x.example", "c@x.example"), 5)
        for at in range(0, len(replies), size):
            assert talk.receive(replies[at : at + size]) == []
        send_body(talk)
        assert talk.receive(b"250 ok\r\n") == [transaction]
        assert fates(transaction) == [("b", "dot", 250, False), ("c", "rcpt", 550, False)]


def test_parameters_are_said_where_offered_and_needed() -> None:
    shipment = shipment_to(
        PROVIDER,
        Recipient(address="b@x.example", notify="SUCCESS,DELAY", orcpt="rfc822;B+40x.example"),
        "c@x.example",
        eight_bit=True,
        utf8=True,
        ret="HDRS",
        envid="QQ+2B1",
    )
    talk = dialogue(FULL)
    talk.begin(shipment, 77)
    assert said(talk) == (
        b"MAIL FROM:<a@example.com> SIZE=77 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B1\r\n"
        b"RCPT TO:<b@x.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;B+40x.example\r\n"
        b"RCPT TO:<c@x.example>\r\nDATA\r\n"
    )
    talk = dialogue()
    talk.begin(shipment, 77)
    assert said(talk).startswith(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@x.example>\r\nRCPT TO:<c@x.example>\r\n")


def test_L10_an_orcpt_beyond_ascii_is_escaped_where_smtputf8_is_not_in_force() -> None:
    recipient = Recipient(address="b@x.example", orcpt="utf-8;jö\U0001f4e7@x.example")
    talk = dialogue(FULL)
    talk.begin(shipment_to(PROVIDER, recipient), 5)
    assert b" ORCPT=utf-8;j\\x{F6}\\x{1F4E7}@x.example\r\n" in said(talk)
    talk = dialogue(FULL)
    talk.begin(shipment_to(PROVIDER, recipient, utf8=True), 5)
    assert " ORCPT=utf-8;jö\U0001f4e7@x.example\r\n".encode() in said(talk)


def test_B7_null_sender() -> None:
    talk = dialogue()
    talk.begin(shipment_to(PROVIDER, sender=""), 5)
    assert said(talk).startswith(b"MAIL FROM:<>\r\n")


@pytest.mark.parametrize(
    "address",
    ["u%v@relay.example", '"a b>c"@x.example', "=?utf-8?q?x?=@x.example", "a@[192.0.2.1]", "дом@пример.example"],
)
def test_B10_address_bytes_on_the_wire_are_those_judged(address: str) -> None:
    talk = dialogue(FULL)
    talk.begin(shipment_to(PROVIDER, address, sender=address), 5)
    lines = said(talk).split(b"\r\n")
    assert lines[0].startswith(b"MAIL FROM:<" + address.encode() + b"> SIZE=5")
    assert (b"SMTPUTF8" in lines[0]) is not address.isascii()
    assert lines[1] == b"RCPT TO:<" + address.encode() + b">"


@pytest.mark.parametrize("address", ["a\r\nRCPT TO:<evil@x>@x.example", "a\n@x", "a\0@x", "a\ud800@x"])
def test_B10_an_envelope_that_is_not_one_line_each_is_refused(address: str) -> None:
    talk = dialogue(FULL)
    with pytest.raises(ValueError, match=r"control character|surrogates"):
        talk.begin(shipment_to(PROVIDER, address), 5)
    assert not talk.out and talk.room


def test_E3_E4_what_an_offer_cannot_carry() -> None:
    plain, small = Offer(), Offer(size=10)
    assert obstacle(shipment_to(PROVIDER), 11, plain) is None
    assert obstacle(shipment_to(PROVIDER), 11, Offer(size=0)) is None
    assert _code(obstacle(shipment_to(PROVIDER), 11, small)) == "552 5.3.4"
    assert _code(obstacle(shipment_to(PROVIDER, eight_bit=True), 1, plain)) == "554 5.6.3"
    assert _code(obstacle(shipment_to(PROVIDER, utf8=True), 1, plain)) == "550 5.6.7"
    assert _code(obstacle(shipment_to(PROVIDER, "ü@x.example"), 1, plain)) == "550 5.6.7"
    assert _code(obstacle(shipment_to(PROVIDER, sender="ü@x.example"), 1, plain)) == "550 5.6.7"
    assert obstacle(shipment_to(PROVIDER, "ü@x.example", utf8=True, eight_bit=True), 1, FULL) is None


def _code(reply: Reply | None) -> str:
    assert reply is not None
    return f"{reply.code} {reply.enhanced}"


def test_offer_is_read_from_ehlo_keywords() -> None:
    assert read_offer({}) == Offer()
    assert read_offer({"size": "", "pipelining": ""}) == Offer(size=0, pipelining=True)
    assert read_offer({"size": "９"}).size == 0
    assert read_offer({"size": "35", "8bitmime": "", "smtputf8": "", "dsn": ""}) == Offer(
        eight_bit=True, utf8=True, dsn=True, size=35
    )


def test_step_says_what_is_waited_for() -> None:
    talk = dialogue()
    assert talk.step is None
    to_dot(talk)
    assert talk.step is Step.DOT
    assert Phase.DOT.value == "dot"
