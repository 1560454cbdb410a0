"""The `relay` command: performs it, and runs the relay if that is what was asked.

The entry point of the distribution. 0 done, 1 it failed, 2 wrong usage or configuration; never a traceback. It imports
nothing that a running relay does not need: see `apart`.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from relay.cli.apart import apart
from relay.cli.options import Failure, divide
from relay.cli.output import tell

if TYPE_CHECKING:
    from relay.app.plan import Plan


def main(arguments: Sequence[str] | None = None) -> int:
    """Perform one command; the exit code."""
    _open_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # an address may have letters that the locale lacks
    options, command = divide(sys.argv[1:] if arguments is None else arguments)
    perform = partial(_perform, options + command)
    try:
        done = apart(perform, meanwhile=_load) if command == ["run"] else perform()
        return done if isinstance(done, int) else _run(done)
    except Exception as error:
        return tell(error)
    except KeyboardInterrupt:
        return 1


def _open_standard_streams() -> None:
    """What is closed is put on nothing: else the next file or connection has its number, and gets what is printed."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "w" if number else "r"))


def _perform(given: Sequence[str]) -> int | Plan:
    from relay.cli.commands import perform

    return perform(given)


def _load() -> None:
    import relay.app.process  # noqa: F401


def _run(plan: Plan) -> int:
    from relay.app.plan import CannotStart
    from relay.app.process import run

    try:
        return run(plan)
    except CannotStart as error:
        raise Failure(str(error), error.code) from None


if __name__ == "__main__":
    sys.exit(main())
