"""What the spool in memory holds: live messages with their entries, the record of ended ones, and of what happened.

Used by `memory` and `memory_desk`. Plain data; it decides nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from relay.model import Body, Claim, Happening, Message, MessageId, Owed, State
from relay.spool.settling import WAITING
from relay.spool.views import Gone, Past

_numbers = itertools.count(1)


@dataclass(slots=True, eq=False)
class Entry:
    """Part of what is owed of a message. `wish`: what an operator asked for while it was leased."""

    owed: Owed
    leased: bool = False
    wish: str = ""
    id: int = field(default_factory=_numbers.__next__)

    @property
    def waits(self) -> bool:
        return not self.leased and self.owed.state in WAITING

    def shown(self) -> Owed:
        """What is owed, in the state people see."""
        return replace(self.owed, state=State.SENDING) if self.leased else self.owed


@dataclass(slots=True, eq=False)
class Live:
    """A message of which something is still owed."""

    message: Message
    body: Body
    entries: list[Entry]
    past: list[Past] = field(default_factory=list)

    def shown(self) -> list[Owed]:
        return [entry.shown() for entry in self.entries]


@dataclass(frozen=True, slots=True)
class Record:
    """A message of which nothing is owed any more."""

    message: Message
    past: Sequence[Past]
    ended_at: float

    @property
    def states(self) -> list[State]:
        return [item.ended.state for item in self.past if isinstance(item, Gone)]


@dataclass(slots=True)
class Store:
    live: dict[MessageId, Live] = field(default_factory=dict)
    history: dict[MessageId, Record] = field(default_factory=dict)
    claims: dict[tuple[str, str], Claim] = field(default_factory=dict)
    happenings: dict[int, Happening] = field(default_factory=dict)
