"""The key file: what is accepted, what is refused with its line and its fix."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.db.errors import SpoolError
from relay.store import keys


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secret.key"


def put(path: Path, text: bytes, mode: int = 0o600) -> None:
    path.write_bytes(text)
    path.chmod(mode)


def test_what_is_written_is_read(path: Path) -> None:
    known = (keys.fresh(), keys.fresh())
    keys.write(path, known)
    assert keys.read(path) == known
    assert path.stat().st_mode & 0o777 == 0o600
    assert [other.name for other in path.parent.iterdir()] == ["secret.key"]


def test_what_a_crash_left_half_written_is_no_hindrance(path: Path) -> None:
    put(path.with_name("secret.key.new"), b"half a k", 0o644)
    known = (keys.fresh(),)
    keys.write(path, known)
    assert keys.read(path) == known
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_file_is_no_error(path: Path) -> None:
    assert keys.read(path) is None


def test_blank_lines_and_carriage_returns_are_no_keys(path: Path) -> None:
    key = keys.fresh()
    put(path, b"\r\n" + key + b"\r\n\r\n")
    assert keys.read(path) == (key,)


SHORT = b"c2VjcmV0IGtleSBvZiB0aGlydHktdHdvIGJ5dGVzLi4"  # a character is missing


@pytest.mark.parametrize("bad", [b"secret-that-is-no-key", b"A" * 44, b"\xff\x00" * 22, SHORT])
def test_H8_a_bad_line_is_named_and_not_shown(path: Path, bad: bytes) -> None:
    put(path, keys.fresh() + b"\n" + bad + b"\n")
    with pytest.raises(SpoolError, match=r"secret\.key:2: not a key.*make a key with") as error:
        keys.read(path)
    assert bad.decode("latin-1") not in str(error.value)


def test_an_empty_file_has_no_key(path: Path) -> None:
    put(path, b"\n")
    with pytest.raises(SpoolError, match="has no key in it; restore it"):
        keys.read(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o666])
def test_H8_a_file_open_to_others_is_refused(path: Path, mode: int) -> None:
    put(path, keys.fresh(), mode)
    with pytest.raises(SpoolError, match=f"mode {mode:04o}.*chmod 600 .*secret.key"):
        keys.read(path)


def test_a_mounted_secret_is_reached_through_its_link(path: Path) -> None:
    key = keys.fresh()
    put(path.with_name("mounted"), key)
    path.symlink_to("mounted")
    assert keys.read(path) == (key,)
    keys.write(path, (key, key))
    assert path.is_symlink()
    assert keys.read(path) == (key, key)


def test_a_link_to_nowhere_and_a_fifo_are_refused_at_once(path: Path) -> None:
    path.symlink_to("nowhere")
    with pytest.raises(SpoolError, match="cannot be read"):
        keys.read(path)
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(SpoolError, match="not a regular file"):
        keys.read(path)


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match=r"cannot be written \(No such file or directory\)"):
        keys.write(tmp_path / "gone" / "secret.key", (keys.fresh(),))
