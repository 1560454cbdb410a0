"""Where programs are, free ports, and waiting for servers.

Used by every module of the benchmark. It starts and ends nothing.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import time
from collections.abc import Callable

PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", "/usr/lib/postfix/sbin"])

_dealt: set[int] = set()


class Failed(Exception):
    """A row cannot be measured; the text says why."""


def program(name: str) -> str:
    found = shutil.which(name, path=PLACES)
    if not found:
        raise Failed(f"{name} is missing. Fix: as root, apt-get install postfix (on Debian make bench does)")
    return found


def free_port() -> int:
    """A port of 127.0.0.1 nobody listens on, below the range from which clients get theirs."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as probe:
            if port not in _dealt and probe.connect_ex(("127.0.0.1", port)) != 0:
                _dealt.add(port)
                return port


def until(condition: Callable[[], bool], seconds: float, what: str, every: float = 0.004) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"after {seconds:g} s still not: {what}")
        time.sleep(every)


def greeted(port: int, seconds: float) -> None:
    """Wait for a server's 220."""

    def greets() -> bool:
        with socket.socket() as probe:
            probe.settimeout(seconds)
            try:
                probe.connect(("127.0.0.1", port))
                return probe.recv(3) == b"220"
            except OSError:
                return False

    until(greets, seconds, f"a server greets on port {port}", every=0.002)
