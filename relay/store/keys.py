"""The file with the encryption keys: a line each, the first encrypts, all of them decrypt.

Used by `vault`. It never shows a key, not in an error either, and never writes half a file.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import shlex
import stat
from pathlib import Path

from relay.db.errors import SpoolError
from relay.db.files import sync_folder

SIZE = 32  # https://github.com/fernet/spec: 128 bits that sign, 128 that encrypt, as URL-safe base64
_LARGEST = 65536
_TEXT = 44


def fresh() -> bytes:
    return base64.urlsafe_b64encode(os.urandom(SIZE))


def read(path: Path) -> tuple[bytes, ...] | None:
    """The keys; None: there is no file. Raises SpoolError.

    Links are followed: secrets that are mounted, in Kubernetes for one, are reached through them.
    """
    if not os.path.lexists(path):
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SpoolError(f"the key file {path} cannot be read ({error.strerror}); repair that") from error
    with os.fdopen(descriptor, "rb") as file:
        _refuse(path, os.fstat(descriptor))
        return parse(file.read(_LARGEST), path)


def _refuse(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SpoolError(f"the key file {path} is not a regular file; move it away or change secrets.key_file")
    mode = stat.S_IMODE(found.st_mode)
    # The mode of somebody else's, a mounted secret, is not ours to change.
    if found.st_uid == os.geteuid() and mode & 0o077:
        raise SpoolError(f"the key file {path} is open to others (mode {mode:04o}); chmod 600 {shlex.quote(str(path))}")


def parse(text: bytes, path: Path) -> tuple[bytes, ...]:
    """`path`: for the error, which names file and line."""
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        key = line.strip()
        if key and not _is_key(key):
            raise SpoolError(
                f"{path}:{number}: not a key, which is {SIZE} bytes in URL-safe base64 ({_TEXT} characters); restore "
                "the file, or make a key with: head -c 32 /dev/urandom | base64 | tr +/ -_"
            )
        if key:
            keys.append(key)
    if not keys:
        raise SpoolError(f"{path} has no key in it; restore it, or remove it if no password was ever stored")
    return tuple(keys)


def _is_key(text: bytes) -> bool:
    try:
        return len(text) == _TEXT and len(base64.b64decode(text, altchars=b"-_", validate=True)) == SIZE
    except binascii.Error:
        return False


def write(path: Path, keys: tuple[bytes, ...]) -> None:
    """All of it or nothing, durable on return. Raises SpoolError."""
    path = Path(os.path.realpath(path))
    new = path.with_name(path.name + ".new")
    try:
        _write(new, b"".join(key + b"\n" for key in keys))
        new.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink()
        raise SpoolError(
            f"the key file {path} cannot be written ({error.strerror}); repair that or change secrets.key_file"
        ) from error


def _write(path: Path, text: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
