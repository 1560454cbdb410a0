"""Clients that mean harm, or go away, against the relay's real process: raw bytes in, bytes upstream compared."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from ledger import Ledger
from relay_process import Relay, provider
from waiting import free_port, program, until

HELLO = b"EHLO client.test\r\n"
ENVELOPE = b"MAIL FROM:<app@client.test>\r\nRCPT TO:<%s>\r\nDATA\r\n"


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        yield client


def heard(client: socket.socket) -> bytes:
    """Everything until the relay closes."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while more := client.recv(65536):
            said += more
    return said


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_D8_few_descriptors_are_421_and_mail_goes_on(relay: Callable[..., Relay]) -> None:
    one = relay()
    other = free_port()
    one.config["listeners"] = [
        {"name": "a", "listen": f"127.0.0.1:{one.smtp_port}", "max_connections_per_client": 1000},
        {"name": "b", "listen": f"127.0.0.1:{other}", "max_connections_per_client": 1000},
    ]
    one.wrapper = [program("prlimit"), "--nofile=64:64"]
    one.start()
    with ExitStack() as stack:
        crowd = [stack.enter_context(connected(port)) for port in [one.smtp_port] * 60 + [other] * 60]
        banners = [client.recv(1024)[:4] for client in crowd]
        assert set(banners) == {b"220 ", b"421 "}, "each is told, none is just dropped"
        crowd[0].sendall(HELLO + ENVELOPE % b"b@d8.test")
        until(lambda: b"354" in crowd[0].recv(4096), 5, "354")
        crowd[0].sendall(b"Subject: large enough for a file\r\n\r\n" + b"x" * 300_000 + b"\r\n.\r\n")
        assert crowd[0].recv(4096).startswith(b"250 2.0.0 Ok: queued as ")
        assert one.get("/readyz", tcp=True)[0] == 200
    until(lambda: one.metric("relay_smtp_connections") == 0, 10, "all connections are gone")
    with connected(other) as client:
        assert client.recv(1024).startswith(b"220 ")


BEFORE = [b"\n", b"\r", b"\r\n", b"\r\r\n", b"\n\r", b"\r\n\0", b"\r\n\t", b"\r\n ", b"\r\n\v", b"\r\n\f"]
BEFORE += [b"\r\n\x85", "\r\n\u2028".encode()]
AFTER = [b"\n", b"\r", b"\r\n", b"\r\r\n", b"\0\r\n", b" \r\n", b"\t\r\n", b"\n\r"]
NOT_THE_END = [(b, a) for b, a in itertools.product(BEFORE, AFTER) if a != b"\r\n" or not b.endswith(b"\r\n")]
PAYLOAD = b"MAIL FROM:<x@evil.test>\r\nRCPT TO:<y@evil.test>\r\nDATA\r\nSubject: forged\r\n\r\nforged\r\n"
LIMIT = 20_000


def smuggled(trick: bytes, place: int, state: str) -> bytes:
    """A body with `trick` at one of four places: at the very start, in the header, in the text, twice at its end."""
    filler = {"normal": b"", "oversize": (b"y" * 98 + b"\r\n") * 210, "long": b"z" * 15_000}[state]
    start = b"Subject: t\r\n\r\nhello " + filler
    return (
        trick + PAYLOAD + filler,
        b"Subject: t" + trick + PAYLOAD + b"\r\n\r\n" + filler,
        start + trick + PAYLOAD,
        start + b"\r\nlast" + trick + PAYLOAD + b"\r\nlast" + trick,
    )[place] + b"tail"


def chunks(body: bytes, at: int, length: int, how: int) -> list[bytes]:
    """`body` in pieces, cut at, in, and around the trick."""
    cuts = [
        [],
        [at + 1],
        [at + length - 1],
        [at, at + length],
        list(range(at, at + length + 2)),
        [at + length // 2, at + length + 1],
    ][how]
    edges = [0, *cuts, len(body)]
    return [body[a:b] for a, b in itertools.pairwise(edges) if a != b]


@pytest.mark.parametrize("state", ["normal", "oversize", "long"])
def test_A1_A2_nothing_but_the_end_ends_a_message(
    relay: Callable[..., Relay], ledger: Callable[[], Ledger], state: str
) -> None:
    """All tricks at all places, the ways to cut them in turn; upstream gets each message once, whole, and no other."""
    upstream = ledger()
    one = relay(providers=[provider("p", upstream.port)])
    one.config["listeners"][0]["max_message_size"] = LIMIT
    one.start()
    expected: dict[str, bytes] = {}
    with connected(one.smtp_port) as client, client.makefile("rb") as replies:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(HELLO)
        while not replies.readline().startswith(b"250 "):
            pass
        for number, ((before, after), place) in enumerate(itertools.product(NOT_THE_END, range(4))):
            trick, recipient = before + b"." + after, f"n{number}@a1.test"
            body = smuggled(trick, place, state)
            client.sendall(ENVELOPE % recipient.encode())
            assert [replies.readline()[:3] for _ in range(3)] == [b"250", b"250", b"354"], (trick, place)
            for piece in chunks(body + b"\r\n.\r\n", body.index(trick), len(trick), number % 6):
                client.sendall(piece)
            answer = replies.readline()
            assert answer[:3] == (b"552" if state == "oversize" else b"250"), (trick, place, answer)
            if state != "oversize":
                unstuffed = (b"\r\n" + body + b"\r\n").replace(b"\r\n.", b"\r\n")[2:]
                expected[recipient] = b"\r\n".join(unstuffed.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"))
    taken = upstream.wait_for(len(expected))
    assert [mail.recipients[0] for mail in taken if mail.sender != "app@client.test"] == []
    assert sorted(mail.recipients for mail in taken) == sorted((recipient,) for recipient in expected)
    for mail in taken:
        assert mail.data.startswith(b"Received: ")
        assert mail.data.endswith(expected[mail.recipients[0]]), mail.recipients


def test_D11_a_client_that_goes_at_any_byte_leaves_nothing_and_loses_nothing(
    relay: Callable[..., Relay], ledger: Callable[[], Ledger]
) -> None:
    upstream = ledger()
    one = relay(providers=[provider("p", upstream.port)]).start()
    session = HELLO + ENVELOPE % b"%05d@d11.test" + b"Subject: x\r\n\r\n..text\r\n.\r\nQUIT\r\n"
    acked, said_all = set(), len(session % 0) - len("QUIT\r\n")
    for number, (cut, way) in enumerate(itertools.product(range(len(session % 0) + 1), ("reset", "close", "half"))):
        with connected(one.smtp_port) as client:
            client.sendall((session % number)[:cut])
            if way == "reset":
                reset(client)
            elif way == "half":
                client.shutdown(socket.SHUT_WR)
                told = b"queued as" in heard(client)
                assert told == (cut >= said_all), cut
                acked |= {f"{number:05d}@d11.test"} if told else set()
    until(lambda: one.metric("relay_smtp_connections") == 0, 10, "no session is left")
    until(lambda: acked <= {mail.recipients[0] for mail in upstream.taken}, 10, "what was acked is delivered")
    assert len({mail.recipients for mail in upstream.taken}) == len(upstream.taken), "nothing twice"
