"""Mailboxes: as people write them, and as headers have them."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.compose.mailboxes import Mailbox, field, parse
from relay.compose.words import line_problem, phrase
from relay.smtp.address import parse_path

NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=300).map(str.strip)


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("ann@example.com", Mailbox("ann@example.com")),
        ("  ann@example.com ", Mailbox("ann@example.com")),
        ("<ann@example.com>", Mailbox("ann@example.com")),
        ("Ann <ann@example.com>", Mailbox("ann@example.com", "Ann")),
        ("Ann<ann@example.com>", Mailbox("ann@example.com", "Ann")),
        ("Smith, Ann <ann@example.com>", Mailbox("ann@example.com", "Smith, Ann")),
        ('"Smith, \\"Ann\\"" <ann@example.com>', Mailbox("ann@example.com", 'Smith, "Ann"')),
        ('"" <ann@example.com>', Mailbox("ann@example.com")),
        ("Jörg <jörg@example.com>", Mailbox("jörg@example.com", "Jörg")),
        ('"a b"@example.com', Mailbox('"a b"@example.com')),
        ("ann@example.com <ann@example.org>", Mailbox("ann@example.org", "ann@example.com")),
        ('"ann@example.com, Bob" <bob@example.org>', Mailbox("bob@example.org", "ann@example.com, Bob")),
        ("Ann.O'Neil+x@EXAMPLE.com", Mailbox("Ann.O'Neil+x@EXAMPLE.com")),
    ],
)
def test_what_people_write(text, mailbox):
    assert parse(text) == mailbox


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nobody",
        "a@b@c",
        "ann@example.com, bob@example.com",
        "ann@example.com, Bob <bob@example.com>",
        "ann@example.com; Bob <bob@example.com>",
        "Friends: ann@example.com <bob@example.com>",
        "Ann <ann@example.com> <bob@example.com>",
        "<a@b.example> Ann",
        "Ann ann@example.com",
        '"open <ann@example.com>',
        "<>",
        "Ann <>",
        "@a.example:b@c.example",
        "a＠b.example",
        "$(id)@x\n",
        "a b@example.com",
        f"{'n' * 321} <ann@example.com>",
    ],
)
def test_what_is_no_mailbox_says_why(text):
    why = parse(text)
    assert isinstance(why, str)
    assert len(why) > 10


@pytest.mark.parametrize(
    "text",
    [
        "Ann\r\nBcc: eve@example.com <ann@example.com>",
        "ann@example.com\r\n",
        "ann@exa\nmple.com",
        "Ann\0 <ann@example.com>",
        "\ud800 <ann@example.com>",
        "ann\ud800@example.com",
        "=?utf-8?q?a=0d=0aBcc:=20eve=40example.com?= <ann@example.com>",
        "=?utf-8?q?ann=40evil.example?=@example.com",
    ],
)
def test_H1_nothing_is_smuggled_in_a_name_or_an_address(text):
    assert isinstance(parse(text), str)


@given(NAMES)
def test_H1_a_name_reads_as_it_was_given_and_is_one_header(name):
    if line_problem(name) or len(name) > 320:
        return
    raw = field("To", [Mailbox("ann@example.com", name), Mailbox("bob@example.org")])
    message = message_from_bytes(raw + b"\r\n", policy=policy.default)
    assert len(message) == 1
    found = message["To"].addresses
    assert [address.addr_spec for address in found] == ["ann@example.com", "bob@example.org"]
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    if name.isascii():
        assert found[0].display_name.split() == name.split()
    else:  # before Python 3.13 the parser above puts spaces between encoded words (RFC 2047 6.2: it must not)
        assert str(make_header(decode_header(phrase(name)))) == name


@given(st.text(max_size=60))
def test_B10_the_address_judged_is_the_address_sent(text):
    found = parse(text)
    if isinstance(found, Mailbox):
        judged = parse_path(b"<" + found.address.encode() + b">", utf8=True, null=False)
        assert judged.address == found.address
        assert found.address in text


def test_many_are_folded_between_mailboxes():
    raw = field("To", [Mailbox(f"recipient-{n}@example.com", "Some Name") for n in range(50)])
    lines = raw.decode().split("\r\n")
    assert max(map(len, lines)) <= 78
    assert len(message_from_bytes(raw + b"\r\n", policy=policy.default)["To"].addresses) == 50
