"""Bugs that the relay survives by answering 451, as exceptions: what it logs as an internal error fails the target.

Used by targets that run an event loop. Also what the loop itself would only have logged.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any


class Alarms(logging.Handler):
    """`raise_first` after each run. One for the process: it listens to everything the relay logs as an error."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(logging.ERROR)
        self._found: list[BaseException] = []
        logging.getLogger("relay").addHandler(self)
        logging.getLogger("relay").propagate = False
        logging.getLogger("asyncio").addHandler(self)
        loop.set_exception_handler(self._unheard)

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("relay") and not record.getMessage().startswith("internal error"):
            return  # of the disk, say: told to people, and no bug
        error = sys.exc_info()[1]
        self._found.append(error or AssertionError(record.getMessage()))

    def _unheard(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._found.append(context.get("exception") or AssertionError(str(context["message"])))

    def raise_first(self) -> None:
        found, self._found = self._found, []
        if found:
            raise AssertionError(f"internal error: {found[0]!r}") from found[0]
