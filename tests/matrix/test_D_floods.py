"""D4 and D9: more bytes than memory. A real relay process, whose peak is read from the kernel."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Callable, Iterator

import pytest
from matrix.client import until
from matrix.pen import pen
from matrix.scribe import MARK, Scribe
from relay_process import Relay, provider

MAKE = Callable[..., Relay]
MIB = 1024 * 1024
ENVELOPE = b"MAIL FROM:<app@client.test>\r\nRCPT TO:<%s>\r\nDATA\r\n"


class Plain:
    """A blocking client: the fastest there is."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.replies = self.socket.makefile("rb")

    def greeted(self) -> Plain:
        self.socket.sendall(b"EHLO client.test\r\n")
        while not self.replies.readline().startswith(b"250 "):
            pass
        return self

    def codes(self, count: int) -> list[bytes]:
        return [self.replies.readline()[:9] for _ in range(count)]

    def pour(self, piece: bytes, total: int) -> None:
        for _ in range(total // len(piece)):
            self.socket.sendall(piece)

    def close(self) -> None:
        self.replies.close()
        self.socket.close()


@pytest.fixture
def plain(relay: MAKE) -> Iterator[tuple[Relay, Plain]]:
    one = relay().start()
    client = Plain(one.smtp_port).greeted()
    client.socket.sendall(ENVELOPE % b"warm@d4.test" + b"x" * MIB + b"\r\n.\r\n")
    assert client.codes(4) == [b"250 2.1.0", b"250 2.1.5", b"354 End d", b"250 2.0.0"]
    yield one, client
    client.close()


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("piece", [b"x" * MIB, b"x\n.\n" * (MIB // 4)], ids=["one line", "bare line ends"])
def test_D4_a_gibibyte_of_data_without_crlf(plain: tuple[Relay, Plain], piece: bytes) -> None:
    """Slow: a gibibyte goes through."""
    one, client = plain
    before = one.peak_memory()
    client.socket.sendall(ENVELOPE % b"big@d4.test")
    assert client.codes(3)[2].startswith(b"354")
    client.pour(piece, 1024 * MIB if b"\n" not in piece else 128 * MIB)
    client.socket.sendall(b"\r\n.\r\nNOOP\r\n")
    assert client.codes(2) == [b"552 5.3.4", b"250 2.0.0"]
    assert one.peak_memory() - before < 48 * MIB


@pytest.mark.timeout(120)
@pytest.mark.parametrize("start", [b"NOOP ", b"AUTH PLAIN ", b"", b"a\nb"])
def test_D4_a_command_line_without_end(plain: tuple[Relay, Plain], start: bytes) -> None:
    one, client = plain
    before = one.peak_memory()
    client.socket.sendall(start)
    client.pour(b"x" * MIB, 128 * MIB)
    client.socket.sendall(b"\r\nNOOP\r\n")
    assert client.codes(2) == [b"500 5.5.2", b"250 2.0.0"]
    assert one.peak_memory() - before < 16 * MIB


COUNT, SIZE = 200, 10_000_000
HAYSTACK = b"".join(b"%070d\r\n" % (number * 7919) for number in range(2 * SIZE // 72))


def large(number: int) -> memoryview:
    """Another part of the haystack for each: one message's body in the place of another's is found."""
    at = number * 72 * 500
    return memoryview(HAYSTACK)[at : at + SIZE // 72 * 72]


async def submit(port: int, number: int) -> tuple[bytes, str]:
    """The reply to the dot, or to what was refused before it, and the digest of what was said."""
    loop = asyncio.get_running_loop()
    head = MARK + b"%d\r\n\r\n" % number
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, b"EHLO client.test\r\n" + ENVELOPE % b"n%d@d9.test" % number)
        said = b""
        while b"\r\n354 " not in said:
            more = await loop.sock_recv(client, 4096)
            said += more
            if not more or b"\r\n452 " in said or said.startswith(b"421"):
                return said.splitlines()[-1], ""
        for part in (head, large(number), b".\r\n"):
            await loop.sock_sendall(client, part)
        answer = await loop.sock_recv(client, 4096)
        return answer, hashlib.sha256(head + large(number)).hexdigest()


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_D9_two_hundred_times_ten_megabytes_in_256_mib(relay: MAKE) -> None:
    """Slow: 2 GB go in and out again."""
    with pen(256 * MIB) as limited:
        async with Scribe(keep=4096) as upstream:
            one = relay(providers=[provider("p", upstream.port)])
            one.config["listeners"][0]["max_connections_per_client"] = COUNT
            one.wrapper = limited.wrapper
            one.start()
            answers = await asyncio.gather(*(submit(one.smtp_port, number) for number in range(COUNT)))
            taken = {digest for answer, digest in answers if answer.startswith(b"250 ")}
            assert {answer[:4] for answer, _ in answers} <= {b"250 ", b"452 "}, answers
            assert len(taken) >= COUNT // 4, "it takes what it can"
            await until(lambda: len(upstream.taken) >= len(taken), 120, f"{len(taken)} messages upstream")
            await until(lambda: one.metric("relay_queue_messages") == 0, 10, "nothing else waits")
            assert sorted(mail.digest for mail in upstream.taken) == sorted(taken), "each once, byte for byte"
            assert one.peak_memory() <= 256 * MIB
            assert limited.killed() == 0
            one.stop()
