"""The bug: a large body has another name until it is whole. Its content is flushed, the renaming is not.

Without the rename ext4 would forgive it: the fsync of a new file commits the journal with its name in it.
"""

from __future__ import annotations

import os

from relay.spool.bodies import Collector


def plant() -> None:
    def seal(self: Collector) -> None:
        name = self._files.path(self._message)
        part = name.with_suffix(".part")
        self._write()
        name.rename(part)
        os.fsync(self._file)
        self._close()
        part.rename(name)

    assert hasattr(Collector, "_seal")
    Collector._seal = seal  # type: ignore[method-assign]
