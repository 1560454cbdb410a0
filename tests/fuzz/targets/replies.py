"""What an upstream answers parses or is a ProtocolError, and the same however it is cut.

Run by the fuzz driver and by the replay of the corpus. The reference reads line by line and knows no chunks.
"""

from __future__ import annotations

import re

from fuzz.reading import Reading, pieces

from relay.smtp.reply import MAX_LINE, MAX_LINES, MAX_REPLY, MAX_TEXT, ProtocolError, ReplyParser, format_reply

LONGEST = 2048
WORDS = (b"250 ", b"250-", b"354 ", b"421 ", b"550 5.1.1 ", b"2.0.0 ", b"\r\n", b"\r\n250-", b"\xe2\x80\xa8", b"\n")

Heard = tuple[list[tuple[int, str, str, tuple[bytes, ...]]], bool]


def run(data: bytes) -> None:
    reading = Reading(data)
    cut, stream = reading.byte(), reading.rest()
    whole = heard([stream])
    assert whole == heard(pieces(stream, 1)), "byte by byte it is heard differently"
    assert whole == heard(pieces(stream, cut)), f"in pieces ({cut}) it is heard differently"
    replies, broken = whole
    assert ([(code, lines) for code, _, _, lines in replies], broken) == reference(stream)
    for code, enhanced, text, _ in replies:
        assert 200 <= code <= 599
        assert text.isprintable() and len(text) <= MAX_TEXT
        assert not enhanced or (enhanced.isascii() and int(enhanced[0]) == code // 100)


def heard(chunks: list[bytes]) -> Heard:
    parser, found, broken = ReplyParser(), [], False
    try:
        for chunk in chunks:
            found += parser.read(chunk)
    except ProtocolError as error:
        found += error.parsed
        broken = True
    for parsed in found:  # what is kept of it can be said again, in one line
        again = format_reply(parsed.reply)
        assert again.endswith(b"\r\n") and again.count(b"\r") == again.count(b"\n") == 1
    return [(p.reply.code, p.reply.enhanced, p.reply.text, p.lines) for p in found], broken


def reference(stream: bytes) -> tuple[list[tuple[int, tuple[bytes, ...]]], bool]:
    """Codes and lines of the complete replies, and whether something is none (RFC 5321 4.2.1)."""
    found: list[tuple[int, tuple[bytes, ...]]] = []
    *lines, tail = stream.split(b"\n")
    code, texts, size = 0, [], 0
    for line in lines:
        line = line[:-1] if line[-1:] == b"\r" else line
        size += len(line) + 2
        if len(line) > MAX_LINE or len(texts) == MAX_LINES or size > MAX_REPLY:
            return found, True
        if not re.match(rb"[2-5]\d\d", line) or line[3:4] not in (b"", b" ", b"-") or (texts and int(line[:3]) != code):
            return found, True
        code = int(line[:3])
        texts.append(line[4:])
        if line[3:4] != b"-":
            found.append((code, tuple(texts)))
            texts, size = [], 0
    return found, len(tail) > MAX_LINE
