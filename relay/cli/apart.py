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
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        signal.raise_signal(os.WTERMSIG(status))  # who ends a part of us means us
    if not answer:
        raise Failure("internal error, please report it: reading the configuration ended without an answer")
    found: T = pickle.loads(answer)  # nosec B301
    return found


def _answer(work: Callable[[], object], writing: socket.socket) -> NoReturn:
    """The child's whole life: it leaves nothing to be run at exit, which is its parent's."""
    try:
        writing.sendall(pickle.dumps(work()))
    finally:
        os._exit(0)
