"""Leads what libraries log through the standard library into our log.

Called when the log is configured. It never passes on what aiosmtpd logs (hazard L8), nor more than the first line of
anything, nor the text of an exception.
"""

from __future__ import annotations

import logging
from typing import Any

# aiosmtpd writes every line a client sends to "mail.log": after a refused AUTH these are passwords (hazard L8).
# uvicorn's access lines would be one per scrape.
_SILENT = ("mail", "mail.log", "mail.debug", "mail.error", "uvicorn.access")
_QUIET = {"uvicorn": logging.WARNING, "uvicorn.error": logging.WARNING, "asyncio": logging.WARNING}


class _Bridge(logging.Handler):
    def __init__(self, log: Any) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else record.levelname.lower()
        write = getattr(self._log, level, self._log.info)
        error = record.exc_info[1] if record.exc_info else None
        extra = {"exc_info": error} if error is not None else {}
        write(_summary(record), logger=record.name, **extra)


def _summary(record: logging.LogRecord) -> str:
    """The first line. Of asyncio's only the words before the callback or task: its repr may show bytes of a session."""
    line = (record.getMessage().splitlines() or [""])[0]
    if record.name == "asyncio":
        line = line.partition(" <")[0].partition("(")[0]
    return line


def route_stdlib(log: Any, level: int) -> None:
    """Replace the root logger's handlers by a bridge to `log`."""
    root = logging.getLogger()
    root.handlers = [_Bridge(log)]
    root.setLevel(level)
    for name in _SILENT:
        silent = logging.getLogger(name)
        silent.handlers = [logging.NullHandler()]
        silent.propagate = False
        silent.setLevel(logging.CRITICAL + 1)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, level))
