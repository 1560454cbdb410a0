"""The relay with a wall clock that may be set: `python -m proof.clock FILE run -c RELAY.yaml`.

FILE says by how many seconds it is wrong; it is looked at ten times a second. Started by the tests of hazard G7. It
leaves the monotonic clock as it is, as setting a clock does; libfaketime 0.9.10 breaks sleeping by that one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

LOOKS = 0.1


def settable(file: Path, right: Callable[[], float] = time.time) -> Callable[[], float]:
    """A clock that is wrong by what the file says."""
    offset, looked = 0.0, float("-inf")

    def clock() -> float:
        nonlocal offset, looked
        if (now := time.monotonic()) - looked > LOOKS:
            offset, looked = float(file.read_text()), now
        return right() + offset

    return clock


if __name__ == "__main__":
    time.time = settable(Path(sys.argv.pop(1)))
    from relay.cli.main import main

    main()
