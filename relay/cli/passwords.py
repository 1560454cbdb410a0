"""Passwords for commands: from standard input, a file, or a person, never from the arguments, which everybody can see.

Used by the commands that take one. It never prints or keeps it.
"""

from __future__ import annotations

import os
from pathlib import Path

from relay.cli.options import Failure

MOST = 4096


def password(*, stdin: bool, file: Path | None, ask: str = "") -> str | None:
    """What was given; None: nothing. `ask`: what a person on a terminal is asked if it was said nowhere, "": nothing.

    It is the first line of standard input, or all of a file but for its last line end. Raises Failure.
    """
    if stdin and file is not None:
        raise Failure("--password-stdin and --password-file exclude each other: give one of them", 2)
    if file is not None:
        return _of_file(file)
    if os.isatty(0):
        return _asked(ask or "Password: ") if stdin or ask else None
    return _of_stdin() if stdin else None


def _asked(prompt: str) -> str:
    from getpass import getpass

    return getpass(prompt)


def _of_stdin() -> str:
    with open(0, "rb", buffering=0, closefd=False) as given:
        return _decoded(given.readline(MOST + 1), "standard input")


def _of_file(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return _decoded(opened.read(MOST + 1), str(file))
    except OSError as error:
        reason = (error.strerror or "it failed").lower()
        raise Failure(f"{file} cannot be read ({reason}): name a file that you may read", 2) from None


def _decoded(raw: bytes, where: str) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Failure(f"{where} is not UTF-8 text: give the password alone", 2) from None
    if len(raw) > MOST:
        raise Failure(f"{where} has more than {MOST} bytes: give the password alone", 2)
    return text.removesuffix("\n").removesuffix("\r")
