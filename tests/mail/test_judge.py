"""The judge of the mails sees every kind of harm: a test that could not fail would prove nothing."""

from __future__ import annotations

import pytest
from mail.samples import Sample, fault, has_bare_breaks, normalized, on_the_wire

ID = "0123456789abc"
TRACE = (
    b"Received: from client.test ([127.0.0.1])\r\n\tby relay.test with ESMTP id 0123456789abc\r\n"
    b"\tfor <s@mail.test>;\r\n\tSat, 21 Nov 2026 10:00:00 +0000\r\n"
)
NAMED = b"Message-ID: <a@b>\r\nDate: x\r\n"
SAMPLE = Sample("s", NAMED + b"\r\n.dot\nbare\r\n")
GOOD = TRACE + NAMED + b"\r\n..dot\r\nbare\r\n"


def test_what_is_right() -> None:
    assert fault(SAMPLE, GOOD, ID) == ""
    assert fault(Sample("s", b""), TRACE + b"Message-ID: <%b@relay.test>\r\nDate: x +0000\r\n" % ID.encode(), ID) == ""


@pytest.mark.parametrize(
    "wire",
    [
        GOOD.replace(b"\r\n..dot", b"\r\n.dot"),
        GOOD.replace(b"\r\n..dot", b"\r\n...dot"),
        GOOD.replace(b"dot\r\n", b"dot\n"),
        GOOD.replace(b"bare", b"bear"),
        GOOD[:-2],
        GOOD + b"\r\n",
        GOOD.replace(NAMED, NAMED.lower()),
        GOOD.replace(b"s@mail", b"t@mail"),
        GOOD.replace(ID.encode(), b"0000000000000"),
        GOOD.removeprefix(TRACE),
        TRACE + GOOD,
        TRACE + b"Date: x +0000\r\n" + GOOD.removeprefix(TRACE),
        TRACE + b"\r\n" + GOOD.removeprefix(TRACE),
        b"X: y\r\n" + GOOD,
    ],
)
def test_what_is_wrong(wire: bytes) -> None:
    assert fault(SAMPLE, wire, ID)


def test_framing() -> None:
    assert on_the_wire(b"") == b""
    assert on_the_wire(b".") == b"..\r\n"
    assert on_the_wire(b"a\n.b\r\n.\r\n") == b"a\n.b\r\n..\r\n"
    assert normalized(b"a\rb\nc\r\r\nd\x85\x0b\x0c\x1c") == b"a\r\nb\r\nc\r\n\r\nd\x85\x0b\x0c\x1c\r\n"
    assert has_bare_breaks(b"a\r\r\n")
    assert not has_bare_breaks(b"a\r\n")
