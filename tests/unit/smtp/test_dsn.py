"""Delivery reports, read back with the standard library."""

from email import message_from_bytes, policy

import pytest

from relay.model import Envelope, Message, MessageId, Recipient, Source
from relay.smtp.data import stuff, unstuff
from relay.smtp.dsn import Fate, Report, delay, failure, hint_for, relayed
from relay.smtp.headers import rfc5322_date

NOW = 1_795_252_800.0
ORIGINAL = b"Received: r\r\nSubject: hello\r\nFrom: a@example.com\r\n\r\nthe body\r\n--=_0notice\r\n"
BOB = Recipient(address="bob@example.org", orcpt="rfc822;Bob+2Bx@example.org")
REPLY = "550 5.1.1 <bob@example.org> no such user"


def message(envid: str = "QQ+3D7") -> Message:
    return Message(
        id=MessageId("0message"),
        envelope=Envelope(sender="a@example.com", recipients=(BOB,), envid=envid),
        prefix=b"",
        size=10,
        source=Source(kind="smtp"),
        received_at=NOW - 100,
        expires_at=NOW + 1000,
    )


def report(*fates: Fate, **changes) -> Report:
    given = {
        "id": MessageId("0notice"),
        "message": message(),
        "hostname": "relay.internal",
        "sender": "postmaster@relay.internal",
        "to": "a@example.com",
        "now": NOW,
        "fates": fates or (Fate(recipient=BOB, reply=REPLY, host="mx.example.org", attempted_at=NOW - 5),),
        "original": ORIGINAL,
    }
    return Report(**{**given, **changes})


def parts(raw: bytes):
    parsed = message_from_bytes(raw, policy=policy.default)
    assert not parsed.defects
    assert parsed.get_content_type() == "multipart/report"
    assert parsed.get_param("report-type") == "delivery-status"
    return parsed, *parsed.iter_parts()


def groups(raw: bytes):
    status = next(
        part for part in message_from_bytes(raw).walk() if part.get_content_type() == "message/delivery-status"
    )
    return [dict(group.items()) for group in status.get_payload()]


@pytest.mark.parametrize(
    ("sender", "shown"),
    [
        ("p@x.example", "Mail Delivery System <p@x.example>"),
        ("Mail System <p@x.example>", "Mail System <p@x.example>"),
        ("Büro <p@x.example>", "Büro <p@x.example>"),
    ],
)
def test_the_configured_sender_may_have_a_name(sender: str, shown: str):
    raw = failure(report(sender=sender))
    assert parts(raw)[0]["From"] == shown
    assert raw.split(b"\r\n\r\n")[0].isascii()


def test_E2_failure():
    raw = failure(report())
    parsed, human, _, returned = parts(raw)
    assert parsed["To"] == "a@example.com"
    assert parsed["From"] == "Mail Delivery System <postmaster@relay.internal>"
    assert parsed["Auto-Submitted"] == "auto-replied"
    assert parsed["Date"] == rfc5322_date(NOW)
    assert parsed["Message-ID"] == "<0notice@relay.internal>"
    text = human.get_content()
    assert "<bob@example.org>" in text
    assert "mx.example.org said: " + REPLY in text
    assert "The mailbox does not exist" in text
    assert returned.get_content_type() == "text/rfc822-headers"
    assert b"the body" not in raw
    assert groups(raw) == [
        {
            "Reporting-MTA": "dns; relay.internal",
            "Original-Envelope-Id": "QQ=7",
            "Arrival-Date": rfc5322_date(NOW - 100),
        },
        {
            "Original-Recipient": "rfc822;Bob+x@example.org",
            "Final-Recipient": "rfc822;bob@example.org",
            "Action": "failed",
            "Status": "5.1.1",
            "Remote-MTA": "dns; mx.example.org",
            "Diagnostic-Code": "smtp; " + REPLY,
            "Last-Attempt-Date": rfc5322_date(NOW - 5),
        },
    ]


def test_delay():
    raw = delay(report(Fate(recipient=BOB, reply="451 4.7.1 greylisted"), retry_until=NOW + 1000))
    group = groups(raw)[1]
    assert (group["Action"], group["Status"]) == ("delayed", "4.7.1")
    assert group["Will-Retry-Until"] == rfc5322_date(NOW + 1000)
    assert "tried until " + rfc5322_date(NOW + 1000) in parts(raw)[1].get_content()


def test_relayed():
    raw = relayed(report(Fate(recipient=BOB, reply="250 2.0.0 Ok: queued")))
    assert (groups(raw)[1]["Action"], groups(raw)[1]["Status"]) == ("relayed", "2.0.0")


@pytest.mark.parametrize(
    ("make", "reply", "status", "expected"),
    [
        (failure, "", "", "5.0.0"),
        (failure, "not delivered within 5 days", "4.4.7", "5.4.7"),
        (failure, "452 4.2.2 mailbox full", "", "5.2.2"),
        (failure, "550 no code", "", "5.0.0"),
        (delay, "", "", "4.0.0"),
        (relayed, "250 ok", "", "2.0.0"),
    ],
)
def test_status_is_of_the_class_of_its_action(make, reply, status, expected):
    assert groups(make(report(Fate(recipient=BOB, reply=reply, status=status))))[1]["Status"] == expected


def test_our_own_words_are_not_called_smtp():
    group = groups(failure(report(Fate(recipient=BOB, reply="no provider was usable"))))[1]
    assert group["Diagnostic-Code"] == "x-relay; no provider was usable"


def test_several_recipients_have_a_group_each():
    raw = failure(report(*(Fate(recipient=Recipient(address=f"r{i}@x")) for i in range(3))))
    assert [group["Final-Recipient"] for group in groups(raw)[1:]] == [f"rfc822;r{i}@x" for i in range(3)]


def test_whole_message_is_returned_byte_for_byte():
    raw = failure(report(whole=True))
    assert b"Content-Type: message/rfc822\r\n\r\n" + ORIGINAL in raw
    assert parts(raw)[3].get_content().get_payload().startswith("the body")


def test_boundary_does_not_occur_in_what_is_returned():
    boundary = message_from_bytes(failure(report(whole=True))).get_boundary()
    assert boundary
    assert b"--" + boundary.encode() not in ORIGINAL


def test_utf8_addresses_and_content():
    jo = Recipient(address="jö@example.org", orcpt="utf-8;jö@example.org")
    raw = failure(report(Fate(recipient=jo, reply="550 café"), original="Subject: é\r\n\r\nx\r\n".encode()))
    assert b"Original-Recipient: utf-8;j\\x{F6}@example.org\r\nFinal-Recipient: utf-8;j\\x{F6}@example.org\r\n" in raw
    assert b"Diagnostic-Code: smtp; 550 caf?\r\n" in raw
    assert b"Content-Type: message/global-headers\r\nContent-Transfer-Encoding: 8bit\r\n" in raw
    assert "<jö@example.org>" in parts(raw)[1].get_content()


def test_ascii_report_is_seven_bit():
    assert failure(report()).isascii()


def test_H1_nothing_can_be_injected():
    evil = "x\r\nBcc: v@x\r\n\r\n--=_0notice\r\n"
    fate = Fate(recipient=Recipient(address="a@b", orcpt="rfc822;a+0D+0ABcc: x" + evil), reply="550 " + evil, host=evil)
    raw = failure(
        report(fate, message=message(envid="a" + evil), sender="p@x\r\nBcc: y", to="t@x\r\nBcc: z", original=b"")
    )
    assert len(list(message_from_bytes(raw).walk())) == len(
        list(message_from_bytes(failure(report(original=b""))).walk())
    )
    assert b"\nBcc:" not in raw
    assert all(
        len(line) <= 998 for line in failure(report(Fate(recipient=BOB, reply="550 " + "x" * 5000))).split(b"\r\n")
    )


@pytest.mark.parametrize("make", [failure, delay, relayed])
def test_reports_are_crlf_and_survive_the_wire(make):
    raw = make(report(whole=True))
    assert raw.count(b"\r") == raw.count(b"\n") == raw.count(b"\r\n")
    assert raw.endswith(b"\r\n")
    assert unstuff(stuff(raw)) == raw


def test_hints():
    assert "full" in hint_for("5.2.2")
    assert hint_for("5.1.99") == "Check the address."
    assert hint_for("5.0.0") == hint_for("") == ""
