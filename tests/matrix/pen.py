"""A memory limit the kernel enforces: a control group for one process, where this machine lets us make one.

Used by the exhaustion tests. Where it cannot be made `wrapper` is empty, and a test has the peak it measures itself.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


@dataclass
class Pen:
    """`wrapper`: put in front of a command line, the process starts inside."""

    folder: Path | None = None
    wrapper: list[str] = field(default_factory=list)

    def killed(self) -> int:
        """How many processes in it the kernel killed for want of memory."""
        if self.folder is None:
            return 0
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                return sum(map(int, re.findall(r"^oom_kill (\d+)$", (self.folder / name).read_text(), re.M)))
        return 0


@contextlib.contextmanager
def pen(limit: int) -> Iterator[Pen]:
    """A control group (version 2, else 1) with `limit` bytes, page cache included."""
    made = Pen()
    for parent, setting in ((ROOT, "memory.max"), (ROOT / "memory", "memory.limit_in_bytes")):
        folder = parent / f"relay-test-{os.getpid()}-{time.monotonic_ns()}"
        with contextlib.suppress(OSError):
            folder.mkdir()
            if not (folder / setting).exists():
                folder.rmdir()
                continue
            (folder / setting).write_text(str(limit))
            made = Pen(folder, ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(folder / "cgroup.procs")])
            break
    try:
        yield made
    finally:
        if made.folder is not None:
            with contextlib.suppress(OSError):  # a zombie may still be in it; an empty group costs nothing
                made.folder.rmdir()
