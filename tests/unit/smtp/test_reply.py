"""Replies, both ways."""

import pytest

from relay.model import Reply
from relay.smtp.reply import MAX_LINE, ProtocolError, ReplyParser, format_reply


def parse(data: bytes) -> list[Reply]:
    return ReplyParser().feed(data)


@pytest.mark.parametrize(
    ("raw", "reply"),
    [
        (b"250 2.1.0 Ok\r\n", Reply(code=250, enhanced="2.1.0", text="Ok")),
        (b"250\r\n", Reply(code=250)),
        (b"250 \r\n", Reply(code=250)),
        (b"250 Ok\n", Reply(code=250, text="Ok")),
        (b"354 go ahead\r\n", Reply(code=354, text="go ahead")),
        (b"550 5.1.1\r\n", Reply(code=550, enhanced="5.1.1")),
        (b"550-5.1.1 No such\r\n550 5.1.1 user\r\n", Reply(code=550, enhanced="5.1.1", text="No such / user")),
        (b"550-first\r\n550 5.7.26 last\r\n", Reply(code=550, enhanced="5.7.26", text="first / last")),
        (b"550 4.2.2 of another class\r\n", Reply(code=550, text="4.2.2 of another class")),
        (b"550 5.1.1.2 not one\r\n", Reply(code=550, text="5.1.1.2 not one")),
        (b"250 caf\xc3\xa9\r\n", Reply(code=250, text="café")),
        (b"250 caf\xe9\r\n", Reply(code=250, text="caf\\xe9")),
        (b"250 a\0b\x1b[2Jc\rd\r\n", Reply(code=250, text="a\\x00b\\x1b[2Jc\\rd")),
        ("250 a\u2028b\u202ec\r\n".encode(), Reply(code=250, text="a\\u2028b\\u202ec")),
    ],
)
def test_one_reply_in_any_pieces(raw, reply):
    assert parse(raw) == [reply]
    parser = ReplyParser()
    assert [r for byte in raw for r in parser.feed(bytes([byte]))] == [reply]
    assert not parser.partial


def test_several_replies_in_one_segment():
    assert [r.code for r in parse(b"250 a\r\n250-b\r\n250 c\r\n354 d\r\n")] == [250, 250, 354]


def test_partial():
    parser = ReplyParser()
    assert not parser.partial
    assert parser.feed(b"250-half\r\n") == []
    assert parser.partial
    assert parser.feed(b"250 whole") == []
    assert [r.text for r in parser.feed(b"\r\n")] == ["half / whole"]
    assert not parser.partial


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n",
        b"25 Ok\r\n",
        b"2500 Ok\r\n",
        b"150 Ok\r\n",
        b"650 Ok\r\n",
        b"abc\r\n",
        b"250_Ok\r\n",
        b" 250 Ok\r\n",
        b"\xb2\xb5\xb0 Ok\r\n",
        b"250-a\r\n251 b\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
    ],
)
def test_malformed(raw):
    with pytest.raises(ProtocolError):
        parse(raw)


def test_F_bounded_line_lines_and_reply():
    with pytest.raises(ProtocolError):
        parse(b"250 " + b"x" * MAX_LINE)
    with pytest.raises(ProtocolError):
        parse(b"250 " + b"x" * MAX_LINE + b"\r\n")
    with pytest.raises(ProtocolError):
        parse(b"250-x\r\n" * 101)
    with pytest.raises(ProtocolError):
        parse((b"250-" + b"x" * 10_000 + b"\r\n") * 7)
    assert len(parse(b"250-x\r\n" * 99 + b"250 x\r\n")) == 1
    assert len(parse(b"250 " + b"x" * 9000 + b"\r\n")[0].text) <= 2000


def test_the_error_carries_the_replies_before_it():
    with pytest.raises(ProtocolError) as caught:
        parse(b"250 2.0.0 queued\r\nrubbish\r\n")
    assert caught.value.replies == (Reply(code=250, enhanced="2.0.0", text="queued"),)


def test_A5_the_error_echoes_nothing_raw():
    with pytest.raises(ProtocolError) as caught:
        parse(b"\x1b]0;evil\x07" + b"z" * 500 + b"\r\n")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_format():
    assert format_reply(Reply(code=250, enhanced="2.0.0", text="Ok: queued as x")) == b"250 2.0.0 Ok: queued as x\r\n"
    assert format_reply(Reply(code=354)) == b"354\r\n"


def test_L4_format_never_splits():
    line = format_reply(Reply(code=451, enhanced="4.3.0", text="a\r\n250 forged\0é\u2028" + "x" * 2000))
    assert line.count(b"\n") == line.count(b"\r") == 1
    assert line.endswith(b"\r\n")
    assert line.isascii()
    assert len(line) <= 512
