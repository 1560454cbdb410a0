"""What a scripted upstream remembers of its clients, for the test that asks it afterwards.

Sessions fill it in; it is plain data.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from relay.smtp.data import unstuff


@dataclass(slots=True)
class Received:
    """One transaction that reached its dot. `mail`, `rcpt`: the command lines; `wire`: the bytes before the dot.

    `chunked`: it came by BDAT, so `wire` is the content itself, and the dot is the end of the last chunk.
    `answered`: the reply to the dot that the client can rely on, None if there is none. `at`: unix seconds of the dot.
    """

    mail: bytes
    rcpt: tuple[bytes, ...]
    wire: bytes
    connection: int
    answered: str | None = None
    at: float = 0.0
    chunked: bool = False

    @property
    def taken(self) -> bool:
        """There is a copy of it here, whether or not the client was told."""
        return self.answered is None or self.answered.startswith("2")

    @property
    def content(self) -> bytes:
        """What was sent, without the stuffing."""
        return self.wire if self.chunked else unstuff(self.wire)

    @property
    def sender(self) -> str:
        return address(self.mail)

    @property
    def recipients(self) -> tuple[str, ...]:
        """Those that were accepted."""
        return tuple(address(line) for line in self.rcpt)


@dataclass(slots=True)
class Counts:
    """`turns`: how often a client was waited for after it had been answered: round trips. `phases`: commands heard.

    `open`, `most_open`: connections now, and at most at once. `dots`: transactions that came to their dot; `taken`:
    those of them that were not refused.
    """

    connections: int = 0
    open: int = 0
    most_open: int = 0
    turns: int = 0
    dots: int = 0
    taken: int = 0
    phases: Counter[str] = field(default_factory=Counter)


def address(line: bytes) -> str:
    """The address in `MAIL FROM:<a@b> SIZE=1` or `RCPT TO:<a@b>`."""
    start, end = line.find(b"<"), line.find(b"> ")
    return line[start + 1 : end if end > start else line.rfind(b">")].decode("utf-8", "surrogateescape")
