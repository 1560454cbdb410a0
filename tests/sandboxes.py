"""The sandbox's processes as the system tells of them: for tests that look at what is left, inherited or limited."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ENDLESS = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"


def processes(of: int | None = None) -> list[int]:
    """Those that a process has started, oldest first; ours when none is named."""
    found = (pid for pid in children(of or os.getpid()) if b"relay.automation.sandbox" in read(pid, "cmdline"))
    return sorted(found)


def children(of: int) -> set[int]:
    """Of any kind, zombies too."""
    found: set[int] = set()
    for thread in Path(f"/proc/{of}/task").iterdir():
        with contextlib.suppress(OSError):
            found.update(map(int, (thread / "children").read_text().split()))
    return found


def read(pid: int, name: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def descriptors(pid: int) -> set[str]:
    return {link.name for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}


def at_work(but: int = 0) -> int | None:
    """One of ours that has been burning the processor: it is started with less."""
    return next((pid for pid in processes() if pid != but and _cpu(pid) > 0.4), None)


def _cpu(pid: int) -> float:
    fields = read(pid, "stat").rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


async def until(condition: Callable[[], T | None]) -> T:
    """What the system does is seen only by looking again."""
    async with asyncio.timeout(20):
        while not (value := condition()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return value
