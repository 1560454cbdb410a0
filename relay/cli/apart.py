"""Work in a process of its own, whose memory goes when it ends.

Used for `relay run`: the command line and the configuration need 15 MB of libraries (typer, pydantic, PyYAML) that the
relay, which may run for months, needs no more. It works on two processors at once, so it also starts sooner.
"""

from __future__ import annotations

import os
import pickle  # nosec B403 - what is read was written by ourselves
import signal
import socket
from collections.abc import Callable
from typing import NoReturn, TypeVar

from relay.cli.options import Failure

T = TypeVar("T")


def apart(work: Callable[[], T], *, meanwhile: Callable[[], None]) -> T:
    """What `work` answers; here `meanwhile` is done. To be called while there is one thread. Raises Failure."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        _answer(work, theirs)
    theirs.close()
    meanwhile()
    with ours, ours.makefile("rb") as reading:
        answer = reading.read()
    if ended := _signal_that_ended(child):
        signal.raise_signal(ended)  # who ends a part of us means us; process 1 of a container lives on
        raise Failure(f"reading the configuration was ended by signal {ended}; if it was 9: give more memory")
    if not answer:
        raise Failure("internal error, please report it: reading the configuration ended without an answer")
    found: T = pickle.loads(answer)  # nosec B301
    return found


def _signal_that_ended(child: int) -> int:
    """Waits for it. 0: it ended by itself."""
    try:
        _, status = os.waitpid(child, 0)
    except ChildProcessError:  # whoever started us ignores SIGCHLD, so nobody is told how children end
        return 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def _answer(work: Callable[[], object], writing: socket.socket) -> NoReturn:
    """The child's whole life: it leaves nothing to be run at exit, which is its parent's."""
    try:
        writing.sendall(pickle.dumps(work()))
    finally:
        os._exit(0)
