"""Mails nobody should send, made here: what breaks parsers, buffers, line ends and dots.

The tests of this folder send them. Everything is fixed; the same bytes each time. Names become recipients.
"""

from __future__ import annotations

import base64
import gzip
import itertools
from collections.abc import Callable, Iterator

from mail.samples import Sample

HEAD = b"From: a@client.test\r\nTo: b@mail.test\r\nSubject: t\r\nMessage-ID: <1@client.test>\r\nDate: today\r\n"
LETTER = HEAD + b"\r\n"
EIGHT = "BODY=8BITMIME"
UTF8 = "BODY=8BITMIME SMTPUTF8"
KIB, MIB = 1024, 1024 * 1024
BUFFERS = (4 * KIB, 64 * KIB, 256 * KIB)
LOOP = "554 5.4.6 "
Bodies = dict[str, bytes]


def small() -> Iterator[Sample]:
    """Some hundred odd mails."""
    groups: tuple[tuple[Callable[[], Bodies], str], ...] = (
        (_shapes, ""),
        (_bytes, EIGHT),
        (_line_ends, ""),
        (_long_lines, ""),
        (_dots, ""),
        (_heads, ""),
        (_eight_bit_heads, UTF8),
        (_eight_bit_heads, ""),
        (_mime, ""),
        (_commands, ""),
    )
    for group, parameters in groups:
        for name, content in group().items():
            yield Sample(f"{name}{'.declared' if parameters else ''}", content, parameters)
    for name, content in (_dots() | _line_ends() | _commands()).items():
        if len(content) < 2000:
            yield Sample(f"{name}.bytewise", content, piece=1)
            yield Sample(f"{name}.threes", content, piece=3)
    yield Sample("received.49", _received(49))
    yield Sample("received.50", _received(50), refused=LOOP)
    yield Sample("received.spaced.50", _received(50).replace(b"Received:", b"RECEIVED \t:"), refused=LOOP)


def tiny() -> Iterator[Sample]:
    """Every text of up to five of CR, LF, a dot and a letter, as a whole mail: 1,365 of them."""
    letters = (b"\r", b"\n", b".", b"a")
    for length in range(6):
        for parts in itertools.product(letters, repeat=length):
            content = b"".join(parts)
            yield Sample("tiny-" + content.translate(_NAMES).decode(), content)


_NAMES = bytes.maketrans(b"\r\n.", b"rnd")


def borders() -> Iterator[Sample]:
    """Line ends and dots at every place around the borders of buffers, in memory and in files."""
    for buffer, shift in itertools.product(BUFFERS, range(-4, 5)):
        start = LETTER + b"x" * (buffer + shift - len(LETTER))
        for name, text in (("dot", b"\r\n.\r\n..\r\n"), ("lf", b"\n.\n"), ("cr", b"\r.\r"), ("end", b"")):
            yield Sample(f"border-{name}-{buffer}{shift:+}", start + text, piece=buffer)
    for shift in range(5):
        yield Sample(f"dots-shifted-{shift}", LETTER + b"y" * shift + b"\r\n" + b".\r\n" * 200_000)
        yield Sample(f"lone-shifted-{shift}", LETTER + b"y" * shift + b"\r\n" + b"\r.\n" * 200_000)


def large() -> Iterator[Sample]:
    """40 MB each: text, one line without an end, and more than a listener with a limit of 40 MiB takes."""
    line = bytes(range(32, 127)) + b"\r\n"
    yield Sample("large.text", LETTER + line * (40_000_000 // len(line)))
    yield Sample("large.line", LETTER + b"z" * 40_000_000)
    yield Sample("large.too", LETTER + b"z" * (42 * MIB), refused="552 5.3.4 ")


def _shapes() -> Bodies:
    return {
        "empty": b"",
        "only-a-line-end": b"\r\n",
        "only-a-head": b"Subject: only a header\r\n",
        "only-a-head.unended": b"Subject: only a header",
        "no-head": b"no header at all\r\n\r\nMessage-ID: <not@a.header>\r\n",
        "begins-folded": b" folded: from nothing\r\nSubject: t\r\n\r\ntext\r\n",
        "blank-first": b"\r\nSubject: text already\r\n\r\ntext\r\n",
        "colon-first": b": no name\r\nSubject: t\r\n\r\ntext\r\n",
        "mbox": b"From a@client.test Sat Nov 21 10:00:00 2026\r\n" + LETTER + b"From here on\r\n>From there\r\n",
        "mbox.quoted": b">From a@client.test Sat Nov 21 10:00:00 2026\r\n" + LETTER + b"text\r\n",
        "spaces-only": b" \t \r\n \r\n",
        "no-end": LETTER + b"the last line has no end",
        "blank-lines": LETTER + b"\r\n" * 10_000,
        "trailing-space": LETTER + b"tab\t \r\n \r\n\t\r\n",
    }


def _bytes() -> Bodies:
    every = bytes(range(256))
    pairs = b"".join(bytes([first, second]) for first in range(256) for second in range(256))
    return {
        "nul.head": b"Sub\0ject: \0\r\n" + LETTER + b"text\r\n",
        "nul.value": b"X-Nul: a\0b\r\n" + LETTER + b"text\r\n",
        "nul.text": LETTER + b"a\0b\0\r\n\0\r\n\0.\r\n.\0\r\n",
        "nul.only": b"\0" * 100_000,
        "bytes.every": LETTER + every,
        "bytes.alone": b"".join(b"%c\r\n" % value for value in every),
        "bytes.pairs": LETTER + pairs,
        "bytes.head": b"X-Bytes: " + every.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n" + LETTER + b"t\r\n",
        "bytes.backwards": LETTER + pairs[::-1],
        "control-z": LETTER + b"\x1a\r\n\x04\r\n\x03\r\n",
        "separators": LETTER + "next\x85line\u2028sep\u2029par\vvt\fff\x1c\x1d\x1e.\r\n".encode() + b"\x85.\x85\r\n",
    }


def _line_ends() -> Bodies:
    return {
        "ends.lf": b"Subject: t\nX: y\n\ntext\n.\n..\nmore\n",
        "ends.cr": b"Subject: t\rX: y\r\rtext\r.\r..\rmore\r",
        "ends.mixed": LETTER + b"a\nb\rc\r\nd\r\r\ne\n\rf\n\n\r\r",
        "ends.head-lf": b"From: a@client.test\nSubject: t\r\nMessage-ID: <x@y>\n\r\ntext\r\n",
        "ends.cr-only": LETTER + b"\r" * 5000,
        "ends.lf-only": LETTER + b"\n" * 5000,
        "ends.crcrlf": LETTER + b"a\r\r\nb\r\r\n.\r\r\n",
        "ends.late": LETTER + b"x" * 300_000 + b"\r\n" + b"late\n.\nlate\r.\r",
    }


def _long_lines() -> Bodies:
    sizes = (76, 510, 511, 512, 513, 997, 998, 999, 1000, 2046, 2047, 2048, 2049, 65535, 65536, 65537, MIB)
    made = {f"line.{size}": LETTER + b"x" * size + b"\r\n" + b"." * size + b"\r\nend\r\n" for size in sizes}
    return made | {f"line.unended.{size}": LETTER + b"x" * size for size in (998, 999, 65536)}


def _dots() -> Bodies:
    texts = [
        b".",
        b"..",
        b"...",
        b".\r\n",
        b"..\r\n",
        b".x\r\n",
        b"x\r\n.",
        b"x\r\n.\r\n.\r\n",
        b"\r\n.\r\n\r\n",
        b"x.\r\n",
    ]
    made = {f"dots.{number}": LETTER + text for number, text in enumerate(texts)}
    made |= {f"dots.bare.{number}": text for number, text in enumerate(texts)}
    made["dots.field"] = b".Subject: dot\r\n" + LETTER + b".\r\n"
    made["dots.lines"] = LETTER + b".\r\n" * 1000
    made["dots.growing"] = LETTER + b"".join(b"." * length + b"\r\n" for length in range(300))
    made["dots.one-line"] = LETTER + b"." * 300_000
    return made


def _heads() -> Bodies:
    many = b"".join(b"X-Field-%d: %d\r\n" % (number, number) for number in range(9_000))
    folded = b"X-Folded: a" + b"\r\n\tb" * 30_000 + b"\r\n"
    return {
        "head.1mb-field": b"X-Long: " + b"x" * 1_000_000 + b"\r\n" + LETTER + b"text\r\n",
        "head.1mb-folded": b"X-Long: x" + b"\r\n xxxxxxxx" * 90_000 + b"\r\n" + LETTER + b"text\r\n",
        "head.late-names": b"X-Long: " + b"x" * 262_144 + b"\r\n" + LETTER + b"text\r\n",
        "head.full": b"X-Long: " + b"x" * (262_144 - 12) + b"\r\n\r\n" + b"text\r\n",
        "head.over-full": b"X-Long: " + b"x" * (262_144 - 11) + b"\r\n\r\n" + b"text\r\n",
        "head.late-end": HEAD + b"X-Long: " + b"x" * 300_000 + b"\r\n\r\ntext\r\n",
        "head.9000-fields": many + LETTER + b"text\r\n",
        "head.folded": folded + LETTER + b"text\r\n",
        "head.bcc": b"Bcc: secret@mail.test\r\nbcc : other@mail.test\r\n" + LETTER + b"text\r\n",
        "head.duplicates": HEAD * 3 + b"Bcc: c@mail.test\r\n" + HEAD.lower() + b"\r\ntext\r\n",
        "head.spaced-names": b"Message-ID\t : <x@y>\r\nDATE : today\r\n\r\ntext\r\n",
        "head.id-empty": b"Message-ID:\r\nDate:\r\n\r\ntext\r\n",
        "head.id-odd": b"Message-ID: <a@b> <c@d> (x) no@brackets <<>>@\r\n\r\ntext\r\n",
        "head.id-folded": b"Message-ID:\r\n <folded@client.test>\r\nDate: today\r\n\r\ntext\r\n",
        "head.id-in-folding": b"Subject: t\r\n Message-ID: <not@mine>\r\n\tDate: no\r\n\r\ntext\r\n",
        "head.id-in-name": b"X-Message-ID: <no@x>\r\nResent-Date: today\r\n\r\ntext\r\n",
        "head.garbage-line": b"Subject: t\r\nthis is no header\r\nX: y\r\n\r\ntext\r\n",
        "head.names": b"!#$%&'*+-/=?^_`{|}~: odd\r\nx:y\r\nX:\r\n" + LETTER + b"text\r\n",
        "head.ends-in-blanks": HEAD + b" \t\r\n\r\ntext\r\n",
        "head.looks-ours": b"Received: from client.test ([127.0.0.1])\r\n\tby relay.test with ESMTP id 0;\r\n"
        + LETTER
        + b"text\r\n",
        "head.identity": b"Return-Path: <x@y>\r\nDelivered-To: x\r\nResent-From: r\r\n" + LETTER + b"t\r\n",
    }


def _eight_bit_heads() -> Bodies:
    return {
        "eight.utf8": "Subject: Grüße 世界\r\n".encode() + LETTER + "Grüße\r\n".encode(),
        "eight.latin1": "Subject: Grüße\r\n".encode("latin-1") + LETTER + "Grüße\r\n".encode("latin-1"),
        "eight.broken": b"Subject: \xc3\x28 \xff\xfe \xed\xa0\x80 \xf8\x88\x80\x80 \xc0\xae\r\n" + LETTER + b"\xc3\r\n",
        "eight.name": "Grüße: kein Feld\r\n".encode() + LETTER + b"text\r\n",
        "eight.utf16": "Subject: t\r\n\r\nGrüße\r\n".encode("utf-16"),
        "eight.bom": b"\xef\xbb\xbfSubject: t\r\n\r\ntext\r\n",
        "eight.cut": LETTER + b"x" * 65_000 + "€".encode() * 1000,
    }


def _mime() -> Bodies:
    kind = HEAD + b"MIME-Version: 1.0\r\nContent-Type: "
    nested = b"".join(b"--%d\r\nContent-Type: multipart/mixed; boundary=%d\r\n\r\n" % (n, n + 1) for n in range(2000))
    bomb = base64.encodebytes(gzip.compress(bytes(20 * MIB), 9, mtime=0)).replace(b"\n", b"\r\n")
    return {
        "mime.unterminated": kind + b'multipart/mixed; boundary="b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\ntext',
        "mime.no-parts": kind + b"multipart/mixed\r\n\r\n--\r\n",
        "mime.nested": kind + b"multipart/mixed; boundary=0\r\n\r\n" + nested,
        "mime.rfc822": (kind + b"message/rfc822\r\n\r\n") * 1000 + b"Subject: deep\r\n\r\ntext\r\n",
        "mime.parts": kind + b"multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n.\r\n" * 50_000 + b"--b--\r\n",
        "mime.boundary-dots": kind + b'multipart/mixed; boundary="."\r\n\r\n--.\r\n\r\n.\r\n--.--\r\n.\r\n',
        "mime.boundary-long": kind
        + b"multipart/mixed; boundary="
        + b"b" * 5000
        + b"\r\n\r\n--"
        + b"b" * 5000
        + b"\r\n",
        "mime.bomb": kind + b"application/gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n" + bomb,
        "mime.binary": kind + b"image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        "mime.lying": kind + b"text/plain; charset=utf-7\r\nContent-Length: 3\r\n\r\n+AD4-\r\n",
        "mime.parameters": kind
        + b"text/plain"
        + b"".join(b"; p*%d*=''%%00" % n for n in range(9_000))
        + b"\r\n\r\nt\r\n",
        "mime.words": b"Subject: =?utf-8?q?=0d=0aBcc:_x=40evil.test?= =?x?b?"
        + b"A" * 9_000
        + b"?=\r\n"
        + LETTER
        + b"t\r\n",
    }


def _commands() -> Bodies:
    payload = b"MAIL FROM:<x@evil.test>\r\nRCPT TO:<y@evil.test>\r\nDATA\r\nSubject: forged\r\n\r\nforged\r\n"
    return {
        "commands.text": LETTER + b"QUIT\r\nRSET\r\n" + payload + b".\r\nQUIT\r\n",
        "commands.head": payload + b".\r\n" + payload,
        "commands.smuggled": LETTER
        + b"x\n.\n"
        + payload
        + b"x\r.\r"
        + payload
        + b"x\n.\r\n"
        + payload
        + b"x\r\n.\r"
        + payload,
        "commands.replies": LETTER + b"250 2.0.0 Ok\r\n354 go on\r\n421 bye\r\n",
    }


def _received(count: int) -> bytes:
    return b"".join(b"Received: from h%d by h%d;\r\n\ttoday\r\n" % (n, n + 1) for n in range(count)) + LETTER + b"t\r\n"
