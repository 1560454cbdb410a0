"""A client and an upstream that know of SMTP only how to frame a mail, so that no library mends what the relay broke.

`delivery` uses both. The client writes raw bytes; the upstream keeps raw bytes and undoes no stuffing.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mail.samples import Sample, on_the_wire

OFFERS = b"250-keeper.test\r\n250-PIPELINING\r\n250-SIZE 200000000\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"


class Upstream:
    """`kept`: recipient to what came between 354 and the final dot, dots still stuffed, in order of arrival."""

    def __init__(self) -> None:
        self.kept: dict[str, list[bytes]] = {}
        self._server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._server.getsockname()[1])
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Take no more, and end what is open."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self._open.append(connection)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(b"220 keeper.test ESMTP\r\n")
            recipients: list[str] = []
            lines = _Lines(connection)
            while line := lines.line():
                verb = line[:4].upper()
                if verb == b"RCPT":
                    recipients.append(line[line.index(b"<") + 1 : line.index(b">")].decode())
                elif verb == b"MAIL":
                    recipients = []
                if verb == b"DATA":
                    connection.sendall(b"354 go on\r\n")
                    wire = lines.content()
                    for recipient in recipients:
                        self.kept.setdefault(recipient, []).append(wire)
                connection.sendall(OFFERS if verb == b"EHLO" else b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")


class _Lines:
    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._buffer = connection, bytearray()

    def _more(self) -> bool:
        data = self._connection.recv(1 << 20)
        self._buffer += data
        return bool(data)

    def _until(self, end: bytes, keep: int) -> bytes:
        """What comes before `end` and its first `keep` bytes; b"" when the peer left."""
        searched = 0
        while (at := self._buffer.find(end, searched)) < 0:
            searched = max(0, len(self._buffer) - len(end))
            if not self._more():
                return b""
        found = bytes(self._buffer[: at + keep])
        del self._buffer[: at + len(end)]
        return found

    def line(self) -> bytes:
        return self._until(b"\r\n", 2)

    def content(self) -> bytes:
        self._buffer[:0] = b"\r\n"  # the line end behind DATA: the first line may be the dot
        return self._until(b"\r\n.\r\n", 2)[2:]


class Client:
    """One connection to the relay; `with` ends it."""

    def __init__(self, port: int, trust: Path | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = self._socket.makefile("rb")
        self._reply()
        self._hello()
        if trust is not None:
            self._command(b"STARTTLS")
            self._replies.close()
            self._socket = ssl.create_default_context(cafile=str(trust)).wrap_socket(
                self._socket, server_hostname="localhost"
            )
            self._replies = self._socket.makefile("rb")
            self._hello()

    def _hello(self) -> None:
        assert self._command(b"EHLO client.test").startswith(b"250")

    def _command(self, line: bytes) -> bytes:
        self._socket.sendall(line + b"\r\n")
        return self._reply()

    def _reply(self) -> bytes:
        """The last line of one reply."""
        while (line := self._replies.readline())[3:4] == b"-":
            pass
        assert line, "the relay hung up"
        return line

    def login(self, plain: bytes) -> None:
        assert self._command(b"AUTH PLAIN " + plain).startswith(b"235")

    def send(self, sample: Sample) -> str:
        """One transaction; the reply to the dot."""
        mail = f"MAIL FROM:<app@client.test> {sample.parameters}".rstrip()
        self._socket.sendall(f"{mail}\r\nRCPT TO:<{sample.recipient}>\r\nDATA\r\n".encode())
        replies = [self._reply() for _ in range(3)]
        assert [reply[:3] for reply in replies] == [b"250", b"250", b"354"], (sample.name, replies)
        wire = on_the_wire(sample.content) + b".\r\n"
        step = sample.piece or len(wire)
        for at in range(0, len(wire), step):
            self._socket.sendall(wire[at : at + step])
        return self._reply().decode().strip()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._command(b"QUIT")
        self._replies.close()
        self._socket.close()


def send_all(connect: Callable[[], Client], samples: Sequence[Sample], connections: int = 8) -> dict[str, str]:
    """Send all over some connections at once; name to the reply to the dot."""
    replies: dict[str, str] = {}
    errors: list[BaseException] = []
    queue, lock = iter(samples), threading.Lock()

    def one() -> None:
        try:
            with connect() as client:
                for sample in _shared(queue, lock):
                    replies[sample.name] = client.send(sample)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(min(connections, len(samples)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return replies


def _shared(queue: Iterator[Sample], lock: threading.Lock) -> Iterable[Sample]:
    while True:
        with lock:
            sample = next(queue, None)
        if sample is None:
            return
        yield sample


@contextmanager
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    try:
        yield made
    finally:
        made.close()
