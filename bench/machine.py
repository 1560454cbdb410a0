"""What the figures were made on. Called once a run; written into the results."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench.waiting import program

UNFIT = ("tmpfs", "ramfs")


def file_system(folder: Path) -> str:
    """Its type, of the mount that `folder` is on."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    inside = [(where, kind) for where, kind in mounts if folder.resolve().is_relative_to(where)]
    return max(inside, key=lambda mount: len(mount[0]))[1] if inside else "unknown"


def flush_ms(folder: Path) -> float:
    """Milliseconds of writing 4 KiB and fdatasync, the middle of 100."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return round(median(_flush(file.fileno()) for _ in range(100)) * 1000, 3)


def _flush(file: int) -> float:
    began = time.perf_counter()
    os.pwrite(file, bytes(4096), os.fstat(file).st_size)
    os.fdatasync(file)
    return time.perf_counter() - began


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def machine(folder: Path) -> dict[str, Any]:
    version = subprocess.run([program("postconf"), "-d", "-h", "mail_version"], capture_output=True, text=True)
    return {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "file system": file_system(folder),
        "fdatasync of 4 KiB, ms": flush_ms(folder),
        "python": f"{platform.python_version()} of {sys.base_prefix}",
        "postfix": version.stdout.strip(),
    }
