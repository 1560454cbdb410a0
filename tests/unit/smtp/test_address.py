"""Paths, judged as raw bytes."""

import pytest

from relay.model import Reply
from relay.smtp.address import Path, parse_path


def rcpt(raw: bytes, utf8: bool = False):
    return parse_path(raw, utf8=utf8, null=False)


def mail(raw: bytes, utf8: bool = False):
    return parse_path(raw, utf8=utf8, null=True)


def codes(result) -> str:
    assert isinstance(result, Reply), result
    return f"{result.code} {result.enhanced}"


@pytest.mark.parametrize(
    "address",
    [
        "user@example.com",
        "a@b",
        "root@localhost",
        "www-data@my_app",
        "first.last+tag@sub.example.co.uk",
        "!#$%&'*+/?=^_`{|}~-@example.com",
        "x@1.2.3.4",
        "x@xn--bcher-kva.example",
        "X@EXAMPLE.Com",
    ],
)
def test_L1_common_addresses_are_byte_exact(address):
    assert rcpt(f"<{address}>".encode()) == Path(address, b"")
    assert mail(f"<{address}> SIZE=1 BODY=7BIT".encode()) == Path(address, b"SIZE=1 BODY=7BIT")


@pytest.mark.parametrize("raw", [b" <a@b.c>", b"<a@b.c> ", b"  <a@b.c>   "])
def test_spaces_around_a_path_are_forgiven(raw):
    assert rcpt(raw) == Path("a@b.c", b"")


def test_parameters_are_given_back_trimmed():
    assert rcpt(b"<a@b.c>  NOTIFY=NEVER  ORCPT=rfc822;a@b.c ").rest == b"NOTIFY=NEVER  ORCPT=rfc822;a@b.c"
    assert rcpt(b'<"q"@b.c>  NOTIFY=NEVER ').rest == b"NOTIFY=NEVER"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"a@b.c",
        b"<a@b",
        b"a@b>",
        b"<a@b.c>SIZE=1",
        b"<<a@b.c>>",
        b"<a@b.c> SIZE=1\r\nRCPT TO:<x@y>",
        b"<a@b.c> \0",
        b'<"a>b"@c.d>',
        b"Name <a@b.c>",
        b"<a@b.c>\t",
    ],
)
def test_L2_what_is_no_path_is_501(raw):
    assert codes(rcpt(raw)) == codes(mail(raw)) == "501 5.5.4"


def test_B7_the_null_sender_is_the_empty_string():
    assert mail(b"<>") == Path("", b"")
    assert mail(b"<> SIZE=10") == Path("", b"SIZE=10")
    assert codes(rcpt(b"<>")) == "553 5.1.3"
    assert codes(mail(b"< >")) == "553 5.1.7"


@pytest.mark.parametrize(
    "raw",
    [
        b"<=?utf-8?q?a=0d=0aRCPT_TO:=3Cx=40evil.example=3E?=@allowed.example>",
        b"<=?utf-8?q?x=40evil.example=3e=20?=@allowed.example>",
        b"<=?x?q?=41=42?=collab@allowed.example>",
        b"<=?utf-8?b?eEBldmlsLmV4YW1wbGU+?=@allowed.example>",
        b'<"=?utf-8?q?x?="@allowed.example>',
        b"<a@=?utf-8?q?evil?=.example>",
    ],
)
def test_B1_L1_encoded_words(raw):
    assert codes(rcpt(raw)) == "553 5.1.3"
    assert codes(mail(raw)) == "553 5.1.7"


def test_B1_equals_signs_alone_are_an_address():
    # VERP and SRS are full of them.
    assert rcpt(b"<bounce-joe=facade.org@list.example>").address == "bounce-joe=facade.org@list.example"


@pytest.mark.parametrize("raw", [b"<@a,@b:c@d>", b"<@relay.example:user@example.com>"])
def test_B2_source_routes(raw):
    assert codes(rcpt(raw)) == "553 5.1.3"


@pytest.mark.parametrize("address", ["u%v@relay", "a!b@relay", '"u@v"@relay', '"a b\\"c\\\\"@x.example', '""@x'])
def test_B3_other_peoples_syntax_is_literal(address):
    assert rcpt(f"<{address}>".encode()) == Path(address, b"")


@pytest.mark.parametrize("raw", [b"<v!u>", b"<a@b@c>", b'<"u@v">', b'<"a"b@c>', b'<a"b"@c>', b'<"a@b>', b'<"u"@v@w>'])
def test_B3_ambiguous_ones_are_refused(raw):
    assert codes(rcpt(raw)) == "553 5.1.3"


@pytest.mark.parametrize("address", ["../../x@y", "|/bin/sh@x", "-oQ@x", "a..b@docomo.example", ".a.@x", "~root@x"])
def test_B4_dangerous_looking_ones_are_literal(address):
    assert rcpt(f"<{address}>".encode()) == Path(address, b"")


@pytest.mark.parametrize(
    "raw",
    [
        b"<$(id)@x>",
        b"<(comment)a@x>",
        b"<a@x(comment)>",
        b"<a b@x>",
        b"<a\r\n b@x>",
        b"<a\0@x>",
        b"<a\x7f@x>",
        b"<a@x\t>",
        b"<a;b@x>",
        b"<a,b@x>",
        b"<a:b@x>",
        b"<a\\b@x>",
        b'<"a\nb"@x>',
        b'<"a\\\rb"@x>',
        b"<@x>",
        b"<a@>",
        b"<a@.x>",
        b"<a@x.>",
        b"<a@x..y>",
        b"<a@-x>",
        b"<a@x->",
        b"<a@x y>",
        b"<a@x/y>",
    ],
)
def test_B4_comments_folding_controls(raw):
    assert codes(rcpt(raw)) == "553 5.1.3"


def test_B5_local_part_limits():
    assert rcpt(b"<" + b"a" * 256 + b"@example.com>").address == "a" * 256 + "@example.com"
    assert codes(rcpt(b"<" + b"a" * 257 + b"@example.com>")) == "553 5.1.3"
    assert isinstance(rcpt(b'<"' + b"a" * 254 + b'"@example.com>'), Path)
    assert codes(rcpt(b'<"' + b"a" * 255 + b'"@example.com>')) == "553 5.1.3"
    assert isinstance(rcpt(b"<" + "é".encode() * 128 + b"@x>", utf8=True), Path)
    assert codes(rcpt(b"<" + "é".encode() * 129 + b"@x>", utf8=True)) == "553 5.1.3"


def test_B5_domain_limits():
    fits = b".".join([b"a" * 63] * 4)
    assert len(fits) == 255
    assert rcpt(b"<u@" + fits + b">").address == "u@" + fits.decode()
    assert codes(rcpt(b"<u@" + fits + b".b>")) == "553 5.1.3"
    assert codes(rcpt(b"<u@" + b"a" * 64 + b".example>")) == "553 5.1.3"
    assert parse_path(b"<u@" + fits + b">", utf8=False, null=True) == ("u@" + fits.decode(), b"")
    for longer in (fits + b".b", b"a" * 64 + b".example", fits[:-1] + b"aa"):
        assert codes(parse_path(b"<u@" + longer + b">", utf8=False, null=True)) == "553 5.1.7"


@pytest.mark.parametrize("literal", ["[1.2.3.4]", "[IPv6:2001:db8::1]", "[ipv6:::ffff:1.2.3.4]"])
def test_B6_literals_are_byte_exact(literal):
    assert rcpt(f"<u@{literal}>".encode()).address == f"u@{literal}"


@pytest.mark.parametrize(
    "literal", ["[1.2.3]", "[1.2.3.04]", "[x]", "[]", "[", "[IPv6:zz]", "[2001:db8::1]", "[IPv6:fe80::1%eth0]", "[a:b]"]
)
def test_B6_bad_literals(literal):
    assert codes(rcpt(f"<u@{literal}>".encode())) == "553 5.1.3"


@pytest.mark.parametrize(
    "address", ["jörg@example.com", "用户@例え.example", "u@bücher.example", "u@straße.example", '"ж ж"@пример.example']
)
def test_B6_utf8_is_byte_exact_and_needs_smtputf8(address):
    raw = f"<{address}>".encode()
    assert codes(rcpt(raw)) == codes(mail(raw)) == "553 5.6.7"
    assert rcpt(raw, utf8=True).address.encode() == raw[1:-1]


@pytest.mark.parametrize(
    "address",
    [
        "a\uff20evil.example@allowed.example",  # fullwidth @
        "a\u2024b@x",  # one dot leader
        "a\u00a0b@x",
        "a\u2028b@x",
        "a\u0085b@x",
        "a\u202eb@x",
        "u@evil\uff0eexample",
        "u@evil\u2024example",
        "u@evil\u3002example",  # IDNA 2003 reads a dot; NFKC does not
        "u@evil\uff61example",
        "u@ｅｘａｍｐｌｅ.com",
        "u@exam\u00adple.com",
        "u@exam\u200dple.com",
        "u@exam\u034fple.com",
        "u@\u212aelvin.example",
        "u@a\u0338.example\u2044x",
        "u@e\u0301.example",  # not NFC: the same domain as another spelling
    ],
)
def test_B6_lookalikes_never_become_another_address(address):
    assert codes(rcpt(f"<{address}>".encode(), utf8=True)) == "553 5.1.3"


@pytest.mark.parametrize("raw", [b"<\xff@x>", b"<a@\xc0\xae>", b"<\xed\xa0\x80@x>"])
def test_B6_invalid_utf8(raw):
    assert codes(rcpt(raw, utf8=True)) == "553 5.1.3"
    assert codes(rcpt(raw)) == "553 5.6.7"


@pytest.mark.parametrize("raw", [b"<root>", b"<Postmaster>"])
def test_an_address_without_domain_names_the_fix(raw):
    assert codes(rcpt(raw)) == "553 5.1.3"
    assert codes(mail(raw)) == "553 5.1.7"
    assert "user@example.com" in rcpt(raw).text
