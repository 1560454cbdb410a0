"""The walls around the process, made of the system's limits: nothing to open, nothing to start, little memory.

Called once by `__main__`, after everything it needs is imported: from then on not even a module can be read. It does
not load ctypes for prctl: a template that got out of the engine's sandbox would find it here, and can load nothing.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from pathlib import Path

MEMORY = 192 << 20
"""Bytes that a template may need on top of what the process has when it begins."""


def shut_in() -> None:
    """For good. Standard input and output stay, which is all the process has."""
    _close_the_rest()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # for the whole group at a stop: the relay ends us when it is done
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _narrow(resource.RLIMIT_CORE, 0)
    _narrow(resource.RLIMIT_FSIZE, 0)
    with contextlib.suppress(OSError, ValueError):  # not every system has these two
        _narrow(resource.RLIMIT_NPROC, 0)
        _narrow(resource.RLIMIT_AS, _address_space() + MEMORY)
    _narrow(resource.RLIMIT_NOFILE, 0)


def _close_the_rest() -> None:
    """Descriptors that the relay itself inherited: uvloop closes none when it starts a process."""
    for name in os.listdir("/dev/fd"):  # noqa: PTH208  (numbers, not paths)
        with contextlib.suppress(OSError):  # of the listing itself
            if int(name) > 2:
                os.close(int(name))


def _narrow(which: int, most: int) -> None:
    resource.setrlimit(which, (most, most))


def _address_space() -> int:
    """Bytes, as Linux tells it; OSError elsewhere."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def alarm(seconds: float) -> None:
    """The system kills the process then, whatever it is doing and whether the relay still lives; 0: not at all."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
