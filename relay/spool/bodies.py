"""Bodies on their way in, large ones as files, and the small cache of those about to be sent.

Used by the SQLite spool. Up to 256 KiB a body lies in its row; a larger one streams to a file named by its id, so that
memory does not grow with message size. A file is durable, name and content, before the row that points to it commits.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from relay.db.errors import SpoolError
from relay.db.files import private_folder, refused, sync_folder
from relay.model import Body, MessageId
from relay.spool.limits import KiB

INLINE = 256 * KiB
_CHUNK = 1024 * KiB
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class BodyFiles:
    """The folder of large bodies. `loose`: written or being written, but of no accepted message.

    `broken`: called on the loop when the disk failed, which is something else than being full.
    """

    def __init__(self, folder: Path) -> None:
        private_folder(folder)
        try:
            folder.chmod(0o700)  # unlike the spool's folder it holds nothing else, whoever made it (hazard H13)
        except OSError as error:
            raise refused(folder, error) from error
        self.folder = folder
        self.broken: Callable[[OSError], None] = lambda error: None
        self.loose: set[MessageId] = set()

    def path(self, message: MessageId) -> Path:
        return self.folder / message

    def find(self, message: MessageId, size: int, crc: int) -> Body | None:
        """The file as a body, or None when it is not there, whole and as it was written. Reads all of it.

        One that cannot be read now, as when descriptors run out, is not gone: whoever sends it says why.
        """
        path = self.path(message)
        try:
            found = path.lstat()
            whole = stat.S_ISREG(found.st_mode) and found.st_size == size and (not crc or _checksum(path) == crc)
        except OSError as error:
            whole = error.errno not in (errno.ENOENT, errno.EIO)
        return Body(size=size, path=path, crc=crc) if whole else None

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def remove(self, messages: Iterable[str]) -> None:
        """Remove files; one that is gone, or that cannot be removed now, is an orphan of the next start."""
        for message in messages:
            with contextlib.suppress(OSError):
                (self.folder / message).unlink()


def _checksum(path: Path) -> int:
    crc = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc


def refuse_strays(database: Path, folder: Path) -> None:
    """Raise SpoolError for bodies whose database is gone: to a new one they would all be orphans, and be removed."""
    try:
        alone = not (database.exists() and database.stat().st_size) and folder.is_dir() and any(folder.iterdir())
    except OSError:
        return  # no permission: who opens the database says so
    if alone:
        raise SpoolError(
            f"{folder} holds bodies of mail, but {database} is missing or empty; restore it or move both away"
        )


class Collector:
    """A BodyWriter over memory and, beyond INLINE, a file. Disk work runs on a thread."""

    def __init__(self, files: BodyFiles, message: MessageId) -> None:
        self.size = 0
        self._files = files
        self._message = message
        self._pile = bytearray()  # not a list: a client that sends byte by byte must not cost an object each
        self._file = -1
        self._crc = 0
        self._job: asyncio.Future[None] | None = None

    def feed(self, data: bytes) -> bool:
        self._pile += data
        self.size += len(data)
        return len(self._pile) > INLINE

    async def drain(self) -> None:
        if len(self._pile) > INLINE:
            await self._work(self._write)

    async def finish(self) -> Body:
        if self.size <= INLINE:
            return Body(size=self.size, data=bytes(self._pile))
        await self._work(self._seal)
        return Body(size=self.size, path=self._files.path(self._message), crc=self._crc)

    async def discard(self) -> None:
        """What is being written is written first, also when whoever asked for that was cancelled: the thread would make
        a file that nobody knows, or write to a descriptor that is another file's by then.
        """
        if self._job is not None:
            with contextlib.suppress(OSError):
                await asyncio.shield(self._job)
        self._pile.clear()
        self._close()
        if self._message in self._files.loose:
            self._files.loose.discard(self._message)
            await asyncio.to_thread(self._files.remove, [self._message])

    async def _work(self, job: Callable[[], None]) -> None:
        self._job = asyncio.ensure_future(asyncio.to_thread(job))
        try:
            await asyncio.shield(self._job)
        except OSError as error:
            if error.errno == errno.EIO:
                self._files.broken(error)
            raise

    def _write(self) -> None:
        if self._file < 0:
            self._files.loose.add(self._message)
            self._file = os.open(self._files.path(self._message), _FLAGS, 0o600)
        pile, self._pile = self._pile, bytearray()
        self._crc = zlib.crc32(pile, self._crc)
        rest = memoryview(pile)
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def _seal(self) -> None:
        """Content first, then the name: without the folder's fsync the file can be gone after a power cut."""
        self._write()
        os.fsync(self._file)
        self._close()
        sync_folder(self._files.folder)

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class BodyCache:
    """Bodies of mail that was just accepted, until it is settled. Full means: read it from the database then."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._bodies: dict[MessageId, Body] = {}

    def put(self, message: MessageId, body: Body) -> None:
        cost = len(body.data or b"")
        if cost <= self._room and message not in self._bodies:
            self._room -= cost
            self._bodies[message] = body

    def get(self, message: MessageId) -> Body | None:
        return self._bodies.get(message)

    def drop(self, message: MessageId) -> None:
        body = self._bodies.pop(message, None)
        if body is not None:
            self._room += len(body.data or b"")
