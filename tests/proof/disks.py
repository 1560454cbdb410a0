"""A disk whose power can be cut: ext4 in a file, and copies of that file as it was at one moment.

Used by `cuts` and the planted bugs. It knows nothing of mail, and it ends no process.

What a power cut leaves is what the disk was given before it, no more. The disk here is a file, and everything the
kernel's ext4 still keeps in its page cache is not in it; so a copy of the file is what a cut leaves, if the copy is
of one moment. One that was read while blocks were written mixes moments, e.g. the commit record of a journal with
the data from before it, which no power cut does, and would accuse the relay of what the copy did. Stopping the relay
(SIGSTOP) does not help against the kernel's own writers, and helps too much against the relay's: its fsync ends before
it stops, so no cut would ever fall into the middle of one. Therefore the file lies on a second ext4, which is frozen
(FIFREEZE) for the copy: from one moment on every write to the disk waits, at whatever point of an fsync or a journal
commit that falls, and reading goes on. Both lie in memory, so the copy takes milliseconds, and afterwards the relay
goes on and is none the wiser. Kinds of damage it does not make: sectors half written, and a disk that lies about what
it has flushed (a write that reached the file counts as kept, whether or not a flush followed).

`commit=600` keeps the kernel from making durable by itself what nobody asked it to.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from waiting import SEARCH

MiB = 1 << 20
ROOM = 1024 * MiB
"""Of a disk. The relay takes no mail with less than 512 MiB free; what is not written takes no memory."""

ORDERED = "noatime,discard,commit=600"
"""How ext4 is mounted by default everywhere, but that nothing is made durable unasked."""

MODES = (
    ORDERED,
    f"{ORDERED},data=writeback",
    f"{ORDERED},data=journal",
    f"{ORDERED},nodelalloc",
    "noatime,discard,commit=1",
)
"""Ways of mounting it that keep different things: each is one that a user may have."""

_FREEZE, _THAW = 0xC0045877, 0xC0045878
_PROGRAMS = {"mkfs.ext4": "e2fsprogs", "e2fsck": "e2fsprogs", "mount": "mount", "umount": "mount"}

# Whatever ends this process, it closes the pipe that this one reads: then nothing may stay mounted.
_GUARD = """
read -r folder
while read -r place; do places="$place $places"; done
for place in $places; do fsfreeze --unfreeze "$place"; done
for place in $places; do umount "$place" || umount --lazy "$place"; done
rm -rf --one-file-system "$folder"
"""


class DiskError(Exception):
    """The harness could not do what it must. No verdict about the relay."""


class Damaged(Exception):
    """A file system that its journal did not make whole again."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The cut fell between the two, in unix seconds: what was made durable before `after_this` is in the copy."""

    after_this: float
    before_this: float


# What the machine must have.


@functools.cache
def unavailable() -> str:
    """Why there can be no such disks here, or nothing."""
    if os.geteuid() != 0:
        return "needs root: file systems are mounted"
    for program, package in _PROGRAMS.items():
        if shutil.which(program, path=SEARCH) is None:
            return f"{program} is not installed: apt-get install {package}"
    try:
        with disk():
            return ""
    except (DiskError, OSError) as error:
        return f"no loop-mounted ext4 here: {error}"


def needs_disks() -> None:
    """Skip, or with CI=true fail, where there are none."""
    reason = unavailable()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


# Where things lie, and who clears up.


@dataclass(frozen=True, slots=True)
class _Yard:
    folder: Path
    guard: subprocess.Popen[bytes]

    def register(self, place: Path) -> None:
        assert self.guard.stdin is not None
        self.guard.stdin.write(f"{place}\n".encode())
        self.guard.stdin.flush()

    def close(self) -> None:
        assert self.guard.stdin is not None
        self.guard.stdin.close()
        self.guard.wait(60)


_making = threading.Lock()


def yard() -> Path:
    """The folder of this process's disks and copies; it goes with the process."""
    return _yard().folder


def _yard() -> _Yard:
    with _making:  # or two threads would each make one
        return _make_yard()


@functools.cache
def _make_yard() -> _Yard:
    memory = Path("/dev/shm")
    room = memory.is_dir() and shutil.disk_usage(memory).free > 2048 * MiB
    folder = Path(tempfile.mkdtemp(prefix="relay-disks-", dir=memory if room else None))
    guard = subprocess.Popen(
        ["sh", "-c", _GUARD],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # an interrupt from the keyboard is not for it
        env=os.environ | {"PATH": SEARCH},
    )
    made = _Yard(folder, guard)
    made.register(folder)
    atexit.register(made.close)
    return made


# Making and mounting.


class Disk:
    """`folder`: the root of the file system under test."""

    def __init__(self, platter: Path, image: Path, folder: Path) -> None:
        self._platter = platter
        self._image = image
        self.folder = folder
        self._one = threading.Lock()

    def cut(self, copy: Path) -> Moment:
        """Write to `copy` what the disk would hold had its power been cut now. Nobody notices but by the clock."""
        with self._one:
            platter = os.open(self._platter, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                began = time.time()
                fcntl.ioctl(platter, _FREEZE, 0)
                try:
                    _copy(self._image, copy)
                    return Moment(began, time.time())
                finally:
                    fcntl.ioctl(platter, _THAW, 0)
            finally:
                os.close(platter)


@contextlib.contextmanager
def disk(options: str = ORDERED) -> Iterator[Disk]:
    """A fresh disk, mounted so. Who uses its folder ends first."""
    folder = Path(tempfile.mkdtemp(prefix="disk-", dir=yard()))
    below, image = folder / "platter.img", folder / "platter" / "disk.img"
    try:
        _format(below, ROOM + 384 * MiB, journal=16)
        with _mounted(below, image.parent, "noatime"):
            _format(image, ROOM, journal=4)
            with _mounted(image, folder / "disk", options):
                yield Disk(image.parent, image, folder / "disk")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def powered_up(copy: Path, options: str = ORDERED) -> Iterator[Path]:
    """Mount what `cut` wrote, as the machine does that starts again; gives the root. Raises Damaged."""
    place = Path(tempfile.mkdtemp(prefix="copy-", dir=yard()))
    try:
        _check(copy)
        with _mounted(copy, place / "disk", options):
            yield place / "disk"
    finally:
        shutil.rmtree(place, ignore_errors=True)


def keep(copy: Path, folder: Path) -> None:
    """Put a copy into a folder that outlives this process. It takes the room of what is in it, without the holes."""
    _copy(copy, folder / copy.name)


def _check(image: Path) -> None:
    """Replay the journal and look at every structure. 1: it had something to do, as after any cut."""
    done = _run("e2fsck", "-f", "-p", str(image))
    if done.returncode not in (0, 1):
        raise Damaged(f"e2fsck says {done.returncode}: {done.stdout}{done.stderr}")


def _format(image: Path, size: int, journal: int) -> None:
    with image.open("wb") as file:
        file.truncate(size)
    # No lazy initialising: a thread of the kernel would write behind our back.
    extended = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    _must("mkfs.ext4", "-q", "-F", "-N", "8192", "-J", f"size={journal}", "-E", extended, str(image))


@contextlib.contextmanager
def _mounted(image: Path, place: Path, options: str) -> Iterator[None]:
    place.mkdir()
    _yard().register(place)
    _must("mount", "-t", "ext4", "-o", f"loop,{options}", str(image), str(place))
    try:
        yield
    finally:
        _unmount(place)


def _unmount(place: Path, seconds: float = 10) -> None:
    """The loop device goes with it. Somebody who still uses it is named; then it goes when they do."""
    deadline = time.monotonic() + seconds
    while (done := _run("umount", str(place))).returncode:
        if time.monotonic() > deadline:
            _run("umount", "--lazy", str(place))
            raise DiskError(f"{done.stderr.strip()}; used by processes {_users(place)}")
        time.sleep(0.05)


def _users(place: Path) -> list[str]:
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if link.readlink().is_relative_to(place):
                found.add(link.parts[2])
    return sorted(found)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | {"PATH": SEARCH})


def _must(*command: str) -> None:
    done = _run(*command)
    if done.returncode:
        raise DiskError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")


def _copy(source: Path, target: Path) -> None:
    """Without the holes: the disk is large and nearly empty."""
    with source.open("rb", buffering=0) as old, target.open("wb", buffering=0) as new:
        size = os.fstat(old.fileno()).st_size
        new.truncate(size)
        end = 0
        while (start := _next_data(old.fileno(), end)) >= 0:
            end = os.lseek(old.fileno(), start, os.SEEK_HOLE)
            for offset in range(start, end, MiB):
                os.pwrite(new.fileno(), os.pread(old.fileno(), min(MiB, end - offset), offset), offset)


def _next_data(file: int, offset: int) -> int:
    try:
        return os.lseek(file, offset, os.SEEK_DATA)
    except OSError:  # ENXIO: nothing but a hole up to the end
        return -1
