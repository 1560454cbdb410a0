"""Disk space set aside, so that a full disk does not stop what is on its way out.

Used by `work` and `upkeep`. When nothing else is left it is given up for settlements, which free more than they need;
new mail is refused long before (hazard G4). It is only space: the file has no content.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from relay.db.files import private_file
from relay.spool.limits import MiB

SIZE = 32 * MiB


class Reserve:
    def __init__(self, path: Path, free: int) -> None:
        """`free`: bytes on the disk now; on a small one little is set aside."""
        self._path = path
        self._size = min(SIZE, free // 4)

    def fill(self, free: int) -> None:
        """Set the space aside, if it is not and there is room."""
        if self._path.exists() or free < 2 * self._size or not self._size:
            return
        file = private_file(self._path)
        try:
            os.posix_fallocate(file, 0, self._size)
        except OSError:
            self.give_up()
        finally:
            os.close(file)

    def give_up(self) -> bool:
        """Make the space free; True when there was some."""
        with contextlib.suppress(OSError):
            self._path.unlink()
            return True
        return False
