"""Upstreams that take and record mail as fast as a relay can bring it: `python -m proof.collector`.

A process of its own, started by `upstreams`; one for all ports. `relay.testing.upstream` can do everything, and would
take the relay's share of the CPU. This one can refuse a recipient and vanish after a dot; nothing else goes wrong here.
Every other port, from the first on, offers CHUNKING, so that several messages are in flight when something is cut.

What it writes is the record `books.taken` reads: on disk, with one fsync for all that came meanwhile, before any 250.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import os
import random
import re
import socket
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

import uvloop
from proof.ending import told_to_end
from proof.letters import HARD, MARK, SOFT

SIZE = 100 * 1024 * 1024
SMALL = 1024
"""A content without the mark is recorded whole up to this size."""

END = b"\r\n.\r\n"
CHUNKING = "250-CHUNKING\r\n"
NAMED = re.compile(r"(?m)^Final-Recipient: rfc822; ?([^\r\n]+)")
"""Whom a bounce speaks of (RFC 3464)."""
EHLO = f"250-proof\r\n250-PIPELINING\r\n250-SIZE {SIZE}\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n"
OK, TAKEN = "250 2.0.0 Ok\r\n", "250 2.0.0 Ok: taken\r\n"
MAIL, RCPT = "250 2.1.0 Ok\r\n", "250 2.1.5 Ok\r\n"
NOBODY = "554 5.5.1 No valid recipients\r\n"
LATER, NEVER = "450 4.2.0 Not now\r\n", "550 5.1.1 Nobody here\r\n"


class Record:
    """The file. `write` calls back once the line is on disk."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lines: list[str] = []
        self._told: list[Callable[[], None]] = []
        self._syncing = False

    def write(self, line: str, told: Callable[[], None]) -> None:
        self._lines.append(line)
        self._told.append(told)
        if not self._syncing:
            self._syncing = True
            asyncio.get_running_loop().create_task(self._sync())

    async def _sync(self) -> None:
        while self._lines:
            lines, self._lines = self._lines, []
            told, self._told = self._told, []
            os.write(self._file, "".join(lines).encode())
            await asyncio.get_running_loop().run_in_executor(None, os.fdatasync, self._file)
            for tell in told:
                tell()
        self._syncing = False


class Ways:
    """What all connections share. `once`: recipients that were put off. `chunking`: ports that offer it."""

    def __init__(self, record: Record, seed: int, vanish: float, chunking: Collection[int]) -> None:
        self.chunking = chunking
        self.record = record
        self.dice = random.Random(seed)
        self.vanish = vanish
        self.once: set[str] = set()
        self.connections = 0


class Connection(asyncio.Protocol):
    """Answers what is complete, in order; while a dot is not answered, what follows it waits."""

    def __init__(self, ways: Ways, port: int) -> None:
        ways.connections += 1
        self._ways = ways
        self._port = port
        self._number = ways.connections
        self._opened = time.time()
        self._buffer = bytearray()
        self._searched = 0
        self._body = False
        self._busy = False
        self._gone = False
        self._chunk: tuple[int, bool] | None = None
        self._chunks = b""
        self._mail = ""
        self._rcpt: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport.write(b"220 proof ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        if self._gone:
            return
        self._buffer += data
        if not self._busy:
            self._work()

    def _work(self) -> None:
        out = list[str]()
        while not self._busy and self._step(out):
            pass
        if out:
            self._transport.write("".join(out).encode("utf-8", "surrogateescape"))

    def _step(self, out: list[str]) -> bool:
        if self._chunk is not None:
            return self._octets(out, *self._chunk)
        return self._content() if self._body else self._command(out)

    def _command(self, out: list[str]) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        line = self._buffer[:end].decode("utf-8", "surrogateescape")
        del self._buffer[: end + 2]
        out.append(self._answer(line))
        return True

    def _answer(self, line: str) -> str:
        verb = line[:4].upper()
        if verb == "EHLO":
            return EHLO.replace("\n", "\n" + CHUNKING, 1) if self._port in self._ways.chunking else EHLO
        if verb == "MAIL":
            self._mail, self._rcpt, self._chunks = line, [], b""
            return MAIL
        if verb == "BDAT":
            words = line.split()
            self._chunk = int(words[1]), words[2:] == ["LAST"]
            return ""
        if verb == "RCPT":
            return self._recipient(line)
        if verb == "DATA":
            return self._data()
        if verb == "RSET":
            self._rcpt, self._chunks = [], b""
        elif verb == "QUIT":
            self._transport.write(b"221 2.0.0 Bye\r\n")
            self._transport.close()
            return ""
        return OK

    def _recipient(self, line: str) -> str:
        local = line[line.index("<") + 1 : line.rindex("@")]
        if local.endswith(HARD):
            return NEVER
        if local.endswith(SOFT) and local not in self._ways.once:
            self._ways.once.add(local)
            return LATER
        self._rcpt.append(line)
        return RCPT

    def _data(self) -> str:
        if not self._rcpt:
            return NOBODY
        self._body = True
        self._buffer[:0] = b"\r\n"  # so that the end of an empty content is found as well
        self._searched = 0
        return "354 Go on\r\n"

    def _content(self) -> bool:
        end = self._buffer.find(END, self._searched)
        if end < 0:
            self._searched = max(0, len(self._buffer) - len(END))
            return False
        content = bytes(self._buffer[: end + 2]).replace(b"\r\n.", b"\r\n")[2:]
        del self._buffer[: end + len(END)]
        self._body = False
        self._take(content, self._transport.abort)
        return False

    def _octets(self, out: list[str], size: int, last: bool) -> bool:
        """BDAT (RFC 3030): they are read also where they are refused."""
        if len(self._buffer) < size:
            return False
        self._chunk = None
        self._chunks += self._buffer[:size]
        del self._buffer[:size]
        if not self._rcpt:
            out.append(NOBODY)
        elif last:
            self._take(self._chunks, self._leave)
        else:
            out.append(OK)
        return True

    def _take(self, content: bytes, vanish: Callable[[], None]) -> None:
        self._busy = True
        answer = None if self._ways.dice.random() < self._ways.vanish else TAKEN
        self._ways.record.write(self._line(content, answer), lambda: self._reply(answer, vanish))

    def _leave(self) -> None:
        """What is on the wire behind it must not make an RST of the end: that could swallow what was answered before,
        and an answer that nobody could hear would be on record as one."""
        self._gone = True
        self._buffer.clear()
        if not self._transport.is_closing():
            self._transport.write_eof()

    def _line(self, content: bytes, answer: str | None) -> str:
        mark = content.find(b"\r\n" + MARK) + 2
        whole = mark == 1 and not content.startswith(MARK)
        nobody = self._mail[10:12] == "<>"
        line = {
            "at": time.time(),
            "opened": self._opened,
            "port": self._port,
            "connection": self._number,
            "mail": self._mail,
            "rcpt": self._rcpt,
            "size": len(content),
            "sha256": hashlib.sha256(memoryview(content)[0 if whole or mark == 1 else mark :]).hexdigest(),
            "content": base64.b64encode(content).decode() if whole and len(content) <= SMALL else None,
            "front": None if nobody or whole else base64.b64encode(content[: 0 if mark == 1 else mark]).decode(),
            "named": NAMED.findall(content.decode("latin-1")) if nobody else [],
            "answered": answer and answer.strip(),
            "chunked": bool(self._chunks),
        }
        self._rcpt = []
        return json.dumps(line) + "\n"

    def _reply(self, answer: str | None, vanish: Callable[[], None]) -> None:
        self._busy = False
        if answer is None:
            vanish()
        elif not self._transport.is_closing():
            self._transport.write(answer.encode())
            self._work()


async def serve(options: argparse.Namespace) -> None:
    ways = Ways(Record(options.record), options.seed, options.vanish, frozenset(options.port[::2]))
    for port in options.port:
        made = partial(Connection, ways, port)
        await asyncio.get_running_loop().create_server(made, "127.0.0.1", port, backlog=512)
    await told_to_end()


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proof.collector", description=__doc__)
    parser.add_argument("--port", type=int, action="append", required=True, help="may be given again")
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vanish", type=float, default=0, help="share of dots that are recorded and not answered")
    return parser.parse_args(words)


if __name__ == "__main__":
    uvloop.run(serve(arguments()))
