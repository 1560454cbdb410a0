"""Waiting for the outside world: deadlines instead of sleeps, free ports, and programs that have to be there.

Used by every module of the integration tests. It knows nothing of the relay.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import shutil
import socket
import time
from collections.abc import Callable
from typing import NoReturn, TypeVar

import pytest

T = TypeVar("T")

PACKAGES = {
    "cron": "cron",
    "curl": "curl",
    "mail": "bsd-mailx",
    "master": "postfix",
    "msmtp": "msmtp",
    "node": "nodejs",
    "npm": "npm",
    "php": "php-cli",
    "phpmailer": "libphp-phpmailer",
    "prlimit": "util-linux",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "promtool": "prometheus",
    "saslpasswd2": "sasl2-bin",
    "sendmail": "postfix",
    "setpriv": "util-linux",
    "smartd": "smartmontools",
    "smtp-sink": "postfix",
    "smtp-source": "postfix",
    "strace": "strace",
    "swaks": "swaks",
    "unshare": "util-linux",
}
"""Program to the Debian package that brings it; tests/packages.txt names them for `make test`."""

SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", "/usr/lib/postfix/sbin"])


def program(name: str) -> str:
    """The path of a program. Missing: the test skips and names the package; with CI=true it fails instead."""
    return shutil.which(name, path=SEARCH) or missing(name)


def missing(name: str) -> NoReturn:
    """Skip (with CI=true: fail) because this is not installed."""
    lacking(f"{name} is not installed: apt-get install {PACKAGES[name]}")


def needs_root(why: str) -> None:
    """Skip (with CI=true: fail) when not root."""
    if os.geteuid() != 0:
        lacking(f"needs root: {why}")


def lacking(message: str) -> NoReturn:
    """Skip, saying what this machine lacks; with CI=true fail, because there nothing may be lacking."""
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


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


PORTS = range(10_000, 32_000)
"""Below the ephemeral range, so no client's own port takes one meanwhile."""

BLOCK = 50

_undealt: list[int] = []


def free_port() -> int:
    """A port of 127.0.0.1 nobody listens on, and no other process of the tests is dealt.

    A bind alone does not tell: a relay that was killed and comes back listens on nothing in between, nor does one not
    started yet.
    """
    while True:
        if not _undealt:
            _undealt.extend(_claimed_block())
        port = _undealt.pop()
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


def _claimed_block() -> range:
    """Ports that are this process's until it ends: an abstract socket's name is taken once in a network namespace."""
    starts = list(PORTS[::BLOCK])
    random.SystemRandom().shuffle(starts)
    for start in starts:
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0relay-tests/ports/{start}")
        except OSError:
            claim.close()
            continue
        atexit.register(claim.close)
        return range(start, start + BLOCK)
    pytest.fail("every block of ports is claimed by another process of the tests")


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
