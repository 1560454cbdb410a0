"""A script: which action at which phase, over all connections or for each one, and how the upstream is otherwise.

Tests write one in Python, `reading` makes one from YAML. Mistakes are told with their place and what would be right.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from relay.config.words import did_you_mean
from relay.testing.upstream.actions import ACTIONS, PHASES, Action, Close, Do, Raw, Say, Stall

ActionLike = Action | str
"""An action, the name of one of ACTIONS, or a reply as text: "450 4.2.0 later"."""
Phases = Mapping[str, "ActionLike | Sequence[ActionLike | None] | None"]
"""Phase to what happens there: always, or at its first, second … time (None: as usual), then as usual again.

Instead of "body" also "body@4096" or "body@50%": once so many bytes, or so much of what MAIL declared (SIZE=), came.
"""

OFFERS = ("PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN")
TLS = ("none", "starttls", "implicit")
Place = tuple[str | int, ...]
"""Where in a script: keys and numbers, from the outside in."""


class ScriptError(ValueError):
    """A script cannot be followed. `problems`: where, and a sentence."""

    def __init__(self, problems: Sequence[tuple[Place, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{place(path)}: {sentence}" if path else sentence for path, sentence in problems))


def place(path: Place) -> str:
    """`connections[1].rcpt`"""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


@dataclass(frozen=True, slots=True)
class Script:
    """All an upstream is told. Seconds: `delay` before each reply to a dot; `slow` (less than the client's patience),
    `too_slow` (more), `drip` (between bytes) for the actions of that name; `idle` after a transaction until "idle".

    `phases` counts turns over all connections; the n-th connection follows `connections[n]` first, and after the last
    of them all is as usual. `recipients`: address glob to what RCPT gets, the first that fits. `auth`: mechanisms
    offered, any password passes. `offers` with "CHUNKING": BDAT is understood; each is a turn of "data", the last one
    of a message goes on to "body" and "dot" (see `actions`). Raises ScriptError.
    """

    phases: Phases = field(default_factory=dict)
    connections: Sequence[Phases] = ()
    recipients: Mapping[str, ActionLike] = field(default_factory=dict)
    offers: Sequence[str] = OFFERS
    auth: Sequence[str] = ()
    tls: str = "none"
    certificate: str = "good"
    delay: float = 0.0
    slow: float = 0.5
    too_slow: float = 30.0
    drip: float = 0.02
    idle: float = 0.2

    def __post_init__(self) -> None:
        reader = _Reader()
        values = {
            "phases": reader.phases(self.phases, ("phases",)),
            "connections": [reader.phases(each, ("connections", n)) for n, each in enumerate(self.connections)],
            "recipients": {glob: reader.action(each, ("recipients", glob)) for glob, each in self.recipients.items()},
        }
        if self.tls not in TLS:
            reader.fail(("tls",), f"must be {' or '.join(TLS)}, not {self.tls!r}{did_you_mean(self.tls, TLS)}")
        if reader.problems:
            raise ScriptError(reader.problems)
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def mentions(self, name: str) -> bool:
        """Whether an action of this name may happen anywhere."""
        everything = (each for phases in (self.phases, *self.connections) for each in phases.values())
        return any(isinstance(action, Do) and action.name == name for each in everything for action in _turns(each))


def _turns(plan: object) -> Iterable[object]:
    return plan if isinstance(plan, list | tuple) else (plan,)


class _Reader:
    """Makes actions of what was written, and gathers what is wrong."""

    def __init__(self) -> None:
        self.problems: list[tuple[Place, str]] = []

    def fail(self, path: Place, sentence: str) -> None:
        self.problems.append((path, sentence))

    def phases(self, given: Phases | None, path: Place) -> Phases:
        read: dict[str, Action | Sequence[Action | None] | None] = {}
        for name, plan in (given or {}).items():
            if self._phase(name, (*path, name)):
                read[name] = self._plan(plan, (*path, name))
        if sum(name.partition("@")[0] == "body" for name in read) > 1:
            self.fail(path, 'only one "body" may be scripted here: take one of them out')
        return read

    def _phase(self, name: str, path: Place) -> bool:
        known, _, at = str(name).partition("@")
        if known not in PHASES:
            self.fail(path, f"no such phase{did_you_mean(known, PHASES)}; there are: {' '.join(PHASES)}")
        elif at and (known != "body" or not re.fullmatch(r"\d+%?", at)):
            self.fail(path, "only body has a place in it: body@4096 (bytes) or body@50% (of the size declared)")
        else:
            return True
        return False

    def _plan(self, plan: object, path: Place) -> Action | list[Action | None] | None:
        if plan is None:
            return None
        if isinstance(plan, list | tuple):
            return [None if each is None else self.action(each, (*path, turn)) for turn, each in enumerate(plan)]
        return self.action(plan, path)

    def action(self, given: object, path: Place) -> Action | None:
        if isinstance(given, Do):
            return given if self._known(given.name, path) else None
        if isinstance(given, Say | Raw | Close | Stall):
            return given
        text = str(given)
        if reply := re.fullmatch(r"([2-5]\d\d)[ -](.+)", text, re.DOTALL):
            return Say(int(reply[1]), reply[2])
        return Do(text) if self._known(text, path) else None

    def _known(self, name: str, path: Place) -> bool:
        if name in ACTIONS:
            return True
        self.fail(
            path,
            f"no such action: {name!r}{did_you_mean(name, ACTIONS)}; "
            f"write a reply (450 4.2.0 later) or one of: {' '.join(ACTIONS)}",
        )
        return False


class Plan:
    """A script's phases with a finger on the next turn of each. `body_at`: as written behind "body@"."""

    def __init__(self, phases: Phases) -> None:
        self.body_at = ""
        self._turns: Counter[str] = Counter()
        self._plans: dict[str, object] = {}
        for name, plan in phases.items():
            phase, _, at = name.partition("@")
            self._plans[phase] = plan
            self.body_at = at or self.body_at

    def __contains__(self, phase: str) -> bool:
        return phase in self._plans

    def actions(self) -> Iterable[object]:
        """All that may happen."""
        return [action for plan in self._plans.values() for action in _turns(plan)]

    def peek(self, phase: str) -> Action | None:
        plan = self._plans.get(phase)
        if isinstance(plan, list):
            turn = self._turns[phase]
            plan = plan[turn] if turn < len(plan) else None
        return plan  # type: ignore[return-value]  # Script made it an Action

    def take(self, phase: str) -> Action | None:
        if phase not in self._plans:
            return None
        action = self.peek(phase)
        self._turns[phase] += 1
        return action
