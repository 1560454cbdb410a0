"""BDAT instead of DATA: several messages in flight, and every reply still that to its command."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import Provider, Reply
from relay.smtp.chunking import MOST
from relay.smtp.dialogue import Dialogue
from relay.smtp.offer import Offer, read_offer
from relay.smtp.transaction import Step, Transaction
from relay.testing.mail import shipment_to

PROVIDER = Provider(name="p", host="mx.example", port=25)
CHUNKING = Offer(pipelining=True, chunking=True)
CONTENT = b"Received: x\r\nSubject: y\r\n\r\n.\r\n"
MAIL, RCPT, TAKEN, RESET = b"250 2.1.0 Ok\r\n", b"250 2.1.5 Ok\r\n", b"250 2.0.0 queued\r\n", b"250 2.0.0 Ok\r\n"
FINE = MAIL + RCPT + TAKEN + RESET


def said(talk: Dialogue) -> bytes:
    out = b"".join(talk.out)
    talk.out.clear()
    return out


def fates(transaction: Transaction) -> list[tuple[str, int, bool]]:
    """Phase, code (0: no reply) and whether it may have been taken, of each recipient."""
    return [
        (result.phase.value, result.reply.code if result.reply else 0, result.uncertain)
        for result in transaction.results()
    ]


def by_data(talk: Dialogue, dot: bytes = TAKEN, rcpt: bytes = RCPT, mail: bytes = MAIL) -> None:
    transaction = talk.begin(shipment_to(PROVIDER), 5)
    talk.receive(mail + rcpt + b"354 go\r\n")
    talk.body_written()
    said(talk)
    assert talk.receive(dot) == [transaction]


def asking() -> Dialogue:
    talk = Dialogue(CHUNKING, pipelining=True)
    by_data(talk)
    assert talk.chunks
    return talk


def opened() -> Dialogue:
    """A connection that has shown that it knows BDAT."""
    talk = asking()
    begun(talk)
    talk.receive(MAIL + RCPT + b"250 2.0.0 so far\r\n")
    said(talk)
    talk.asked = None
    assert len(talk.receive(TAKEN + RESET)) == 1
    assert talk.most == MOST
    return talk


def begun(talk: Dialogue, *recipients: str, content: bytes = CONTENT) -> Transaction:
    return talk.begin(shipment_to(PROVIDER, *recipients), 5, content)


# How a connection comes to it.


def test_it_takes_both_extensions_and_a_provider_that_does_not_forbid_it() -> None:
    assert read_offer({"chunking": "", "pipelining": ""}) == CHUNKING
    for talk in (Dialogue(Offer(chunking=True), pipelining=True), Dialogue(CHUNKING, pipelining=False)):
        transaction = talk.begin(shipment_to(PROVIDER), 5)
        for reply in (MAIL, RCPT, b"354 go\r\n"):
            talk.receive(reply)
            said(talk)
        talk.body_written()
        said(talk)
        assert talk.receive(TAKEN) == [transaction]
        assert not talk.chunks


@pytest.mark.parametrize(
    "replies",
    [{"mail": b"250 ok\r\n"}, {"rcpt": b"250 2.0.0 ok\r\n"}, {"dot": b"250 ok id=1\r\n"}, {"dot": b"250 2.1.5 ok\r\n"}],
)
def test_F6_whose_replies_do_not_tell_what_they_answer_gets_data(replies: dict[str, bytes]) -> None:
    talk = Dialogue(CHUNKING, pipelining=True)
    for _ in range(3):
        by_data(talk, **replies)
        assert not talk.chunks and talk.most == 2


def test_the_first_line_goes_alone_and_the_rest_once_it_was_taken() -> None:
    talk = asking()
    transaction = begun(talk)
    assert said(talk) == (b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 13\r\nReceived: x\r\n")
    assert not talk.room
    assert talk.receive(MAIL + RCPT) == [] and said(talk) == b""
    assert talk.receive(b"250 2.0.0 so far\r\n") == []
    rest = CONTENT[13:]
    assert said(talk) == b"BDAT %d LAST\r\n%bRSET\r\n" % (len(rest), rest)
    assert talk.room
    assert talk.receive(TAKEN) == []
    assert talk.receive(RESET) == [transaction]
    assert fates(transaction) == [("dot", 250, False)]


@pytest.mark.parametrize("reply", [b"502 5.5.1 what\r\n", b"500 what\r\n", b"552 5.3.4 big\r\n", b"250 ok\r\n"])
def test_who_does_not_know_bdat_is_sent_nothing_more_and_nothing_is_refused(reply: bytes) -> None:
    talk = asking()
    transaction = begun(talk)
    said(talk)
    assert talk.receive(MAIL + RCPT + reply + b"500 5.5.2 what?\r\n") == []
    assert said(talk) == b"" and talk.misled and "answered BDAT with" in talk.trouble
    assert talk.abandon() == [transaction]
    assert transaction.doubtful and fates(transaction) == [("data", 0, False)]


def test_F2_a_rest_that_was_called_for_and_never_written_is_not_uncertain() -> None:
    talk = asking()
    transaction = begun(talk)
    said(talk)
    assert talk.receive(MAIL + RCPT + b"250 2.0.0 so far\r\nrubbish\r\n") == []
    assert talk.abandon() == [transaction]
    assert transaction.doubtful and fates(transaction) == [("data", 0, False)]


def test_F3_a_first_line_for_nobody_is_refused_and_asked_for_again() -> None:
    talk = asking()
    transaction = begun(talk)
    said(talk)
    assert talk.receive(MAIL + b"550 5.1.1 no\r\n554 5.5.1 nobody\r\n") == []
    assert said(talk) == b"RSET\r\n"
    assert talk.receive(RESET) == [transaction]
    assert fates(transaction) == [("rcpt", 550, False)]
    assert talk.chunks and talk.most == 2


def test_content_without_a_line_goes_by_data() -> None:
    talk = asking()
    begun(talk, content=b"")
    assert said(talk).endswith(b">\r\nDATA\r\n")


# Several in flight.


def test_envelope_and_content_are_one_write_four_times() -> None:
    talk = opened()
    for _ in range(MOST):
        assert talk.room
        begun(talk)
    assert not talk.room
    one = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT %d LAST\r\n%bRSET\r\n"
    assert said(talk) == one % (len(CONTENT), CONTENT) * MOST
    assert [fates(each) for each in talk.receive(FINE * MOST)] == [[("dot", 250, False)]] * MOST
    assert talk.room and not talk.trouble


def test_an_empty_content_is_a_last_chunk_of_nothing() -> None:
    talk = opened()
    begun(talk, content=b"")
    assert said(talk).endswith(b"BDAT 0 LAST\r\nRSET\r\n")


def test_data_may_ride_behind_and_lets_nothing_ride_behind_it_before_its_dot() -> None:
    talk = opened()
    first = begun(talk)
    second = talk.begin(shipment_to(PROVIDER), 5)
    assert said(talk).endswith(b"RSET\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
    assert not talk.room
    assert talk.receive(FINE + MAIL + RCPT + b"354 go\r\n") == [first]
    assert talk.due is second
    talk.body_written()
    third = begun(talk)
    assert talk.receive(TAKEN + FINE) == [second, third]


def test_F3_for_several_recipients_it_is_data() -> None:
    """Their refusals, shifted by one, could pass for that of the content."""
    talk = opened()
    assert talk.may_chunk(shipment_to(PROVIDER, "b@x")) and not talk.may_chunk(shipment_to(PROVIDER, "b@x", "c@x"))


@pytest.mark.parametrize("last", [b"503 5.5.1 no\r\n", b"554 5.5.1 nobody\r\n"])
def test_F3_all_refused_and_so_is_the_content(last: bytes) -> None:
    talk = opened()
    nobody, sender, fine = begun(talk), begun(talk), begun(talk)
    first = MAIL + b"450 4.2.0 later\r\n" + last + RESET
    second = b"550 5.7.1 not you\r\n503 5.5.1 no\r\n" + last + RESET
    assert talk.receive(first + second + FINE) == [nobody, sender, fine]
    assert fates(nobody) == [("rcpt", 450, False)]
    assert fates(sender) == [("mail", 550, False)]
    assert fates(fine) == [("dot", 250, False)]


@pytest.mark.parametrize("code", [452, 554])
def test_refused_content_is_that_messages_alone(code: int) -> None:
    talk = opened()
    first, second = begun(talk), begun(talk)
    assert talk.receive(MAIL + RCPT + b"%d %d.7.1 no\r\n" % (code, code // 100) + RESET + FINE) == [first, second]
    assert (fates(first), fates(second)) == ([("dot", code, False)], [("dot", 250, False)])


# F1, F2: the end of a connection.


def test_F2_what_was_handed_over_is_uncertain_and_what_was_not_is_not() -> None:
    talk = opened()
    transactions = [begun(talk) for _ in range(MOST)]
    for number, transaction in enumerate(transactions):
        transaction.end = 100 * (number + 1)
    talk.receive(FINE + MAIL)
    assert talk.abandon(taken=300) == transactions[1:]
    assert [fates(each) for each in transactions] == [
        [("dot", 250, False)], [("dot", 0, True)], [("dot", 0, True)], [("mail", 0, False)],
    ]  # fmt: skip
    assert [each.doubtful for each in transactions] == [False, False, False, True]


def test_F2_not_handed_over_at_its_last_step_it_was_lost_in_its_body() -> None:
    talk = opened()
    transaction = begun(talk)
    transaction.end = 100
    talk.receive(MAIL + RCPT)
    talk.abandon(taken=99)
    assert fates(transaction) == [("body", 0, False)]


@pytest.mark.parametrize(
    ("heard", "fate", "doubtful"),
    [
        (MAIL + RCPT + TAKEN, ("dot", 250, False), False),
        (MAIL + RCPT + b"554 5.6.0 no\r\n", ("dot", 554, False), False),
        (MAIL + b"550 5.1.1 no\r\n554 5.5.1 no\r\n", ("rcpt", 550, False), True),
        (MAIL + b"550 5.1.1 no\r\n", ("rcpt", 550, False), True),
        (b"550 5.1.1 no\r\n", ("mail", 550, False), True),
        (MAIL + RCPT, ("dot", 0, True), False),
    ],
)
def test_F2_what_was_answered_before_it_broke(heard: bytes, fate: tuple[str, int, bool], doubtful: bool) -> None:
    talk = opened()
    transaction = begun(talk)
    talk.receive(heard)
    talk.abandon()
    assert (fates(transaction), transaction.doubtful) == ([fate], doubtful)


@pytest.mark.parametrize(("heard", "phase"), [(b"", "mail"), (MAIL, "rcpt"), (MAIL + RCPT, "dot")])
def test_F1_after_a_421_nothing_more_was_read(heard: bytes, phase: str) -> None:
    talk = opened()
    first, second = begun(talk), begun(talk)
    assert talk.receive(heard + b"421 4.3.2 bye\r\n") == [first]
    assert talk.abandon() == [second]
    assert (fates(first), first.doubtful) == ([(phase, 421, False)], phase != "dot")
    assert (fates(second), second.doubtful) == ([("mail", 0, False)], True)


def test_F1_421_behind_the_answer_takes_nothing_back() -> None:
    talk = opened()
    first = begun(talk)
    assert talk.receive(MAIL + RCPT + TAKEN + b"421 4.3.2 bye\r\n") == [first]
    assert (fates(first), first.doubtful) == ([("dot", 250, False)], False)


# F6: a reply too many, or one that is none.


@pytest.mark.parametrize(
    "odd",
    [
        TAKEN,
        b"250 ok\r\n",
        MAIL + TAKEN,
        MAIL + RCPT + RCPT,
        MAIL + RCPT + b"250 ok\r\n",
        MAIL + RCPT + b"354 go\r\n",
        MAIL + RCPT + b"502 5.5.1 what\r\n",
        MAIL + RCPT + b"550 5.1.1 unknown\r\n",
        MAIL + b"550 5.1.1 no\r\n" + TAKEN,
        b"550 5.7.1 no\r\n" + RCPT,
        MAIL + RCPT + TAKEN + b"550 5.5.1 no\r\n",
        MAIL + RCPT + b"\0\r\n",
    ],
)
def test_F6_what_cannot_be_the_reply_is_not(odd: bytes) -> None:
    talk = opened()
    first, second = begun(talk), begun(talk)
    assert talk.receive(odd) == []
    assert talk.trouble and talk.misled and not talk.room
    assert talk.abandon() == [first, second]
    assert fates(first) == fates(second) == [("dot", 0, True)]


# Whatever is refused, however it is cut, whatever comes too often.

CODES = [b"450 4.2.0 later\r\n", b"550 5.1.1 no\r\n", b"554 5.7.1 policy\r\n"]
Case = tuple[bytes, bytes, bytes]
cases = st.tuples(
    st.sampled_from([MAIL, MAIL, MAIL, *CODES]), st.sampled_from([RCPT, RCPT, *CODES]), st.sampled_from([TAKEN, *CODES])
).filter(lambda case: case[2] != CODES[1])  # 5.1.1 is about no content


def answers(case: Case, flushed: bytes) -> list[bytes]:
    """What a server in step says of one message."""
    mail, rcpt, last = case
    if mail is not MAIL:
        return [mail, b"503 5.5.1 no\r\n", b"503 5.5.1 no\r\n", flushed]
    return [mail, rcpt, last if rcpt is RCPT else b"554 5.5.1 nobody\r\n", flushed]


def truth(case: Case) -> tuple[str, int, bool]:
    refused = next((number for number in (0, 1) if case[number] not in (MAIL, RCPT)), 2)
    return ("mail", "rcpt", "dot")[refused], int(case[refused][:3]), False


@given(mail=st.lists(cases, min_size=1, max_size=MOST), cuts=st.lists(st.integers(1, 40), max_size=20))
def test_F6_any_mix_of_refusals_in_any_pieces_is_paired_right(mail: list[Case], cuts: list[int]) -> None:
    talk = opened()
    begin = [begun(talk) for _ in mail]
    stream = b"".join(reply for each in mail for reply in answers(each, RESET))
    ended: list[Transaction] = []
    for size in cuts:
        ended += talk.receive(stream[:size])
        stream = stream[size:]
    ended += talk.receive(stream)
    assert ended == begin and not talk.trouble
    assert [fates(each) for each in ended] == [[truth(each)] for each in mail]


@given(
    mail=st.lists(cases, min_size=1, max_size=MOST),
    at=st.integers(0, 30),
    flushed=st.sampled_from([RESET, b"250 2.1.5 Flushed\r\n"]),
    extra=st.sampled_from([None, None, MAIL, RCPT, TAKEN, b"250 ok\r\n"]),
)
def test_F6_one_reply_too_many_never_shifts_a_fate(
    mail: list[Case], at: int, flushed: bytes, extra: bytes | None
) -> None:
    """`extra` None: one is said twice. What counts as taken was taken, as refused refused, and no copy is forgotten."""
    talk = opened()
    begin = [begun(talk) for _ in mail]
    replies = [reply for each in mail for reply in answers(each, flushed)]
    at %= len(replies)
    talk.receive(b"".join([*replies[: at + 1], extra or replies[at], *replies[at + 1 :]]))
    talk.abandon()
    assert talk.trouble
    for transaction, case in zip(begin, mail, strict=True):
        [(_, code, uncertain)] = fates(transaction)
        taken = truth(case)[1] < 300
        if not uncertain:
            assert taken is (0 < code < 300), (fates(transaction), case)


def test_step_says_what_is_waited_for() -> None:
    talk = opened()
    begun(talk)
    talk.receive(MAIL + RCPT)
    assert talk.step is Step.LAST
    talk.receive(TAKEN)
    assert talk.step is Step.RESET
    assert Reply(code=250, enhanced="2.0.0", text="queued") == talk._line[0].reply
