"""Mails to send, and what must become of them, told without a line of the relay's own code.

The corpora and `hostile` make samples; `delivery` sends them and asks here what is right. It opens no connection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
LONGEST_HEAD = 262_144
"""Of a header section longer than this nobody knows whether it holds a Message-ID or a Date: none is added."""

ADDED = re.compile(
    rb"Received: from client\.test \(\[127\.0\.0\.1\]\)\r\n"
    rb"\tby relay\.test with (?:UTF8SMTP|ESMTP)S?A? id (?P<id>[0-9a-z]{13})\r\n"
    rb"\tfor <(?P<recipient>[^>\r\n]+)>;\r\n"
    rb"\t[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \+0000\r\n"
    rb"(?P<message_id>Message-ID: <(?P=id)@relay\.test>\r\n)?"
    rb"(?P<date>Date: [^\r\n]+ \+0000\r\n)?"
    rb"(?P<blank>\r\n)?"
)


@dataclass(frozen=True)
class Sample:
    """`content` is what the client means to send. `piece`: in writes of so many bytes, 0: in one.

    `parameters` go with MAIL. `refused`: the reply to the dot begins with this and nothing goes out.
    """

    name: str
    content: bytes
    parameters: str = ""
    piece: int = 0
    refused: str = ""

    @property
    def recipient(self) -> str:
        return f"{self.name}@mail.test"


def on_the_wire(content: bytes) -> bytes:
    """What a client writes between 354 and the dot: RFC 5321 4.5.2, and nothing but that."""
    lines = content.removesuffix(b"\r\n").split(b"\r\n")
    return b"\r\n".join([*(b"." + line if line.startswith(b".") else line for line in lines), b""]) if content else b""


def normalized(content: bytes) -> bytes:
    """Every CR, LF or CRLF is one line end; a text without one at its end gets it from the end of DATA."""
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    return b"\r\n".join([*content.splitlines(), b""]) if content else b""  # of bytes: at CR, LF and CRLF, no other


def has_bare_breaks(content: bytes) -> bool:
    without = content.replace(b"\r\n", b"")
    return b"\r" in without or b"\n" in without


def fault(sample: Sample, wire: bytes, id_: str) -> str:
    """Why these bytes, as they came to the upstream before its dot, are not the sample behind our headers, or ""."""
    content = normalized(sample.content)
    expected = on_the_wire(content)
    if not wire.endswith(expected):
        return _difference(wire, expected)
    added = wire[: len(wire) - len(expected)]
    match = ADDED.fullmatch(added)
    if match is None:
        return f"in front: {added[:600]!r}"
    if match["id"].decode() != id_ or match["recipient"].decode() != sample.recipient:
        return f"for another: {added[:600]!r}"
    found = {name for name in ("message_id", "date", "blank") if match[name]}
    return "" if found == _due(content) else f"added {sorted(found)}, due were {sorted(_due(content))}"


def _due(content: bytes) -> set[str]:
    """What belongs in front behind Received: what is missing, and a blank line where no header follows."""
    first = content.partition(b"\r\n")[0]
    if first and not re.match(rb"[!-9;-~]+[ \t]*:|>?From ", first):
        return {"message_id", "date", "blank"}
    head, end, _ = (b"\r\n" + content).partition(b"\r\n\r\n")
    if len(head + end) - 2 > LONGEST_HEAD:
        return set()
    names = {line.partition(b":")[0].rstrip(b" \t").lower() for line in head.split(b"\r\n") if b":" in line}
    return {name for name, field in (("message_id", b"message-id"), ("date", b"date")) if field not in names}


def _difference(wire: bytes, expected: bytes) -> str:
    """Where two bodies part, counted from their ends."""
    start = max(0, len(wire) - len(expected))
    at = next((i for i, (a, b) in enumerate(zip(wire[start:], expected, strict=False)) if a != b), 0)
    near = slice(max(0, at - 20), at + 60)
    return f"differs at {at} of {len(expected)}: {wire[start:][near]!r} for {expected[near]!r}"


def corpus(folder: str) -> list[Sample]:
    """One of the folders in `corpus`, each mail as its file is: mostly with LF, as no mail client would send it."""
    files = sorted((CORPUS / folder).glob("*.txt"))
    return [Sample(f"{folder}.{path.stem}", path.read_bytes()) for path in files]


def as_sent(sample: Sample) -> Sample:
    """The same mail as a client sends it: with CRLF."""
    return Sample(f"{sample.name}.crlf", normalized(sample.content), "BODY=8BITMIME")
