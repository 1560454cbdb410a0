"""Waiting for the outside world: deadlines instead of sleeps, free ports, and programs that have to be there.

Used by every module of the integration tests. It knows nothing of the relay.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")

PACKAGES = {
    "curl": "curl",
    "master": "postfix",
    "msmtp": "msmtp",
    "node": "nodejs",
    "prlimit": "util-linux",
    "promtool": "prometheus",
    "saslpasswd2": "sasl2-bin",
    "setpriv": "util-linux",
    "smtp-sink": "postfix",
    "smtp-source": "postfix",
    "strace": "strace",
    "swaks": "swaks",
}
"""Program to the Debian package that brings it; tests/packages.txt names them for `make test`."""

SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", "/usr/lib/postfix/sbin"])


def program(name: str) -> str:
    """The path of a program. Missing: the test skips and names the package; with CI=true it fails instead."""
    found = shutil.which(name, path=SEARCH)
    if found:
        return found
    message = f"{name} is not installed: apt-get install {PACKAGES[name]}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def needs_root(why: str) -> None:
    """Skip (with CI=true: fail) when not root."""
    if os.geteuid() == 0:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"needs root: {why}")
    pytest.skip(f"needs root: {why}")


def until(condition: Callable[[], T], seconds: float, what: str, every: float = 0.03) -> T:
    """Call `condition` until it gives something true, and return that; after `seconds` fail, saying `what` lacked."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            pytest.fail(f"after {seconds:g} s still not: {what} (last seen: {value!r})")
        time.sleep(every)


def never(condition: Callable[[], object], seconds: float, what: str, every: float = 0.1) -> None:
    """Watch for `seconds` that `condition` stays false: for what must not happen, where nothing announces that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            pytest.fail(f"must not be: {what} (seen: {value!r})")
        time.sleep(every)


_dealt: set[int] = set()


def free_port() -> int:
    """A port of 127.0.0.1 nobody listens on. Below the ephemeral range, so no client's own port takes it meanwhile."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        if port in _dealt:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _dealt.add(port)
        return port


def listening(port: int) -> bool:
    """True when something accepts connections on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def greets(port: int) -> bool:
    """True when an SMTP server on this port says 220."""
    with socket.socket() as probe:
        probe.settimeout(2)
        try:
            probe.connect(("127.0.0.1", port))
            return probe.recv(3) == b"220"
        except OSError:
            return False
