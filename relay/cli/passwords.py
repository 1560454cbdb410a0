"""Passwords for commands: from standard input, a file, or a person, never from the arguments, which everybody can see.

Used by the commands that take one. It never prints or keeps it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from relay.cli.options import Failure

MOST = 4096


def password(*, stdin: bool, file: Path | None, ask: str = "") -> str | None:
    """What was given; None: nothing. `ask`: what a person on a terminal is asked if it was said nowhere, "": nothing.

    A line end behind it is the editor's or the shell's. Raises Failure.
    """
    if stdin and file is not None:
        raise Failure("--password-stdin and --password-file exclude each other: give one of them", 2)
    if file is not None:
        return _of_file(file)
    if sys.stdin.isatty():
        return _asked(ask or "Password: ") if stdin or ask else None
    return _decoded(sys.stdin.buffer.read(MOST + 1), "standard input") if stdin else None


def _asked(prompt: str) -> str:
    from getpass import getpass

    return getpass(prompt)


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
