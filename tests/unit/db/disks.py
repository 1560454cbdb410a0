"""A disk that fails when a test says so: an SQLite VFS over the real one.

Used by tests of `db` and of the SQLite spool. It fails with what a real disk would say, in the place where it would.
"""

from __future__ import annotations

from typing import Any

import apsw


class Disk(apsw.VFS):
    """The default VFS while it is open. `broken`: fsync says EIO (G5). `full`: writes say ENOSPC (G4).

    `unreadable`: reading says EIO.
    """

    def __init__(self) -> None:
        self.broken = False
        self.full = False
        self.unreadable = False
        self.syncs = 0
        super().__init__("failing-disk", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> DiskFile:
        return DiskFile(self, name, flags)


class DiskFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("unix", name, flags)

    def xSync(self, flags: int) -> None:
        if self._disk.broken:
            raise apsw.IOError("Input/output error")
        self._disk.syncs += 1
        super().xSync(flags)

    def xRead(self, amount: int, offset: int) -> bytes:
        if self._disk.unreadable:
            raise apsw.IOError("Input/output error")
        return super().xRead(amount, offset)

    def xWrite(self, data: Any, offset: int) -> None:
        if self._disk.full:
            raise apsw.FullError("No space left on device")
        super().xWrite(data, offset)
