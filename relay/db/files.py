"""The spool's folder, file and lock on disk: private, not reached through symbolic links, owned by one process.

Used by `connection` and by the spool's body files. It never opens the database file while SQLite has it open: closing
any descriptor of a file drops the POSIX locks of the whole process on it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path

from relay.db.errors import SpoolError, SpoolInUse

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def settle_path(path: Path) -> Path:
    """The absolute path with its folder resolved; the folder itself must not be a symbolic link (hazard H13)."""
    folder = path.absolute().parent
    if _is_link(folder):
        raise SpoolError(
            f"the spool folder {folder} is a symbolic link, which is not followed; use {folder.resolve()} in spool.url"
        )
    return folder.parent.resolve() / folder.name / path.name


def private_folder(folder: Path) -> None:
    """Make the folder 0700 if it is missing, durably. One that exists keeps its mode: it may hold other things."""
    if _is_link(folder):
        raise SpoolError(f"{folder} is a symbolic link, which is not followed; remove it or change spool.url")
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        if not folder.is_dir():
            raise SpoolError(f"{folder} is not a folder; move it away or change spool.url") from None
    except OSError as error:
        raise refused(folder, error) from error
    else:
        sync_folder(folder.parent)


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError as error:
        raise refused(path, error) from error


def private_file(path: Path) -> int:
    """Open or make a regular file with mode 0600, never through a link; the caller closes the descriptor."""
    try:
        descriptor = os.open(path, _FLAGS, 0o600)
    except OSError as error:
        raise refused(path, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SpoolError(f"{path} is not a regular file; move it away or change spool.url")
    with contextlib.suppress(PermissionError):
        os.fchmod(descriptor, 0o600)
    return descriptor


def refused(path: Path, error: OSError) -> SpoolError:
    """An error of the operating system as a sentence with its fix."""
    user = os.geteuid()
    if error.errno == errno.ELOOP:
        return SpoolError(f"{path} is a symbolic link, which is not followed; put the real path in spool.url")
    if error.errno in (errno.EACCES, errno.EPERM):
        return SpoolError(f"no permission for {path}; give it to user id {user} or change spool.url")
    if error.errno == errno.EROFS:
        return SpoolError(f"{path} lies on a read-only file system; mount it writable or change spool.url")
    return SpoolError(f"cannot use {path}: {error.strerror}; repair that or change spool.url")


def lock(path: Path) -> int:
    """Own `<path>.lock` until the descriptor is closed or the process dies. Raises SpoolInUse."""
    descriptor = private_file(path.with_name(path.name + ".lock"))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _owner(descriptor)
        os.close(descriptor)
        who = f"process {pid}" if pid else "another process"
        raise SpoolInUse(f"the spool {path} is in use by {who}; stop it first or change spool.url", pid) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _owner(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else None


def sync_folder(folder: Path) -> None:
    """Make names in the folder durable: without it a new file can be gone after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
