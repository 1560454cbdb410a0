"""A4 to A7: command lines that are none, other protocols, pipelining, and sessions cut into small writes.

Through a real relay process; what reaches the upstream is compared as well as what the client is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from matrix.client import connected, opened, until
from matrix.reading import content
from matrix.scribe import Scribe
from relay_process import Relay, provider

MAKE = Callable[..., Relay]
BROKEN = [b"\n", b"\r", b"\0", b"\r\r", b"\n\r", b"\n\n", b"\0\n"]
LINES = [
    b"NOOP",
    b"EHLO client.test",
    b"MAIL FROM:<a@client.test>",
    b"RCPT TO:<b@a4.test>",
    b"DATA",
    b"RSET",
    b"QUIT",
    b"AUTH PLAIN AGEAYg==",
    b"VRFY x",
]


def spoilt() -> list[bytes]:
    """Each line with each of them in front, inside, behind, and between it and a second command."""
    places: list[Callable[[bytes, bytes], bytes]] = [
        lambda line, bad: bad + line,
        lambda line, bad: line[:3] + bad + line[3:],
        lambda line, bad: line + bad,
        lambda line, bad: line + bad + b"RCPT TO:<smuggled@a4.test>",
    ]
    return [place(line, bad) for line, bad, place in itertools.product(LINES, BROKEN, places)]


async def test_A4_a_spoilt_line_gets_one_500_and_is_no_command(relay: MAKE) -> None:
    """Fifteen to a connection: more refusals would slow it down (D10)."""
    one = relay().start()
    lines = spoilt()

    async def some(mine: list[bytes]) -> int:
        async with connected(one.smtp_port) as client:
            client.send(b"MAIL FROM:<app@client.test>\r\n")
            await client.expect(b"250")
            for line in mine:
                client.send(line + b"\r\nNOOP\r\n")
                bad, good = await client.reply(), await client.reply()
                assert bad.startswith(b"500 5.5.2 ") and good == b"250 2.0.0 Ok\r\n", (line, bad, good)
            client.send(b"DATA\r\n")
            assert (await client.reply()).startswith(b"554 5.5.1"), "the MAIL stands, no RCPT came through"
            await client.quit()
        return len(mine)

    told = await asyncio.gather(*(some(lines[at : at + 15]) for at in range(0, len(lines), 15)))
    assert sum(told) == len(LINES) * len(BROKEN) * 4


def client_hello() -> bytes:
    """A real TLS ClientHello."""
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="canary.test").do_handshake()
    return out.read()


STRANGERS = {
    "get": b"GET /canary?q=1 HTTP/1.1\r\nHost: canary.test\r\nX: canary\r\n\r\n",
    "post": b"POST /canary HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n"
    b"MAIL FROM:<canary@x.test>\r\nRCPT TO:<canary@a5.test>\r\nDATA\r\ncanary\r\n.\r\n",
    # A page in a browser chooses the address and the body.
    "long post": b"POST /" + b"canary" * 3000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    b"EHLO x\r\nMAIL FROM:<canary@x.test>\r\nRCPT TO:<canary@a5.test>\r\nDATA\r\ncanary\r\n.\r\n",
    "spoilt get": b"GET /\0canary\n HTTP/1.1\r\nMAIL FROM:<canary@x.test>\r\n",
    "lf get": b"GET / HTTP/1.0\n\n",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls": client_hello(),
    "tls and more": client_hello() + b"\r\nMAIL FROM:<canary@x.test>\r\nNOOP canary\r\n",
    "tls with line ends": b"\x16\x03\x01\n\r\r\nMAIL FROM:<canary@x.test>\r\n",
    "tls 1.0": b"\x16\x03\x01\x00\x04\x01\x00canary",
}


@pytest.mark.parametrize("size", [1 << 20, 1])
async def test_A5_other_protocols_are_shown_out_and_hear_nothing_of_theirs(relay: MAKE, size: int) -> None:
    one = relay()
    door = one.folder / "in.sock"
    one.config["listeners"].append({"name": "unix", "listen": f"unix:{door}"})
    one.start()

    async def visit(where: int | Path, said: bytes) -> bytes:
        async with opened(where) as client:
            await client.expect(b"220")
            if size == 1:
                await client.send_apart(said[at : at + 1] for at in range(len(said)))
            else:
                client.send(said)
            return await client.rest()

    doors: list[int | Path] = [door] if size == 1 else [door, one.smtp_port]
    for where in doors:
        answers = await asyncio.gather(*(visit(where, said) for said in STRANGERS.values()))
        assert dict(zip(STRANGERS, answers, strict=True)) == dict.fromkeys(
            STRANGERS, b"554 5.5.1 This port speaks SMTP\r\n"
        )
    assert one.queue() == []
    assert "canary" not in one.log_text()


# Everything one client may say, valid and not. %s: makes the recipients unique.
SESSION = (
    b"NOOP\r\nMAIL FROM:<a@client.test>\r\nEHLO client.test\r\nRCPT TO:<x@a6.test>\r\nBOGUS\r\nNOOP x\ny\r\n"
    b"MAIL FROM:<a@client.test> SIZE=10\r\nMAIL FROM:<b@client.test>\r\nRCPT TO:<a b@a6.test>\r\nDATA\r\n"
    b"RCPT TO:<first-%s@a6.test>\r\nRCPT TO:<second-%s@a6.test> NOTIFY=NEVER\r\nNO\0OP\r\n\r\nDATA\r\n"
    b"Subject: one\r\n\r\n..dot\r\n.\n\r.\r\n..\r\n.\r\r\n.\rDATA\r\n.\r\n"
    b"MAIL FROM:<>\r\nRCPT TO:<third-%s@a6.test>\r\nNOOP\nNOOP\r\nDATA\r\n.\r\n"
    b"MAIL FROM:<c@client.test>\r\nRCPT TO:<c@a6.test>\r\nRSET\r\nDATA\r\nVRFY x\r\nAUTH PLAIN AGEAYg==\r\n"
    b"MAIL FROM:<d@client.test>\r\nRCPT TO:<fourth-%s@a6.test>\r\nDATA\r\nSubject: last\r\n\r\n.\r\r\n.\r\nQUIT\r\n"
)
CODES = (
    b"250 250 250 503 500 500 250 503 553 554 250 250 500 500 354 250 250 250 500 354 250 250 250 250 503 252 502 "
    b"250 250 354 250 221"
).split()
FIRST = content(b"\r\nSubject: one\r\n\r\n..dot\r\n.\n\r.\r\n..\r\n.\r\r\n.\rDATA")
CONTENTS = {b"first": FIRST, b"second": FIRST, b"third": b"", b"fourth": content(b"\r\nSubject: last\r\n\r\n.\r")}


async def test_A6_A7_one_session_however_it_is_cut(relay: MAKE) -> None:
    """In one write, over both doors, and in writes of 1 to 17 bytes that the relay reads one by one."""
    async with Scribe() as upstream:
        one = relay(providers=[provider("p", upstream.port)])
        door = one.folder / "in.sock"
        one.config["listeners"].append({"name": "unix", "listen": f"unix:{door}"})
        one.start()

        async def whole(size: int, where: int | Path) -> list[bytes]:
            said = SESSION.replace(b"%s", b"%d" % size)
            async with connected(where) as client:
                if size:
                    await client.send_apart(said[at : at + size] for at in range(0, len(said), size))
                else:
                    client.send(said)
                return re.sub(rb"queued as \w+", b"queued as ID", await client.rest()).splitlines()

        usual = await whole(0, one.smtp_port)
        assert [line[:3] for line in usual if line[3:4] != b"-"] == CODES
        sessions = await asyncio.gather(*(whole(size, door) for size in range(1, 18)))
        for size, heard in enumerate(sessions, 1):
            assert heard == usual, size
        await until(lambda: len(upstream.taken) == 18 * 3, 15, "three messages of each session")
        assert upstream.strays == []
        for size, (name, text) in itertools.product(range(18), CONTENTS.items()):
            [mail] = upstream.to(b"%s-%d@a6.test" % (name, size))
            unstuffed = (b"\r\n" + mail.wire).replace(b"\r\n.", b"\r\n")[2:]
            assert unstuffed.startswith(b"Received: ") and unstuffed.endswith(text), (name, size)
            assert unstuffed.count(b"Subject:") == text.count(b"Subject:")
