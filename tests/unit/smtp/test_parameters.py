"""MAIL and RCPT parameters."""

import pytest

from relay.model import Reply
from relay.smtp.parameters import MailParameters, RcptParameters, parse_mail_parameters, parse_rcpt_parameters


def codes(result) -> str:
    assert isinstance(result, Reply), result
    return f"{result.code} {result.enhanced}"


def test_none():
    assert parse_mail_parameters(b"") == MailParameters()
    assert parse_rcpt_parameters(b"") == RcptParameters()


def test_L10_values_keep_their_case():
    mail = parse_mail_parameters(b"size=4096 body=8bitmime smtputf8 Ret=hdrs envid=QQ+3D314159aB AUTH=<>")
    assert mail == MailParameters(size=4096, eight_bit=True, utf8=True, ret="HDRS", envid="QQ+3D314159aB")
    rcpt = parse_rcpt_parameters(b"NOTIFY=success,Delay ORCPT=rfc822;Bob.Smith+2BX@Example.COM")
    assert rcpt == RcptParameters(notify="SUCCESS,DELAY", orcpt="rfc822;Bob.Smith+2BX@Example.COM")


def test_L10_body_7bit_and_several_spaces():
    assert parse_mail_parameters(b"BODY=7BIT   SIZE=0") == MailParameters()


@pytest.mark.parametrize(
    "rest",
    [
        b"SIZE=-1",
        b"SIZE=NaN",
        b"SIZE=1e9",
        b"SIZE=" + b"9" * 21,
        b"SIZE=",
        b"SIZE",
        "SIZE=٣".encode(),
        b"SIZE=1 SIZE=1",
        b"SIZE=1 size=2",
        b"BODY=",
        b"BODY=BINARYMIME",
        b"SMTPUTF8=1",
        b"SMTPUTF8=",
        b"RET=ALL",
        b"ENVID=",
        b"ENVID=a+0D+0AX-Header:x",
        b"ENVID=a+zz",
        b"ENVID=a+2",
        b"ENVID=a=b",
        b"ENVID=" + b"a" * 101,
        b"AUTH=",
        b"=1",
        b"SIZE=1\tBODY=7BIT",
        b"-X=1",
        b"SIZE=\xff",
        b"SI\xc3\xa9ZE=1",
    ],
)
def test_B8_bad_mail_parameters(rest):
    assert codes(parse_mail_parameters(rest)) == "501 5.5.4"


@pytest.mark.parametrize(
    "rest",
    [
        b"NOTIFY=",
        b"NOTIFY",
        b"NOTIFY=NEVER,SUCCESS",
        b"NOTIFY=SUCCESS,",
        b"NOTIFY=MAYBE",
        b"NOTIFY=SUCCESS NOTIFY=DELAY",
        b"ORCPT=",
        b"ORCPT=rfc822;",
        b"ORCPT=a@b.c",
        b"ORCPT=;a@b.c",
        b"ORCPT=rfc822;a+0A@b.c",
        b"ORCPT=rfc822;a=b@b.c",
        b"ORCPT=rfc822;" + b"a" * 494,
        b"ORCPT=utf-8;a\\x{0A}@b.c",
        b"ORCPT=utf-8;a\\x{000D}@b.c",
        b"ORCPT=utf-8;a\\x{85}@b.c",
        b"ORCPT=utf-8;a\\x{DC80}@b.c",
    ],
)
def test_B8_bad_rcpt_parameters(rest):
    assert codes(parse_rcpt_parameters(rest, utf8=True)) == "501 5.5.4"


@pytest.mark.parametrize("rest", [b"XYZZY=1", b"HOLDFOR=60", b"NOTIFY=NEVER", b"MT-PRIORITY=3"])
def test_B8_unknown_mail_parameters(rest):
    assert codes(parse_mail_parameters(rest)) == "555 5.5.4"


def test_B8_unknown_rcpt_parameters():
    assert codes(parse_rcpt_parameters(b"SIZE=1")) == "555 5.5.4"


def test_B8_the_largest_size_is_a_number_for_the_limit_to_judge():
    assert parse_mail_parameters(b"SIZE=" + b"9" * 20) == MailParameters(size=10**20 - 1)


@pytest.mark.parametrize("value", ["utf-8;j\\x{F6}rg@example.com", "UTF-8;\\x{1F600}@x", "utf-8;plain@x"])
def test_orcpt_utf8_encoded(value):
    assert parse_rcpt_parameters(b"ORCPT=" + value.encode()) == RcptParameters(orcpt=value)


def test_orcpt_utf8_raw_needs_smtputf8():
    rest = "ORCPT=utf-8;jörg@example.com".encode()
    assert codes(parse_rcpt_parameters(rest)) == "501 5.5.4"
    assert parse_rcpt_parameters(rest, utf8=True) == RcptParameters(orcpt="utf-8;jörg@example.com")
