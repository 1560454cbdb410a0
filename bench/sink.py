"""An upstream that can what `smtp-sink` cannot: CHUNKING (RFC 3030), STARTTLS and AUTH PLAIN. It keeps nothing.

`python -m bench.sink PORT [--chunking] [--certificate FILE]`. As lean as Python goes: it is not what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import cast

USER, PASSWORD = "app", "right"
CREDENTIALS = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())

END = b"\r\n.\r\n"
OK = b"250 2.0.0 Ok\r\n"
REPLIES = {
    b"MAIL": b"250 2.1.0 Ok\r\n",
    b"RCPT": b"250 2.1.5 Ok\r\n",
    b"RSET": OK,
    b"NOOP": OK,
    b"DATA": b"354 Go ahead\r\n",
    b"QUIT": b"221 2.0.0 Bye\r\n",
    b"STAR": b"220 2.0.0 Go ahead\r\n",
}


class Count:
    """Prints how many messages came, at most every two milliseconds."""

    def __init__(self) -> None:
        self._messages = 0
        self._told = True

    def add(self) -> None:
        self._messages += 1
        if self._told:
            self._told = False
            asyncio.get_running_loop().call_later(0.002, self._tell)

    def _tell(self) -> None:
        self._told = True
        os.write(1, b"%d\n" % self._messages)


class Session(asyncio.Protocol):
    """One connection; `counted` is called for each message.

    `_left`: what arrived and is not used yet; of a body, only where its end may begin.
    """

    def __init__(self, counted: Callable[[], None], chunking: bool, context: ssl.SSLContext | None) -> None:
        self._counted = counted
        self._chunking = chunking
        self._context = context
        self._left = b""
        self._data = False
        self._chunk = 0
        self._last = False
        self._upgrading: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no asyncio.Transport
        self._transport.write(b"220 sink.bench.test ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._left = self._left + data if self._left else data
        replies: list[bytes] = []
        while self._left and (reply := self._step()) is not None:
            replies.append(reply)
        if replies:
            self._transport.write(b"".join(replies))

    def _step(self) -> bytes | None:
        """The next reply; None: more has to arrive first."""
        if self._chunk:
            return self._some_chunk()
        if self._data:
            return self._some_data()
        line, end, rest = self._left.partition(b"\r\n")
        if not end:
            return None
        self._left = rest
        return self._command(line, line[:4].upper())

    def _some_data(self) -> bytes | None:
        end = self._left.find(END)
        if end < 0:
            self._left = self._left[-4:]
            return None
        self._left = self._left[end + len(END) :]
        self._data = False
        self._counted()
        return OK

    def _some_chunk(self) -> bytes | None:
        taken = min(self._chunk, len(self._left))
        self._left = self._left[taken:]
        self._chunk -= taken
        return None if self._chunk else self._chunk_taken()

    def _chunk_taken(self) -> bytes:
        if self._last:
            self._counted()
        return OK

    def _command(self, line: bytes, verb: bytes) -> bytes:
        if verb == b"DATA":
            self._data = True
            self._left = b"\r\n" + self._left  # a body may be empty
        elif verb == b"BDAT" and self._chunking:
            return self._announced(line.split())
        elif verb in (b"EHLO", b"HELO"):
            return self._offer()
        elif verb == b"AUTH":
            right = line.split()[1:] == [b"PLAIN", CREDENTIALS]
            return b"235 2.7.0 Welcome\r\n" if right else b"535 5.7.8 No\r\n"
        elif verb == b"STAR":
            self._upgrading = asyncio.get_running_loop().create_task(self._upgrade())
        elif verb == b"QUIT":
            asyncio.get_running_loop().call_soon(self._transport.close)
        return REPLIES.get(verb, b"500 5.5.1 Unknown command\r\n")

    def _announced(self, words: list[bytes]) -> bytes:
        """BDAT SIZE [LAST]. An empty chunk is answered at once; the others are when they are whole."""
        self._chunk, self._last = int(words[1]), len(words) > 2
        return b"" if self._chunk else self._chunk_taken()

    def _offer(self) -> bytes:
        offers = [b"sink.bench.test", b"PIPELINING", b"8BITMIME", b"ENHANCEDSTATUSCODES"]
        if self._chunking:
            offers.append(b"CHUNKING")
        if self._context is not None:
            offers.append(b"AUTH PLAIN" if self._transport.get_extra_info("ssl_object") else b"STARTTLS")
        return b"".join(b"250-%s\r\n" % each for each in offers[:-1]) + b"250 %s\r\n" % offers[-1]

    async def _upgrade(self) -> None:
        assert self._context is not None
        loop = asyncio.get_running_loop()
        encrypted = await loop.start_tls(self._transport, self, self._context, server_side=True)
        if encrypted is not None:
            self._transport = encrypted


async def serve(port: int, chunking: bool, context: ssl.SSLContext | None) -> None:
    count = Count()
    server = await asyncio.get_running_loop().create_server(
        lambda: Session(count.add, chunking, context), "127.0.0.1", port, backlog=500
    )
    await server.serve_forever()


def context_of(certificate: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def main() -> None:
    import uvloop

    parser = argparse.ArgumentParser(prog="python -m bench.sink")
    parser.add_argument("port", type=int)
    parser.add_argument("--chunking", action="store_true")
    parser.add_argument("--certificate", type=Path, help="chain and key; offers STARTTLS, and AUTH PLAIN after it")
    given = parser.parse_args()
    uvloop.run(serve(given.port, given.chunking, context_of(given.certificate)))


if __name__ == "__main__":
    main()
