"""Work in a process of its own: what comes back, and what is left of it. Asked of a process with one thread."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest


def done(work: str, *, meanwhile: str = "None", before: str = "") -> subprocess.CompletedProcess[str]:
    program = f"""
import atexit, os, signal, sys, threading
from relay.cli.apart import apart
from relay.cli.options import Failure
atexit.register(lambda: print("at exit"))
def work(): {work}
{before}
try:
    print(apart(work, meanwhile=lambda: {meanwhile}))
except Failure as failure:
    print("failure:", failure)
"""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)


def test_the_answer_comes_back_and_the_modules_do_not() -> None:
    work = "import decimal; return decimal.__name__"
    assert done(work, meanwhile="print('meanwhile')").stdout == "meanwhile\ndecimal\nat exit\n"
    assert done(work, meanwhile="print('decimal' in sys.modules)").stdout == "False\ndecimal\nat exit\n"


def test_a_large_answer_does_not_wait_for_its_reader() -> None:
    """More than a socket holds, to somebody who is still busy."""
    assert done("return 'x' * 5_000_000").stdout.startswith("xxx")


@pytest.mark.parametrize("work", ["os._exit(3)", "raise ValueError"])
def test_no_answer_is_a_failure(work: str) -> None:
    assert "failure: internal error, please report it" in done(work).stdout


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_who_kills_it_kills_the_whole(number: signal.Signals) -> None:
    assert done(f"os.kill(os.getpid(), {int(number)})").returncode == -number


def test_it_may_be_started_by_somebody_who_ignores_how_children_end() -> None:
    """Handed down by exec: whoever cannot wait for it still takes the answer."""
    ignoring = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    assert done("return 7", before=ignoring).stdout == "7\nat exit\n"
    assert "failure: internal error" in done("os._exit(3)", before=ignoring).stdout


def test_process_1_of_a_container_which_no_signal_ends_says_why_it_does_not_start() -> None:
    """Even if the answer came: it may be half of one. Here the signal is ignored by everybody but the child."""
    work = "signal.signal(signal.SIGUSR1, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGUSR1)"
    told = done(work, before="signal.signal(signal.SIGUSR1, signal.SIG_IGN)").stdout
    assert told == "failure: reading the configuration was ended by signal 10; if it was 9: give more memory\nat exit\n"
