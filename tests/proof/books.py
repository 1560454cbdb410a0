"""The two ledgers on disk, read as they grow: a load's journal and the upstreams' record, as the judge wants them.

`scene` reads them; a campaign forgets what was judged, so that memory stays flat. It writes nothing but `truncate`.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proof.oracle import Outcome, Sent, Taken


class Lines:
    """JSON lines of a file that grows. `new` gives those that are complete and were not given before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def new(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # still being written
                self._offset += len(line)
                yield json.loads(line)

    def truncate(self) -> None:
        """Forget the file's content on disk as well. Its writer appends, and writes nothing at this moment."""
        os.truncate(self.path, 0)
        self._offset = 0


class Journal:
    """What one load sent: an intent before each message, its outcome after. Without outcome it is unknown."""

    def __init__(self, path: Path) -> None:
        self._lines = Lines(path)
        self._open: dict[str, dict[str, Any]] = {}
        self._closed: list[Sent] = []

    def read(self) -> Journal:
        for line in self._lines.new():
            if "outcome" in line:
                self._closed.append(_sent(self._open.pop(line["id"]), line))
            else:
                self._open[line["id"]] = line
        return self

    @property
    def answered(self) -> int:
        return len(self._closed)

    def sent(self) -> list[Sent]:
        """Everything so far; what is under way ends never."""
        under_way = [_sent(intent, {"outcome": Outcome.UNKNOWN}) for intent in self._open.values()]
        return self._closed + under_way


def _sent(intent: dict[str, Any], end: dict[str, Any]) -> Sent:
    content = intent.get("content")
    return Sent(
        id=intent["id"],
        sender=intent["sender"],
        recipients=tuple(end.get("to", intent["to"])),
        sha256=intent["sha256"],
        outcome=Outcome(end["outcome"]),
        began=end.get("began", intent["at"]),
        ended=end.get("ended", float("inf")),
        content=None if content is None else base64.b64decode(content),
    )


def taken(line: dict[str, Any]) -> Taken:
    """A line of an upstream's record."""
    content = line["content"]
    return Taken(
        port=line["port"],
        opened=line["opened"],
        at=line["at"],
        sender=path_of(line["mail"]),
        recipients=tuple(path_of(command) for command in line["rcpt"]),
        sha256=line["sha256"],
        answered=line["answered"],
        named=tuple(line["named"]),
        front=None if line["front"] is None else base64.b64decode(line["front"]),
        content=None if content is None else base64.b64decode(content),
    )


def path_of(command: str) -> str:
    """The address of `MAIL FROM:<a@b> SIZE=1`."""
    return command[command.index("<") + 1 : command.index(">")]
