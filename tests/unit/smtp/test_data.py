"""The end of DATA, line ends and dot transparency."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.smtp.data import DataDecoder, Stuffer, Unstuffer, stuff, unstuff

END = b"\r\n.\r\n"
BEFORE = [b"\n", b"\r", b"\r\n", b"\r\r\n", b"\n\r", b"\r\n\0", b"\r\n\t", b"\r\n ", b"\r\n\v", b"\r\n\f", b"\r\n\x85"]
BEFORE.append("\r\n\u2028".encode())
AFTER = [b"\n", b"\r", b"\r\n", b"\r\r\n", b"\0\r\n", b" \r\n", b"\t\r\n", b"\n\r"]
VARIANTS = [b + b"." + a for b, a in itertools.product(BEFORE, AFTER) if b + b"." + a != END]
PAYLOAD = b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nSubject: forged\r\n\r\nboo"
REST = b"QUIT\r\n"
POSITIONS = [
    lambda v: v + PAYLOAD + END,
    lambda v: b"Subject: x\r\n\r\nhello" + v + PAYLOAD + END,
    lambda v: b"Subject: x\r\n\r\nhello\r\n" + v + PAYLOAD + END,
    lambda v: b"Subject: x\r\n\r\nhello" + v + END,
]


def chunkings(data: bytes):
    yield [data]
    for size in (1, 2, 3, 7):
        yield [data[i : i + size] for i in range(0, len(data), size)]
    yield [piece for piece in re.split(rb"(?<=[\r\n.])", data) if piece]


def decode(chunks, policy="normalize", max_size=1 << 30):
    decoder = DataDecoder(policy, max_size)
    return decoder, b"".join([decoder.feed(chunk) for chunk in chunks])


def ends_at(raw: bytes) -> int:
    """Where the commands after the message begin: the rule itself, DATA being right after a CRLF."""
    return (b"\r\n" + raw).index(END) + len(END) - 2


def assert_safe_wire(wire: bytes):
    """A2: sent as it lies, with the final dot, it is one message and no line of it lacks its stuffing."""
    assert wire.count(b"\r") == wire.count(b"\n") == wire.count(b"\r\n")
    assert wire == b"" or wire.endswith(b"\r\n")
    lines = wire.split(b"\r\n")[:-1]
    assert all(line.startswith(b"..") for line in lines if line.startswith(b"."))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.hex())
def test_A1_A2_only_crlf_dot_crlf_ends_data(variant):
    for position in POSITIONS:
        for prefix, max_size in ((b"", 1 << 30), (b"", 40), (b"y" * 3000, 1 << 30)):
            raw = prefix + position(variant)
            end = ends_at(raw)
            results = set()
            for chunks in chunkings(raw + REST) if not prefix else ([raw + REST], [raw[:-3], raw[-3:] + REST]):
                decoder, wire = decode(chunks, max_size=max_size)
                assert decoder.done
                assert decoder.rest == raw[end:] + REST
                assert_safe_wire(wire) if decoder.problem is None else None
                results.add((decoder.problem, wire if decoder.problem is None else b""))
            assert len(results) == 1


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.hex())
def test_A3_reject_stays_in_step(variant):
    raw = b"Subject: x\r\n\r\nhello" + variant + b"tail" + END
    message = raw[: ends_at(raw)].removesuffix(END) + b"\r\n"
    bare = re.search(rb"\r(?!\n)|(?<!\r)\n", message) is not None
    for chunks in chunkings(raw + REST):
        decoder, wire = decode(chunks, "reject")
        assert decoder.problem == ("bare" if bare else None)
        assert decoder.rest.endswith(REST)
        if not bare:
            assert_safe_wire(wire)


def test_A1_the_end_inside_a_bare_cr():
    decoder, wire = decode([b"a\r\r\n.\r\nQUIT\r\n"])
    assert (wire, decoder.rest) == (b"a\r\n\r\n", b"QUIT\r\n")


@pytest.mark.parametrize(
    ("raw", "wire"),
    [
        (b"a\nb\rc", b"a\r\nb\r\nc\r\n"),
        (b"a\n.\nb", b"a\r\n..\r\nb\r\n"),
        (b"a\r.\rb", b"a\r\n..\r\nb\r\n"),
        (b"a\n..b", b"a\r\n...b\r\n"),
        (b"a\n\r\nb", b"a\r\n\r\nb\r\n"),
        (b"a\r\r\rb", b"a\r\n\r\n\r\nb\r\n"),
        (b"a\n\rb", b"a\r\n\r\nb\r\n"),
        (b"a\r\n.\nb", b"a\r\n\r\nb\r\n"),
        (b"a\r\n.\rb", b"a\r\n\r\nb\r\n"),
        (b"\n.\n", b"\r\n..\r\n\r\n"),
    ],
)
def test_A3_normalize(raw, wire):
    for chunks in chunkings(raw + END):
        decoder, got = decode(chunks)
        assert got == wire
        assert decoder.problem is None
        assert decoder.size == len(unstuff(wire))


@pytest.mark.parametrize(
    ("raw", "content"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"...\r\n.\r\n", b"..\r\n"),
        (b"..x\r\n.\r\n", b".x\r\n"),
        (b"a\r\n..x\r\n...\r\n..\r\n.\r\n", b"a\r\n.x\r\n..\r\n.\r\n"),
        (b"last\r\n..\r\n.\r\n", b"last\r\n.\r\n"),
    ],
)
def test_E5_dots_first_and_last_line(raw, content):
    for chunks in chunkings(raw + REST):
        decoder, wire = decode(chunks)
        assert unstuff(wire) == content
        assert wire == raw.removesuffix(b".\r\n")
        assert decoder.size == len(content)
        assert decoder.rest == REST


def test_a_forgotten_stuffing_dot_is_deleted():
    # RFC 5321 4.5.2: the receiver deletes it, so upstream would; we do not leave it to meet something else.
    decoder, wire = decode([b".x\r\n.y\r\n..z\r\n.\r\n"])
    assert wire == b"x\r\ny\r\n..z\r\n"
    assert decoder.size == len(b"x\r\ny\r\n.z\r\n")


def test_common_path_gives_the_same_bytes_back():
    message = b"Subject: x\r\n\r\n" + b"line with a . in it\r\n" * 200 + b"..dot\r\n"
    decoder, wire = decode([message + b".\r\nMAIL FROM:<a@b>\r\n"])
    assert wire == message
    assert decoder.rest == b"MAIL FROM:<a@b>\r\n"


@pytest.mark.parametrize("length", [999, 2048, 65_536])
def test_D7_long_lines_pass(length):
    message = b"z" * length + b"\r\n"
    assert decode([message + b".\r\n"])[1] == message


@pytest.mark.parametrize(("extra", "problem"), [(-1, None), (0, None), (1, "too_big")])
def test_D6_limit_counts_content_not_stuffing(extra, problem):
    content = b".a\r\n" * 24 + b"x" * (4 + extra) + b"\r\n"
    for chunks in chunkings(stuff(content) + b".\r\n" + REST):
        decoder, _ = decode(chunks, max_size=4 * 24 + 6)
        assert decoder.problem == problem
        assert decoder.rest == REST


def test_L5_D4_memory_is_flat_without_crlf_and_over_the_limit():
    decoder = DataDecoder("normalize", 100_000)
    chunk = b"x" * 65_536
    returned = sum(len(decoder.feed(chunk)) for _ in range(200))
    assert returned <= 100_000
    assert len(decoder._held) <= 4
    assert decoder.feed(b"\r\n.\r\nNOOP\r\n") == b""
    assert (decoder.done, decoder.problem, decoder.rest) == (True, "too_big", b"NOOP\r\n")


def test_too_big_wins_over_bare_in_any_chunking():
    for chunks in chunkings(b"a\nb" + b"x" * 50 + END):
        decoder, _ = decode(chunks, "reject", max_size=20)
        assert decoder.problem == "too_big"


def test_reject_gives_nothing_back_after_the_fault():
    decoder = DataDecoder("reject", 1 << 20)
    assert decoder.feed(b"fine\r\n") == b"fine"
    assert decoder.feed(b"bad\nhere") == b"" == decoder.feed(b"more\r\nand more")


def test_nul_and_eight_bit_pass():
    decoder, wire = decode([b"a\0b\r\n.\r\n"])
    assert (wire, decoder.eight_bit) == (b"a\0b\r\n", False)
    decoder, wire = decode(["é\r\n".encode() + b".\r\n"])
    assert (wire, decoder.eight_bit) == ("é\r\n".encode(), True)


def test_bytes_after_the_end_are_kept_for_the_session():
    decoder, _ = decode([b"x\r\n.\r\nRS", b"ET\r\n"])
    assert decoder.rest == b"RSET\r\n"
    assert decoder.feed(b"") == b""


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b""),
        (b"a", b"a\r\n"),
        (b".", b"..\r\n"),
        (b".\r\n", b"..\r\n"),
        (b"\r\n", b"\r\n"),
        (b"\n", b"\r\n"),
        (b"\n.", b"\r\n..\r\n"),
        (b"a\n.b\r.c\r\n.d", b"a\r\n..b\r\n..c\r\n..d\r\n"),
    ],
)
def test_L14_stuff(content, wire):
    assert stuff(content) == wire
    assert_safe_wire(wire)


def test_L14_bare_cr_before_a_dot_can_not_end_a_message():
    assert stuff(b"x\r.\r\ny") == b"x\r\n..\r\ny\r\n"


def test_unstuff_in_pieces():
    wire = b"..a\r\n...b\r\nc.\r\n..\r\n"
    for chunks in chunkings(wire):
        reader = Unstuffer()
        assert b"".join([reader.feed(chunk) for chunk in chunks]) == b".a\r\n..b\r\nc.\r\n.\r\n"


@given(st.lists(st.text(st.sampled_from("a.\r\n"), max_size=5).map(str.encode)))
def test_stuffing_in_pieces_is_stuffing_the_whole(pieces):
    stuffer = Stuffer()
    wire = b"".join([*map(stuffer.feed, pieces), stuffer.finish()])
    assert wire == stuff(b"".join(pieces))
    assert stuffer.size == len(unstuff(wire))


def test_stuffing_in_pieces_tells_eight_bit():
    for content, eight_bit in ((b"a", False), ("ä".encode(), True)):
        stuffer = Stuffer()
        stuffer.feed(content)
        assert stuffer.eight_bit is eight_bit
