"""A damaged spool is refused with one sentence, or opens, serves the rest and hands out nothing false.

Run by the fuzz driver and by the replay of the corpus. Hazard G6. Damage to a row, to a body file, to the pages of the
file or of its log, a shortened file, a foreign one.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import uvloop
from fuzz.alarms import Alarms
from fuzz.queues import LATER, MEMORY, PLENTY, Image, delivered, image, opened
from fuzz.reading import Reading

from relay.db.errors import SpoolError, StorageFailed, StorageFull
from relay.model import Lease, MessageId
from relay.ports import Filter
from relay.spool import ids
from relay.spool.sqlite import SqliteSpool

LONGEST = 120
WORDS = (
    b'"to":[9]', b'{"tries":"x"}', b'{"avoid":7}', b'{"pin":[]}', b"null", b"[]", b"{}", b"[[]]", b'"', b"\xff",
    b"1e999", b"\\ud800", b"-1", b"NaN", b"[0,0,0,0,0,0]", b"SQLite format 3\0", b'["a",[["b"]],0,"","","s","","",""]',
)  # fmt: skip

Question = Callable[[], Awaitable[Any]]

COLUMNS = {
    "message": ("meta", "size", "received_at", "expires_at", "prefix", "crc", "body"),
    "entry": ("lane", "state", "waiting", "due_at", "deadline", "wish", "owed"),
    "past": ("state", "what"),
    "history": ("ended_at", "state", "size", "received_at", "expires_at", "meta", "past"),
    "reservation": ("provider", "amount", "at"),
    "counter": ("amount", "touched_at"),
}
CELLS = [(table, column) for table, columns in COLUMNS.items() for column in columns]
NUMBERS = (0, 1, -1, 4, 5, 9, 10, 1 << 62, -(1 << 63), 1e300, float("inf"), float("-inf"), 0.5)

sys.setswitchinterval(0.0005)  # as the relay does: its threads wait for each other here, too
loop = uvloop.new_event_loop()
alarms = Alarms(loop)
CLEAN, CRASHED = loop.run_until_complete(image())


@dataclass
class Damage:
    """`rough`: to the file itself, so that SQLite may say of any page that it is damaged. `touched`: messages.

    `asked`: what is asked of the spool besides claims and bodies: looking, counting, acting, or (0) everything.
    """

    rough: bool = False
    asked: int = 0
    touched: set[MessageId] = field(default_factory=set)


@dataclass
class Seen:
    """Who is leased, by message."""

    leased: dict[MessageId, set[str]] = field(default_factory=dict)


def run(data: bytes) -> None:
    folder = MEMORY / f"fuzz-spool-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    reading = Reading(data)
    options = reading.byte()
    pristine = CLEAN if options & 1 else CRASHED
    path = pristine.put(folder)
    damage = reading.pick(KINDS)(reading, path, pristine)
    damage.asked = options >> 1 & 3
    seen = loop.run_until_complete(served(path, damage, pristine))
    alarms.raise_first()
    if seen is not None and not damage.rough:
        for message, addresses in UNHURT[id(pristine)].items():
            assert message in damage.touched or seen.leased.get(message) == addresses, f"{message} is not served"
    shutil.rmtree(folder)


async def served(path: Path, damage: Damage, pristine: Image) -> Seen | None:
    try:
        spool = await opened(path)
    except SpoolError as error:
        assert damage.rough, error
        assert str(error).isprintable() and ";" in str(error), error
        return None
    try:
        return await worked(spool, damage, pristine)
    finally:
        await spool.close()


async def worked(spool: SqliteSpool, damage: Damage, pristine: Image) -> Seen:
    seen = Seen()
    leases: list[Lease] = list(await tolerant(damage, lambda: spool.claim(PLENTY, LATER)) or ())
    for lease in leases:
        entry = lease.entry
        seen.leased.setdefault(entry.message.id, set()).update(r.address for r in entry.owed.recipients)
    await asyncio.gather(*(body(spool, message, damage, pristine) for message in seen.leased))
    for number, questions in enumerate((looking, counting, acting), 1):
        if damage.asked in (0, number):
            for question in questions(spool, leases, [*damage.touched, *pristine.bodies]):
                await tolerant(damage, question)
    return seen


def looking(spool: SqliteSpool, leases: list[Lease], messages: list[MessageId]) -> Iterator[Question]:
    yield lambda: spool.find(Filter(ended=True), limit=100)
    yield lambda: spool.find(Filter(recipient="*b@*", provider="p"), limit=100)
    for message in messages[:3]:
        yield partial(spool.show, message)


def counting(spool: SqliteSpool, leases: list[Lease], messages: list[MessageId]) -> Iterator[Question]:
    yield spool.stats
    yield lambda: spool.usage(LATER)
    yield lambda: spool.maintain(LATER + 10)


def acting(spool: SqliteSpool, leases: list[Lease], messages: list[MessageId]) -> Iterator[Question]:
    yield lambda: spool.settle([delivered(lease) for lease in leases[:3]])
    yield lambda: spool.act("cancel", Filter(recipient="b*"), LATER)
    yield lambda: spool.act("release", Filter(), LATER)


async def body(spool: SqliteSpool, message: MessageId, damage: Damage, pristine: Image) -> None:
    """Nothing false: the body as it was, or none."""
    found = await tolerant(damage, lambda: spool.body(message))
    if found is None:
        assert damage.rough or message in damage.touched, f"the body of {message} is lost"
        return
    data = found.data if found.data is not None else found.path.read_bytes()
    assert data == pristine.bodies.get(message) or (found.path and message in damage.touched), "a false body"
    assert found.size == len(data)


async def tolerant(damage: Damage, act: Question) -> Any:
    """SQLite may refuse a damaged page by name; anything else, and anything at all in a sound file, is a bug."""
    try:
        return await act()
    except (apsw.Error, StorageFailed, StorageFull):
        if not damage.rough:
            raise
        return None


# Kinds of damage.


def rows(reading: Reading, path: Path, pristine: Image) -> Damage:
    """Up to three cells hold something else."""
    damage = Damage()
    connection = apsw.Connection(str(path))
    for _ in range(1 + reading.byte() % 3):
        table, column = reading.pick(CELLS)
        keys = "message, part" if table == "entry" else "message, n" if table == "past" else "rowid, rowid"
        keys = "provider, period" if table == "counter" else keys
        found = connection.execute(f"SELECT {keys}, CAST({column} AS BLOB) FROM {table} ORDER BY 1, 2").fetchall()
        if not found:
            continue
        first, second, old = reading.pick(found)
        value, cast = damaged(reading, old or b"")
        where = " AND ".join(f"{key} = ?" for key in keys.split(", "))
        try:
            connection.execute(f"UPDATE {table} SET {column} = {cast} WHERE {where}", (value, first, second))
        except apsw.ConstraintError:
            continue
        if isinstance(first, int):
            damage.touched.add(ids.encode(first))
    connection.close()
    return damage


def damaged(reading: Reading, old: bytes) -> tuple[object, str]:
    """A value, and how it is written: text may be no UTF-8."""
    kind = reading.byte() % 6
    if kind == 0 and old:
        at, flip = reading.number(len(old)), reading.byte() or 1
        return old[:at] + bytes([old[at] ^ flip]) + old[at + 1 :], "CAST(? AS TEXT)"
    if kind == 1:
        at = reading.number(len(old) + 1)
        return old[:at] + reading.take(1 + reading.byte() % 8) + old[at + 1 :], "CAST(? AS TEXT)"
    if kind == 2:
        return reading.pick(NUMBERS), "?"
    if kind == 3:
        return struct.unpack("<d", reading.take(8).ljust(8, b"\0"))[0], "?"
    return reading.take(reading.byte()), "?" if kind == 4 else "CAST(? AS TEXT)"


def pages(reading: Reading, path: Path, pristine: Image) -> Damage:
    patch(reading, path)
    return Damage(rough=True)


def log(reading: Reading, path: Path, pristine: Image) -> Damage:
    """The log that a crash left; it has checksums, so what is damaged counts as never written."""
    wal = path.with_name("spool.db-wal")
    if wal.exists():
        patch(reading, wal)
    return Damage(rough=True)


def patch(reading: Reading, file: Path) -> None:
    data = bytearray(file.read_bytes())
    while reading:
        at, new = reading.number(len(data)), reading.take(1 + reading.byte() % 4)
        data[at : at + len(new)] = new
    file.write_bytes(data)


def shortened(reading: Reading, path: Path, pristine: Image) -> Damage:
    file = reading.pick([path, path.with_name("spool.db-wal")])
    if file.exists():
        os.truncate(file, reading.number(file.stat().st_size))
    return Damage(rough=True)


def foreign(reading: Reading, path: Path, pristine: Image) -> Damage:
    path.with_name("spool.db-wal").unlink(missing_ok=True)
    path.write_bytes(reading.rest())
    return Damage(rough=True)


def bodies(reading: Reading, path: Path, pristine: Image) -> Damage:
    """The files of large bodies: shorter, longer, other, gone, a link, a folder; and strays beside them."""
    folder = path.with_name("spool.db.bodies")
    (name,) = (Path(name).name for name in pristine.files if name.startswith("spool.db.bodies/"))
    file, kind = folder / name, reading.byte() % 7
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(data)
    if kind == 0:
        os.truncate(file, reading.number(file.stat().st_size))
    elif kind == 1:
        file.write_bytes(data + reading.rest())
    elif kind == 2:
        patch(reading, file)
    elif kind == 6:
        stray = reading.take(40).hex() if reading.byte() % 2 else "0" * 13
        (folder / (stray or "x")).write_bytes(b"stray")
        return Damage()
    else:
        file.unlink()
        if kind == 4:
            file.symlink_to("/etc/hostname")
        elif kind == 5:
            file.mkdir()
    return Damage(touched={MessageId(name)})


KINDS = (rows, rows, rows, pages, log, shortened, bodies, foreign)


def _unhurt(pristine: Image) -> dict[MessageId, set[str]]:
    """Who is leased when nothing is damaged."""
    folder = MEMORY / f"fuzz-spool-{os.getpid()}"
    seen = loop.run_until_complete(served(pristine.put(folder), Damage(), pristine))
    shutil.rmtree(folder)
    assert seen is not None and len(seen.leased) > 4
    return seen.leased


UNHURT = {id(one): _unhurt(one) for one in (CLEAN, CRASHED)}
