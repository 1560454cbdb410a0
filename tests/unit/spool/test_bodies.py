"""Bodies: small ones in memory, large ones in private files that are whole or not there."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import threading
import tracemalloc
import zlib
from pathlib import Path

import pytest

from relay.db.errors import SpoolError
from relay.model import Body, MessageId
from relay.spool.bodies import INLINE, BodyCache, BodyFiles, Collector

ID = MessageId("0cmfxxv008yf8")


async def collect(files: BodyFiles, size: int, piece: int = 64 << 10) -> tuple[Collector, Body]:
    collector = Collector(files, ID)
    for start in range(0, size, piece):
        if collector.feed(b"x" * min(piece, size - start)):
            await collector.drain()
    return collector, await collector.finish()


@pytest.mark.parametrize("size", [0, 1, INLINE])
async def test_up_to_the_limit_a_body_stays_in_memory(tmp_path: Path, size: int) -> None:
    files = BodyFiles(tmp_path / "bodies")
    _, body = await collect(files, size)
    assert (body.size, len(body.data or b""), body.path) == (size, size, None)
    assert files.names() == []


@pytest.mark.parametrize("piece", [7_000, 64 << 10, 2 << 20])
async def test_beyond_it_goes_to_a_private_file(tmp_path: Path, piece: int) -> None:
    files = BodyFiles(tmp_path / "bodies")
    _, body = await collect(files, INLINE + 1, piece)
    assert body.data is None and body.path == tmp_path / "bodies" / ID
    assert body.path.read_bytes() == b"x" * (INLINE + 1)
    assert body.path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "bodies").stat().st_mode & 0o777 == 0o700


async def test_memory_does_not_grow_with_the_body(tmp_path: Path) -> None:
    collector = Collector(BodyFiles(tmp_path / "bodies"), ID)
    written = tmp_path / "bodies" / ID
    for _ in range(64):
        if collector.feed(bytes(64 << 10)):
            await collector.drain()
        on_disk = written.stat().st_size if written.exists() else 0
        assert collector.size - on_disk <= INLINE + (64 << 10)
    await collector.discard()


async def test_D4_a_body_that_comes_byte_by_byte_costs_its_bytes(tmp_path: Path) -> None:
    collector = Collector(BodyFiles(tmp_path / "bodies"), ID)
    tracemalloc.start()
    try:
        for _ in range(INLINE // 2):
            collector.feed(b"xy")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * INLINE
    assert (await collector.finish()).data == b"xy" * (INLINE // 2)


@pytest.mark.parametrize("finished", [False, True])
async def test_a_discarded_body_leaves_nothing(tmp_path: Path, finished: bool) -> None:
    files = BodyFiles(tmp_path / "bodies")
    collector = Collector(files, ID)
    collector.feed(bytes(INLINE * 2))
    await collector.drain()
    if finished:
        await collector.finish()
    await collector.discard()
    await collector.discard()
    assert files.names() == []


class Slow(BodyFiles):
    """A disk that takes its time to open a file."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked, self.go_on = threading.Event(), threading.Event()

    def path(self, message: MessageId) -> Path:
        self.asked.set()
        assert self.go_on.wait(5)
        return super().path(message)


@pytest.mark.parametrize("cancelled", [True, False])
async def test_what_is_being_written_is_discarded_when_that_has_ended(tmp_path: Path, cancelled: bool) -> None:
    files = Slow(tmp_path / "bodies")
    collector = Collector(files, ID)
    collector.feed(b"x" * INLINE + b"\r\n")
    before = len([*Path("/proc/self/fd").iterdir()])
    draining = asyncio.ensure_future(collector.drain())
    await asyncio.to_thread(files.asked.wait)
    if cancelled:
        draining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await draining
    asyncio.get_running_loop().call_later(0.01, files.go_on.set)
    await collector.discard()
    await asyncio.gather(draining, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()  # nobody writes any more
    assert files.names() == [] and not files.loose
    assert len([*Path("/proc/self/fd").iterdir()]) == before


async def test_an_adopted_body_survives_its_writer(tmp_path: Path) -> None:
    files = BodyFiles(tmp_path / "bodies")
    collector, body = await collect(files, INLINE * 2)
    files.loose.discard(ID)
    await collector.discard()
    assert body.path is not None and body.path.exists()


async def test_G5_a_disk_that_fails_is_told_and_one_that_is_full_is_not(tmp_path: Path) -> None:
    files, told = BodyFiles(tmp_path / "bodies"), list[int | None]()
    files.broken = lambda error: told.append(error.errno)

    class Failing(Collector):
        error = errno.EIO

        def _seal(self) -> None:
            raise OSError(self.error, "from the disk")

    for error in (errno.ENOSPC, errno.EIO):
        collector = Failing(files, ID)
        collector.error = error
        collector.feed(bytes(INLINE * 2))
        with pytest.raises(OSError, match="from the disk"):
            await collector.finish()
    assert told == [errno.EIO]


async def test_a_full_disk_is_the_callers_to_answer(tmp_path: Path) -> None:
    files = BodyFiles(tmp_path / "bodies")
    files.folder.rmdir()
    collector = Collector(files, ID)
    collector.feed(bytes(INLINE * 2))
    with pytest.raises(OSError, match="No such file"):
        await collector.drain()
    await collector.discard()


def test_a_file_is_found_only_whole(tmp_path: Path) -> None:
    files = BodyFiles(tmp_path / "bodies")
    assert files.find(ID, 5, 0) is None
    files.path(ID).write_bytes(b"12345")
    assert files.find(ID, 5, 0) == Body(size=5, path=files.path(ID))
    assert files.find(ID, 6, 0) is None


def test_D8_a_file_that_no_descriptor_is_left_for_is_not_gone(tmp_path: Path) -> None:
    """It would be held, and people told to cancel it."""
    files = BodyFiles(tmp_path / "bodies")
    files.path(ID).write_bytes(b"12345")
    crc, taken = zlib.crc32(b"12345"), list[int]()
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, usual[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.dup(0))
        found = files.find(ID, 5, crc)
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    assert found == Body(size=5, path=files.path(ID), crc=crc)
    assert files.find(ID, 5, crc + 1) is None


def test_H13_a_link_is_no_body(tmp_path: Path) -> None:
    files = BodyFiles(tmp_path / "bodies")
    (tmp_path / "secret").write_bytes(b"12345")
    files.path(ID).symlink_to(tmp_path / "secret")
    assert files.find(ID, 5, 0) is None


async def test_H13_a_link_is_not_written_through(tmp_path: Path) -> None:
    files = BodyFiles(tmp_path / "bodies")
    files.path(ID).symlink_to(tmp_path / "victim")
    collector = Collector(files, ID)
    collector.feed(bytes(INLINE * 2))
    with pytest.raises(FileExistsError):
        await collector.finish()
    assert not (tmp_path / "victim").exists()


def test_H13_a_folder_that_others_could_write_is_closed_to_them(tmp_path: Path) -> None:
    folder = tmp_path / "bodies"
    folder.mkdir()
    folder.chmod(0o777)
    BodyFiles(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_H13_a_linked_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    os.symlink(tmp_path / "real", tmp_path / "bodies")  # noqa: PTH211
    with pytest.raises(SpoolError, match="symbolic link"):
        BodyFiles(tmp_path / "bodies")


def test_the_cache_is_bounded() -> None:
    cache = BodyCache(10)
    one, two = MessageId("1"), MessageId("2")
    cache.put(one, Body(size=6, data=b"123456"))
    cache.put(two, Body(size=6, data=b"123456"))
    assert cache.get(one) is not None and cache.get(two) is None
    cache.drop(one)
    cache.drop(one)
    cache.put(two, Body(size=6, data=b"123456"))
    assert cache.get(two) is not None


def test_a_file_costs_the_cache_nothing(tmp_path: Path) -> None:
    cache = BodyCache(0)
    body = Body(size=1 << 30, path=tmp_path / "x")
    cache.put(ID, body)
    assert cache.get(ID) == body
