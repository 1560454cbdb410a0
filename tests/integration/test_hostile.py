"""Clients that mean harm, or go away, against the relay's real process: raw bytes in, bytes upstream compared."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from clients import letter, send
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


def test_D11_a_client_that_goes_at_any_byte_leaves_nothing_and_loses_nothing(
    relay: Callable[..., Relay], ledger: Callable[[], Ledger]
) -> None:
    upstream = ledger()
    one = relay(providers=[provider("p", upstream.port, limits={"connections": 1})]).start()
    send(one.door, ["warm@d11.test"], letter())  # opens what stays open, the connection upstream among it
    upstream.wait_for(1)
    descriptors = Path(f"/proc/{one.pid}/fd")
    before = len(list(descriptors.iterdir()))
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
    until(lambda: len(list(descriptors.iterdir())) <= before, 10, "no descriptor is left")
