"""Folder, file and lock on disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from relay.db.errors import SpoolError, SpoolInUse
from relay.db.files import lock, private_file, private_folder, settle_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def nobody() -> Iterator[None]:
    """As an ordinary user, also when the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_H13_folder_and_files_are_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        private_folder(tmp_path / "a" / "spool")
        os.close(private_file(tmp_path / "a" / "spool" / "spool.db"))
    finally:
        os.umask(before)
    assert mode(tmp_path / "a" / "spool") == 0o700
    assert mode(tmp_path / "a" / "spool" / "spool.db") == 0o600


def test_H13_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "spool.db").touch(mode=0o644)
    os.close(private_file(tmp_path / "spool.db"))
    assert mode(tmp_path / "spool.db") == 0o600


def test_a_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    private_folder(tmp_path)
    assert mode(tmp_path) == 0o711


def test_H13_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(SpoolError, match=r"symbolic link.*use .*/real"):
        settle_path(tmp_path / "link" / "spool.db")
    with pytest.raises(SpoolError, match="symbolic link"):
        private_folder(tmp_path / "link")
    (tmp_path / "real" / "spool.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SpoolError, match="symbolic link"):
        private_file(tmp_path / "real" / "spool.db")
    assert not (tmp_path / "elsewhere").exists()


def test_H13_a_linked_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "spool.db.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(SpoolError, match="symbolic link"):
        lock(tmp_path / "spool.db")
    assert not (tmp_path / "victim").exists()


def test_a_link_above_the_folder_is_resolved(tmp_path: Path) -> None:
    (tmp_path / "real" / "spool").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert settle_path(tmp_path / "link" / "spool" / "spool.db") == tmp_path.resolve() / "real" / "spool" / "spool.db"


@pytest.mark.parametrize("name", ["a-folder", "a-pipe"])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a-folder").mkdir()
    os.mkfifo(tmp_path / "a-pipe")
    with pytest.raises(SpoolError, match=name):
        private_file(tmp_path / name)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    with pytest.raises(SpoolError, match="not a folder"):
        private_folder(tmp_path / "spool")


def test_no_permission_names_the_user(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o500)  # noqa: PTH101
    try:
        with nobody(), pytest.raises(SpoolError, match=r"permission.*user id \d+"):
            private_folder(tmp_path / "spool")
    finally:
        os.chmod(tmp_path, 0o700)  # noqa: PTH101


def test_G8_a_second_instance_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    held = lock(tmp_path / "spool.db")
    with pytest.raises(SpoolInUse, match=f"in use by process {os.getpid()}") as refused:
        lock(tmp_path / "spool.db")
    assert refused.value.pid == os.getpid()
    os.close(held)
    os.close(lock(tmp_path / "spool.db"))
