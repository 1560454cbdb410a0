"""What an upstream saw, in files: the record of transactions, on disk before a dot is answered; a log of all bytes.

One record or log serves all upstreams of a process. Nothing is read back here.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MARK = "X-Ledger:"
_SMALL = 2048  # bytes of content up to which the record holds all of it


class Record:
    """JSON lines, appended; `put` returns once the line is on disk. Many dots share one fsync, in a thread.

    `mark`: the digest is over the content from the first line on that begins with it.
    """

    def __init__(self, path: Path | str, mark: str = MARK) -> None:
        self.mark = mark.encode()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        _sync_folder(Path(path).absolute().parent)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="record")
        self._lines: list[bytes] = []
        self._next: asyncio.Future[None] | None = None
        self._writing: asyncio.Task[None] | None = None

    async def put(self, line: bytes) -> None:
        """Raises OSError when it could not be written."""
        self._lines.append(line)
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        done = self._next
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._write_all())
        await asyncio.shield(done)

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._lines and self._next is not None:
            lines, self._lines = self._lines, []
            done, self._next = self._next, None
            try:
                await loop.run_in_executor(self._thread, self._write, b"".join(lines))
            except OSError as error:
                done.set_exception(error)
                done.exception()  # seen: also where every session that waits for it is gone
            else:
                done.set_result(None)
        self._writing = None

    def _write(self, lines: bytes) -> None:
        while lines:
            lines = lines[os.write(self._file, lines) :]
        os.fsync(self._file)

    def close(self) -> None:
        """What was put is written first."""
        self._thread.shutdown()
        os.close(self._file)


def _sync_folder(folder: Path) -> None:
    """A new file's name is safe only when its folder is."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def entry(
    at: float,
    port: int,
    connection: int,
    mail: bytes,
    rcpt: Sequence[bytes],
    content: bytes,
    answered: str | None,
    mark: bytes,
) -> bytes:
    """One line of the record. Commands that are no UTF-8 come back with `.encode("utf-8", "surrogateescape")`."""
    fields = {
        "at": at,
        "port": port,
        "connection": connection,
        "mail": _text(mail),
        "rcpt": [_text(line) for line in rcpt],
        "size": len(content),
        "sha256": hashlib.sha256(memoryview(content)[_marked(content, mark) :]).hexdigest(),
        "content": base64.b64encode(content).decode() if len(content) <= _SMALL else None,
        "answered": answered,
    }
    return json.dumps(fields).encode() + b"\n"


def _marked(content: bytes, mark: bytes) -> int:
    """Where the first line that begins with the mark begins; 0 without one."""
    if not mark or content.startswith(mark):
        return 0
    at = content.find(b"\n" + mark)
    return at + 1  # not found is -1


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")


class Log:
    """Every byte both ways: `<seconds> <port>/<connection> < b'EHLO …'`, "<" from the client, ">" to it, "=" events."""

    def __init__(self, path: Path | str) -> None:
        self._file = Path(path).open("a", encoding="ascii", buffering=1)  # noqa: SIM115

    def put(self, port: int, connection: int, way: str, data: bytes) -> None:
        self._file.write(f"{time.time():.6f} {port}/{connection} {way} {data!r}\n")

    def close(self) -> None:
        self._file.close()
