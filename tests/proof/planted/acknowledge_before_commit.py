"""The bug: 250 is said when the message was handed to the writer, not when it is on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from relay.model import Submission
from relay.spool.intake import Accept, Intake


def plant() -> None:
    async def accept(self: Any, batch: Sequence[Submission], **beside: Any) -> None:
        arrivals = [self._books.board(submission) for submission in batch]
        self._books.database.write(Accept(self._books, arrivals, sum(each.message.size for each in batch), []))

    Intake.accept = accept  # type: ignore[method-assign]
