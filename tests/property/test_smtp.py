"""Properties of the protocol code: it does not depend on how bytes are cut, and it never surprises."""

import re
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.model import Reply
from relay.smtp.address import Path, parse_path
from relay.smtp.data import DataDecoder, Unstuffer, stuff, unstuff
from relay.smtp.headers import IDENTITY, rewrite, scan, without
from relay.smtp.parameters import parse_mail_parameters, parse_rcpt_parameters
from relay.smtp.reply import ProtocolError, ReplyParser, format_reply

thoroughly = settings(deadline=None, max_examples=300)

END = b"\r\n.\r\n"
# Made of what matters, so that the cases that matter come up.
streams = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"..", b"a", b"\0", b"\xe9", END]), max_size=40).map(
    b"".join
)
cuts = st.lists(st.integers(0, 60), max_size=10)


def pieces(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(data)) for cut in at), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def decode(chunks, policy, max_size):
    decoder = DataDecoder(policy, max_size)
    wire = b"".join([decoder.feed(chunk) for chunk in chunks])
    return decoder, wire


def model(raw: bytes) -> tuple[bytes, bytes]:
    """The specification, line by line: content and the bytes after the end."""
    text, _, rest = (b"\r\n" + raw + END).partition(END)
    content = b""
    tokens = re.split(rb"(\r\n|\r|\n)", text)
    for before, line in zip(tokens[1::2], tokens[2::2], strict=True):
        content += line.removeprefix(b".") if before == b"\r\n" and line.startswith(b".") else line
        content += b"\r\n"
    empty = (b"\r\n" + raw).startswith(END)
    return (b"" if empty else content), rest


@thoroughly
@given(streams, cuts, st.sampled_from(["normalize", "reject"]), st.sampled_from([5, 1000]))
@example(b"a\r\r\n.\r\nb", [], "normalize", 1000)
@example(b"a\r\n.\n.\r\n", [2, 4], "normalize", 1000)
def test_A1_A7_decoder_whole_is_decoder_in_pieces(raw, at, policy, max_size):
    data = raw + END
    results = []
    for chunks in ([data], [bytes([b]) for b in data], pieces(data, at)):
        decoder, wire = decode(chunks, policy, max_size)
        problem = decoder.problem
        results.append(
            (decoder.done, decoder.rest, problem, None if problem else (wire, decoder.size, decoder.eight_bit))
        )
    assert results[0] == results[1] == results[2]


@thoroughly
@given(streams)
def test_A2_decoder_does_what_the_specification_says(raw):
    decoder, wire = decode([raw + END], "normalize", 1 << 20)
    content, rest = model(raw)
    assert decoder.rest == rest
    assert unstuff(wire) == content
    assert wire == stuff(content)
    assert decoder.size == len(content)


@thoroughly
@given(streams, cuts)
def test_L14_round_trip(content, at):
    wire = stuff(content)
    decoder, again = decode(pieces(wire + b".\r\n", at), "reject", 1 << 20)
    assert (decoder.problem, decoder.rest, again) == (None, b"", wire)
    normal = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    assert unstuff(wire) == (normal if normal.endswith(b"\r\n") or not normal else normal + b"\r\n")
    reader = Unstuffer()
    assert b"".join([reader.feed(piece) for piece in pieces(wire, at)]) == unstuff(wire)


address_bytes = st.one_of(
    st.binary(max_size=40),
    st.text(alphabet='ab.@"\\[]:=?-_%!<> é＠․。\u200b\r\n\0', max_size=20).map(lambda s: s.encode()),
    st.emails().map(lambda s: s.encode()),
)


@thoroughly
@given(address_bytes, st.binary(max_size=10), st.booleans(), st.booleans())
def test_B10_address_judged_is_what_goes_on_the_wire(inner, rest, utf8, null):
    raw = b"<" + inner + b"> " + rest
    result = parse_path(raw, utf8=utf8, null=null)
    if isinstance(result, Path):
        sent = result.address.encode()
        assert raw.startswith(b"<" + sent + b">")
        assert sent == raw[1 : raw.index(b">")]
        assert not re.search(rb"[\x00-\x1f\x7f<>]", sent)
        assert utf8 or sent.isascii()
        assert sent or null
    else:
        assert result.code in (501, 553)


@thoroughly
@given(st.binary(max_size=60), st.booleans())
def test_B8_parameters_parse_or_are_refused(rest, utf8):
    for result in (parse_mail_parameters(rest), parse_rcpt_parameters(rest, utf8=utf8)):
        if isinstance(result, Reply):
            assert result.code in (501, 555)


reply_streams = st.one_of(
    st.binary(max_size=80),
    st.lists(
        st.sampled_from(
            [b"250 ok\r\n", b"250-", b"a\r\n", b"550 5.1.1 no\r\n", b"354", b" ", b"\r\n", b"\n", b"\0", b"\xff"]
        ),
        max_size=12,
    ).map(b"".join),
)


def replies(chunks) -> tuple[list[Reply], bool]:
    parser, got = ReplyParser(), []
    try:
        for chunk in chunks:
            got += parser.feed(chunk)
    except ProtocolError as error:
        return [*got, *error.replies], True
    return got, False


@thoroughly
@given(reply_streams, cuts)
def test_F_replies_parse_or_protocol_error_however_cut(data, at):
    got, broken = replies([data])
    assert (got, broken) == replies([bytes([b]) for b in data]) == replies(pieces(data, at))
    assert all(reply.text.isprintable() for reply in got)


@thoroughly
@given(st.integers(200, 599), st.text(max_size=600))
def test_A6_our_replies_are_one_line_that_parses(code, text):
    line = format_reply(Reply(code=code, enhanced="", text=text))
    assert line.index(b"\r\n") == len(line) - 2
    (reply,) = ReplyParser().feed(line)
    assert reply.code == code


header_streams = st.lists(
    st.sampled_from([b"\r\n", b"From:", b"a", b" ", b"Reply-To: x\r\n", b"X: y\r\n", b"\r\n\r\n", b":", b"\xe9"]),
    max_size=20,
).map(b"".join)


@thoroughly
@given(header_streams)
def test_E6_scan_and_rewrite_take_anything(head):
    scan(head, frozenset({"from", "x"}))
    out = rewrite(b"Received: r\r\n" + stuff(head), header_from="f@x")
    assert scan(out, frozenset({"from"})).values["from"] == "f@x"
    assert out.startswith(b"Received: r\r\n")


fields = st.sampled_from(
    [
        b"X-Relay-Identity: a\r\n",
        b"x-relay-identity :\r\n\tb\r\n",
        b"X-Relay-Identity: c\r\n d\r\n\te\r\n",
        b"X-Relay-Identity2: kept\r\n",
        b"Subject: X-Relay-Identity: kept\r\n",
        b"Received: x\r\n X-Relay-Identity: folded\r\n",
        b"From: a@b\r\n",
    ]
)
bodies = st.sampled_from([b"", b"\r\n", b"\r\nX-Relay-Identity: text\r\n", b"\r\n..\r\n\r\nFrom: text\r\n"])


@thoroughly
@given(st.lists(fields, max_size=8), bodies)
def test_E5_an_identity_takes_out_its_name_and_not_a_byte_beside(section, body):
    ours = re.compile(rb"x-relay-identity[ \t]*:", re.IGNORECASE)
    kept = [field for field in section if not ours.match(field)]
    assert without(b"".join(section) + body, IDENTITY) == b"".join(kept) + body
    assert (scan(b"".join(section) + body).identity is not None) is (kept != section)
