"""Reading a spool from outside, also one whose power was cut before it was in WAL mode."""

from __future__ import annotations

import shutil
from pathlib import Path

import apsw
from proof import ended


def test_a_database_cut_in_its_first_transaction_is_read_after_a_rollback_of_a_copy(tmp_path: Path) -> None:
    live, cut = tmp_path / "live.db", tmp_path / "cut.db"
    connection = apsw.Connection(str(live))
    connection.execute("CREATE TABLE entry (state INTEGER)")
    connection.execute("INSERT INTO entry VALUES (1)")
    connection.execute("PRAGMA cache_spill = 1")
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN IMMEDIATE")
    for _ in range(200):
        connection.execute("INSERT INTO entry SELECT 1 FROM entry LIMIT 1000")
        if connection.execute("SELECT count(*) FROM entry").fetchall()[0][0] > 20_000:
            break
    for suffix in ("", "-journal"):
        shutil.copy(f"{live}{suffix}", f"{cut}{suffix}")
    before = {path.name: path.read_bytes() for path in tmp_path.glob("cut.db*")}
    assert ended.waiting(cut) == 1
    assert ended.integrity(cut) == "ok"
    assert ended.read(cut).recorded == set()
    assert {path.name: path.read_bytes() for path in tmp_path.glob("cut.db*")} == before
