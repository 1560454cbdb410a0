"""Opening the file: what is ours is set up, what is not is refused and left alone."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from relay.db import migrate
from relay.db.connection import APPLICATION_ID, open_reader, open_writer, pragma
from relay.db.errors import SpoolError


def made(path: Path) -> None:
    """A spool with something in it, closed."""
    connection = open_writer(path)
    with connection:
        connection.executemany("INSERT INTO counter VALUES ('p', ?, 1, 1)", [(str(n),) for n in range(5000)])
    connection.close()


def test_a_new_file_is_durable_and_can_shrink(tmp_path: Path) -> None:
    connection = open_writer(tmp_path / "spool.db")
    names = ("journal_mode", "synchronous", "auto_vacuum", "wal_autocheckpoint", "user_version")
    assert [pragma(connection, f"PRAGMA {name}") for name in names] == ["wal", 2, 2, 0, migrate.newest()]
    connection.close()


def test_H13_the_log_is_private_too(tmp_path: Path) -> None:
    connection = open_writer(tmp_path / "spool.db")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"spool.db": 0o600, "spool.db-wal": 0o600, "spool.db-shm": 0o600}
    connection.close()


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "spool.db")
    reader = open_reader(tmp_path / "spool.db")
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("DELETE FROM history")
    reader.close()
    writer.close()


def test_G6_a_foreign_file_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    path.write_bytes(b"From nobody Sat Nov 21 2026\n" * 100)
    with pytest.raises(SpoolError, match="not an SQLite database; move it away"):
        open_writer(path)
    assert path.read_bytes().startswith(b"From nobody")


def test_G6_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE t (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(SpoolError, match="database of another program"):
        open_writer(path)
    assert path.read_bytes() == before


def test_G6_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    connection = open_writer(path)
    pragma(connection, "PRAGMA user_version = 9999")
    connection.close()
    with pytest.raises(SpoolError, match=r"version 9999 .* up to \d+; install the newer relay"):
        open_writer(path)


@pytest.mark.parametrize("keep", [10, 2048, 8192])
def test_G6_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "spool.db"
    made(path)
    with path.open("r+b") as file:
        file.truncate(keep)
    with pytest.raises(SpoolError, match=r"damaged|not an SQLite database"):
        open_writer(path)


def test_a_path_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool.db").mkdir()
    with pytest.raises(SpoolError, match=r"spool\.db"):
        open_writer(tmp_path / "spool.db")


def test_migrations_are_applied_once_and_in_order(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "a.db"))
    scripts = [(1, "CREATE TABLE t (x); INSERT INTO t VALUES (1);"), (2, "INSERT INTO t VALUES (2);")]
    migrate.upgrade(connection, scripts[:1])
    migrate.upgrade(connection, scripts)
    migrate.upgrade(connection, scripts)
    assert connection.execute("SELECT x FROM t").fetchall() == [(1,), (2,)]
    assert migrate.version(connection) == 2
    connection.close()


def test_a_spool_of_the_first_version_is_brought_up_to_date_and_keeps_its_mail(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    first = apsw.Connection(str(path))
    pragma(first, f"PRAGMA application_id = {APPLICATION_ID}")
    migrate.upgrade(first, migrate.steps()[:1])
    first.execute("INSERT INTO counter VALUES ('p', 'day:2026-11-21', 7, 1)")
    first.close()

    connection = open_writer(path)
    assert migrate.version(connection) == migrate.newest() >= 2
    assert connection.execute("SELECT amount FROM counter").fetchall() == [(7,)]
    assert connection.execute("SELECT count(*) FROM provider").fetchall() == [(0,)]
    connection.close()


def test_L17_a_script_runs_to_its_end(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "a.db"))
    migrate.upgrade(connection, [(1, "CREATE TABLE t (x); SELECT 1; INSERT INTO t VALUES (7);")])
    assert connection.execute("SELECT x FROM t").fetchall() == [(7,)]
    connection.close()


def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "a.db"))
    migrate.upgrade(connection, [(1, "CREATE TABLE t (x);")])
    with pytest.raises(apsw.SQLError):
        migrate.upgrade(connection, [(2, "INSERT INTO t VALUES (1); INSERT INTO missing VALUES (1);")])
    assert (migrate.version(connection), connection.execute("SELECT * FROM t").fetchall()) == (1, [])
    connection.close()
