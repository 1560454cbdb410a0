"""Header facts, our own fields, rewriting."""

from email import message_from_bytes
from email.header import decode_header, make_header
from email.utils import parsedate_to_datetime

import pytest

from relay.smtp.headers import (
    HEAD,
    IDENTITY,
    HeadFacts,
    date_header,
    endless,
    message_id_header,
    protocol,
    received_line,
    rewrite,
    rfc5322_date,
    scan,
    without,
)

NOW = 1_795_252_800.0  # Sat, 21 Nov 2026 09:20:00 UTC
PLAIN = b"From: a@b\r\nTo: c@d\r\nSubject: hi\r\n\r\nDate: not a header\r\n"


def trace(**changes) -> bytes:
    given = {"helo": "app", "client": "10.0.0.1", "hostname": "relay.internal", "protocol": "ESMTP", "id": "0abc"}
    return received_line(**{**given, "recipient": "x@example.com", "now": NOW, **changes})


def test_scan_plain():
    assert scan(PLAIN) == HeadFacts(0, False, False, False, {}, False)


def test_scan_sees_fields_whatever_their_case_and_place():
    facts = scan(b"MESSAGE-id: <x>\r\nreceived: a\r\n\tb\r\nReceived: c\r\ndate:x\r\n\r\nReceived: body\r\n")
    assert facts == HeadFacts(2, True, True, False, {}, False)


def test_E1_counts_fifty_received():
    assert scan(b"Received: x\r\n" * 50 + b"\r\n").received == 50


def test_E4_non_ascii_in_headers_only():
    assert scan("Subject: é\r\n\r\n".encode()).non_ascii
    assert not scan("Subject: e\r\n\r\né\r\n".encode()).non_ascii


def test_E6_what_lies_beyond_the_scanned_part_is_not_ruled_out():
    whole = b"X-Long: " + b"x" * (HEAD - 12)
    assert scan(whole + b"\r\n\r\n") == HeadFacts(0, False, False, False, {}, False)
    assert scan((whole + b"x\r\nMessage-ID: <a@b>\r\n\r\n")[:HEAD]) == HeadFacts(0, True, True, True, {}, False)


def test_values_are_first_and_unfolded():
    head = b"X-App: crm\r\n two\r\n\tthree\r\nx-app: other\r\nY:\r\nZ: \xc3\xa9\xff\r\n"
    facts = scan(head, frozenset({"x-app", "y", "z", "none"}))
    assert facts.values == {"x-app": "crm two\tthree", "y": "", "z": "é�"}


def test_values_at_the_very_end_without_line_end():
    assert scan(b"A: 1\r\nX-App: crm", frozenset({"x-app"})).values == {"x-app": "crm"}


@pytest.mark.parametrize("head", [b"", b"\r\n", b"\r\nbody\r\n"])
def test_E6_empty_header_section(head):
    assert scan(head) == HeadFacts(0, False, False, False, {}, False)


@pytest.mark.parametrize(
    "head", [b"hello world\r\n", b" Subject: folded\r\n", b"..\r\n", b":x\r\n", b"no\r\nDate: x\r\n"]
)
def test_E6_headerless(head):
    facts = scan(head)
    assert facts.headerless
    assert not facts.has_date


def test_E6_odd_headers_are_tolerated():
    assert not scan(b"From joe Mon Jan  1\r\nSubject: x\r\n\r\n").headerless
    facts = scan(b"A: b\r\ngarbage line\r\nDate: x\r\n\r\n")
    assert facts.has_date
    assert not facts.headerless


def test_scan_of_a_section_without_end():
    assert scan(b"A: b\r\n" * 1000 + b"Date: x\r\n").has_date


def test_received_line():
    assert trace() == (
        b"Received: from app ([10.0.0.1])\r\n\tby relay.internal with ESMTP id 0abc\r\n"
        b"\tfor <x@example.com>;\r\n\tSat, 21 Nov 2026 09:20:00 +0000\r\n"
    )


def test_received_line_variants():
    assert b"[IPv6:2001:db8::1]" in trace(client="2001:db8::1")
    assert b"(unix)" in trace(client="unix")
    assert b"(uid 1000)" in trace(client="uid 1000")
    assert b"for <" not in trace(recipient="")
    assert "for <ж@x>".encode() in trace(recipient="ж@x")


@pytest.mark.parametrize(
    "evil", ["a\r\nBcc: x@y", "a\n b", "é\u2028", "(c)", "x" * 5000, "", "<a>;", "fe80::1%\r\nX: y"]
)
def test_H1_received_line_can_not_be_injected(evil):
    line = trace(helo=evil, client=evil, recipient=evil if not evil.startswith(("x", "<")) else "")
    parsed = message_from_bytes(line + b"\r\n")
    assert parsed.keys() == ["Received"]
    assert all(len(part) < 998 for part in line.split(b"\r\n"))
    assert line.replace(b"\r\n", b"").find(b"\n") == -1


@pytest.mark.parametrize(
    ("extended", "tls", "auth", "utf8", "word"),
    [
        (False, False, False, False, "SMTP"),
        (True, False, False, False, "ESMTP"),
        (True, True, False, False, "ESMTPS"),
        (True, False, True, False, "ESMTPA"),
        (True, True, True, False, "ESMTPSA"),
        (True, False, False, True, "UTF8SMTP"),
        (True, True, True, True, "UTF8SMTPSA"),
    ],
)
def test_protocol(extended, tls, auth, utf8, word):
    assert protocol(extended=extended, tls=tls, auth=auth, utf8=utf8) == word


@pytest.mark.parametrize("now", [0.0, NOW, NOW + 0.999, 951_782_400.0])
def test_dates(now):
    assert parsedate_to_datetime(rfc5322_date(now)).timestamp() == int(now)
    assert date_header(now) == f"Date: {rfc5322_date(now)}\r\n".encode()


def test_message_id():
    assert message_id_header("0abc", "relay.internal") == b"Message-ID: <0abc@relay.internal>\r\n"


def test_rewrite_replaces_where_it_was_and_keeps_all_else():
    head = b"Received: r\r\nFROM: old\r\n folded\r\nTo: c@d\r\nfrom: second\r\nResent-From: r@x\r\n\r\nFrom: body\r\n"
    assert rewrite(head, header_from="Billing <billing@example.com>") == (
        b"Received: r\r\nFrom: Billing <billing@example.com>\r\nTo: c@d\r\nResent-From: r@x\r\n\r\nFrom: body\r\n"
    )


def test_rewrite_adds_what_is_missing_behind_our_received():
    head = b"Received: r\r\n\tby x\r\nTo: c@d\r\n\r\nbody\r\n"
    assert rewrite(head, header_from="f@x", reply_to="r@x") == (
        b"Received: r\r\n\tby x\r\nReply-To: r@x\r\nFrom: f@x\r\nTo: c@d\r\n\r\nbody\r\n"
    )


@pytest.mark.parametrize(
    ("head", "out"),
    [
        (b"Received: r\r\n\r\nhello\r\n", b"Received: r\r\nFrom: f@x\r\n\r\nhello\r\n"),
        (b"hello\r\n", b"From: f@x\r\n\r\nhello\r\n"),
        (b"\r\nhello\r\n", b"From: f@x\r\n\r\nhello\r\n"),
        (b"To: only@headers\r\n", b"To: only@headers\r\nFrom: f@x\r\n"),
    ],
)
def test_E6_rewrite_of_odd_messages(head, out):
    assert rewrite(head, header_from="f@x") == out


def test_rewrite_of_nothing_is_identity():
    assert rewrite(PLAIN) == PLAIN


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("Jörg Müller <j@x.example>", "Jörg Müller"),
        ("=?x?= <j@x.example>", "=?x?="),
        ("Ünïcode " * 12 + "<j@x.example>", ("Ünïcode " * 12).strip()),
    ],
)
def test_rewrite_encodes_names(value, name):
    line = rewrite(b"From: a\r\n\r\n", header_from=value).partition(b"\r\n\r\n")[0]
    assert line.isascii()
    assert all(len(part) <= 78 + 20 for part in line.split(b"\r\n"))
    field = message_from_bytes(line + b"\r\n\r\n")["From"]
    shown, _, address = field.rpartition(" <")
    assert str(make_header(decode_header(shown))) == name
    assert address == "j@x.example>"


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("j@x.example", b"From: j@x.example\r\n"),
        ("<j@x.example>", b"From: <j@x.example>\r\n"),
        ("Acme, Inc. <j@x.example>", b'From: "Acme, Inc." <j@x.example>\r\n'),
        ('"Acme \\"A\\" Inc." <j@x.example>', b'From: "Acme \\"A\\" Inc." <j@x.example>\r\n'),
        ("Evil\r\nBcc: v@x <j@x.example>", b'From: "Evil  Bcc: v@x" <j@x.example>\r\n'),
    ],
)
def test_H1_rewrite_quotes_and_never_injects(value, field):
    assert rewrite(b"From: a\r\n\r\n", header_from=value) == field + b"\r\n"


def test_E1_E6_white_space_before_the_colon_hides_no_field():
    fields = b"Received : by a\r\nDATE\t: x\r\nMessage-Id :\t<a@b>\r\nX-App : crm : 2\r\nSubject: a : b\r\n"
    facts = scan(fields + b"\r\nDate : text\r\n", frozenset({"x-app", "subject"}))
    assert (facts.received, facts.has_date, facts.has_message_id) == (1, True, True)
    assert facts.values == {"x-app": "crm : 2", "subject": "a : b"}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (b"X-Relay-Identity: invoices\r\n", "invoices"),
        (b"x-RELAY-identity\t:invoices\r\n", "invoices"),
        (b"X-Relay-Identity:\r\n\tinvoices\r\n of May\r\n", "invoices of May"),
        (b"X-Relay-Identity: one\r\nX-Relay-Identity: two\r\n", "one"),
        (b"X-Relay-Identity:\r\n", ""),
        (b"X-Relay-Identity-Of: x\r\nMy-X-Relay-Identity: y\r\n", None),
        (b"X-A: x\r\n X-Relay-Identity: folded\r\n", None),
    ],
)
def test_scan_sees_whose_mail_it_is(fields, name):
    assert scan(fields + PLAIN).identity == name
    assert scan(b"To: c@d\r\n" + fields).identity == name
    assert scan(PLAIN + fields).identity is None


def test_what_is_for_us_only_is_taken_out_wherever_it_stands():
    field = b"X-Relay-Identity: a\r\n\tfolded\r\n"
    head = field + b"To: c@d\r\nx-relay-identity : b\r\nX-Relay-Identity-Of: x\r\n" + field + b"\r\n" + field
    assert without(head, IDENTITY) == b"To: c@d\r\nX-Relay-Identity-Of: x\r\n\r\n" + field
    assert without(PLAIN, IDENTITY) == PLAIN
    assert without(b"\r\n" + field, IDENTITY) == b"\r\n" + field


def test_a_section_is_endless_when_its_end_is_out_of_sight():
    assert endless(b"X: " + b"x" * HEAD)
    assert not endless(b"X: y\r\n\r\n" + b"x" * HEAD)
    assert not endless(b"\r\n" + b"x" * HEAD)
    assert not endless(b"X: y\r\n")
