"""What a scripted upstream can do at a phase: four kinds of action to build from, and twenty-four by name.

Scripts name them, the session performs them step by step. It decides only: no socket is touched here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

PHASES = (
    *("connect", "banner", "ehlo", "starttls", "handshake", "ehlo-again", "auth", "mail", "rcpt", "later-rcpt"),
    *("data", "body", "dot", "after", "rset", "quit", "idle"),
)
# BDAT (offered as CHUNKING; RFC 3030): each is a turn of "data". Where it is not the last one that is its reply. At the
# last one nothing is due at "data", before its octets are read, nor at "body", while they come; its reply is "dot".
MOMENTS = ("connect", "handshake", "body", "after", "idle")
"""Phases at which no reply is due: what an action says there is said unasked, and then all goes on as usual."""


@dataclass(frozen=True, slots=True)
class Say:
    """A well-formed reply. `text` begins with the enhanced code, if any; more lines after "\\n"."""

    code: int
    text: str = "5.0.0 scripted"

    @property
    def wire(self) -> bytes:
        *more, last = self.text.split("\n")
        return b"".join(f"{self.code}-{line}\r\n".encode() for line in more) + f"{self.code} {last}\r\n".encode()


@dataclass(frozen=True, slots=True)
class Raw:
    """These very bytes: garbage, half a reply, two replies. `pause`: seconds between single bytes (a drip).

    `granted`: the usual reply is among them, so the command takes effect.
    """

    data: bytes
    pause: float = 0.0
    granted: bool = False


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection, after `last` was sent. `reset`: with RST instead of FIN."""

    last: bytes = b""
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Stall:
    """Say nothing and keep the connection, until it is closed or the server stops."""


@dataclass(frozen=True, slots=True)
class Do:
    """One of ACTIONS by its name. `seconds`: instead of the script's `slow`, `too_slow` or `drip`."""

    name: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual at the phase: its reply; at "handshake" the handshake; at the other moments nothing."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Answer nothing for so many seconds; reading goes on."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Endless:
    """These bytes again and again, until the connection is closed."""

    data: bytes


@dataclass(frozen=True, slots=True)
class HalfClose:
    """FIN, while the connection is still read from."""


@dataclass(frozen=True, slots=True)
class StopReading:
    """Leave everything in the socket's (tiny) buffer: the client's window becomes zero."""


@dataclass(frozen=True, slots=True)
class Below:
    """These bytes beneath TLS, where there is TLS."""

    data: bytes


Action = Say | Raw | Close | Stall | Do
Step = Say | Raw | Close | Stall | Usual | Wait | Endless | HalfClose | StopReading | Below

SERVER_HELLO = b"\x16\x03\x03\x40\x00" + b"\x02" * 500
"""The first bytes of a handshake that never comes to its end: a record of 16 KiB is announced."""
TLS_ALERT = b"\x15\x03\x03\x00\x02\x02\x28"
"""RFC 8446 6: fatal, handshake_failure."""

REPLIES: Mapping[str, bytes] = {
    "banner": b"220 scripted ESMTP\r\n",
    "ehlo": b"250 scripted\r\n",
    "ehlo-again": b"250 scripted\r\n",
    "starttls": b"220 2.0.0 go ahead\r\n",
    "auth": b"235 2.7.0 welcome\r\n",
    "mail": b"250 2.1.0 ok\r\n",
    "rcpt": b"250 2.1.5 ok\r\n",
    "later-rcpt": b"250 2.1.5 ok\r\n",
    "data": b"354 go ahead\r\n",
    "dot": b"250 2.0.0 ok: queued\r\n",
    "rset": b"250 2.0.0 ok\r\n",
    "quit": b"221 2.0.0 bye\r\n",
}

# At a moment: the reply that is due nearest to it, for the actions that spoil or repeat one.
_NEAREST = {
    "connect": REPLIES["banner"],
    "handshake": SERVER_HELLO,
    "body": REPLIES["dot"],
    "after": REPLIES["dot"],
    "idle": REPLIES["dot"],
}

# Where no command is due whose reply could come early: what is said ahead of its time instead.
_EARLY = {
    "connect": REPLIES["banner"],
    "banner": REPLIES["banner"] + REPLIES["ehlo"],
    "handshake": SERVER_HELLO,
    "body": REPLIES["dot"],
    "after": REPLIES["mail"],
    "idle": REPLIES["mail"],
}

_TEMPORARY = Say(451, "4.3.0 scripted: not now")
_PERMANENT = Say(554, "5.0.0 scripted: no")
_REFUSALS: Mapping[str, tuple[Say, Say]] = {
    "connect": (Say(450, "4.3.2 scripted: not now"), Say(554, "5.7.1 scripted: go away")),
    "banner": (Say(450, "4.3.2 scripted: not now"), Say(554, "5.7.1 scripted: go away")),
    "ehlo": (_TEMPORARY, Say(550, "5.7.1 scripted: bad name")),
    "ehlo-again": (_TEMPORARY, Say(550, "5.7.1 scripted: bad name")),
    "starttls": (Say(454, "4.7.0 scripted: TLS not available"), Say(502, "5.5.1 scripted: no TLS")),
    "handshake": (Say(454, "4.7.0 scripted: TLS not available"), Say(554, "5.7.0 scripted: no TLS")),
    "auth": (Say(454, "4.7.0 scripted: try later"), Say(535, "5.7.8 scripted: bad credentials")),
    "mail": (_TEMPORARY, Say(550, "5.7.1 scripted: not this sender")),
    "rcpt": (Say(450, "4.2.0 scripted: later"), Say(550, "5.1.1 scripted: unknown")),
    "later-rcpt": (Say(450, "4.2.0 scripted: later"), Say(550, "5.1.1 scripted: unknown")),
    "dot": (_TEMPORARY, Say(554, "5.6.0 scripted: not this message")),
    "body": (_TEMPORARY, Say(554, "5.6.0 scripted: not this message")),
    "idle": (Say(451, "4.4.2 scripted: idle for too long"), Say(550, "5.4.2 scripted: idle for too long")),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a named action is to be performed. `reply`: the usual one, or the nearest; seconds as in Script."""

    phase: str
    reply: bytes
    slow: float
    too_slow: float
    drip: float

    @property
    def code(self) -> bytes:
        """Of the usual reply; in a handshake that of the 220 before it."""
        return self.reply[:3] if self.phase != "handshake" else b"220"


@dataclass(frozen=True, slots=True)
class Deed:
    """What is done: `steps` in order. `granted`: the command takes effect. `answered`: the record's word about a dot.

    `answered` None: the client was left without an answer it could rely on.
    """

    steps: tuple[Step, ...]
    granted: bool
    answered: str | None = None

    @property
    def stands(self) -> bool:
        """Said while a body is read: it is the reply to the message, and its dot gets no other."""
        return isinstance(self.steps[0], Say | Raw)


@dataclass(frozen=True, slots=True)
class _Kind:
    """`effect`: the command takes effect. `vague`: whatever was said, no client needs to rely on it."""

    steps: Callable[[Scene], tuple[Step, ...]]
    effect: bool = False
    vague: bool = False


def _refusal(which: int) -> Callable[[Scene], tuple[Step, ...]]:
    def steps(scene: Scene) -> tuple[Step, ...]:
        say = _REFUSALS.get(scene.phase, (_TEMPORARY, _PERMANENT))[which]
        # Who refuses a connection before it is greeted has no more to say to it.
        return (Close(say.wire) if scene.phase == "connect" else say,)

    return steps


def _wrong_class(scene: Scene) -> tuple[Step, ...]:
    return (Say(250, "2.0.0 scripted") if scene.code == b"354" else Say(354, "scripted"),)


def _early(scene: Scene) -> tuple[Step, ...]:
    """Elsewhere the session says the reply ahead, and the usual one when it did not come to that."""
    ahead = _EARLY.get(scene.phase)
    return (Usual(),) if ahead is None else (Raw(ahead, granted=True),)


ACTIONS: Mapping[str, _Kind] = {
    "421": _Kind(lambda s: (Close(b"421 4.3.2 scripted: closing\r\n"),)),
    "4xx": _Kind(_refusal(0)),
    "5xx": _Kind(_refusal(1)),
    "521": _Kind(lambda s: (Close(b"521 5.3.2 scripted: no mail here\r\n"),)),
    "malformed-code": _Kind(lambda s: (Raw(b"2x0 scripted\r\n"),)),
    "wrong-class": _Kind(_wrong_class),
    "endless-multiline": _Kind(lambda s: (Endless(s.code + b"-scripted\r\n"),)),
    "long-line": _Kind(lambda s: (Raw(s.code + b" " + b"x" * 1_000_000 + b"\r\n"),), effect=True, vague=True),
    "half-reply": _Kind(lambda s: (Raw(s.reply[: len(s.reply) // 2]), Stall())),
    "extra-reply": _Kind(lambda s: (Usual(), Raw(b"250 2.0.0 scripted: unasked\r\n")), effect=True),
    "nul-8bit": _Kind(lambda s: (Raw(s.code + b" scripted \0 \xff\xfe\r\n"),), effect=True, vague=True),
    "slow": _Kind(lambda s: (Wait(s.slow), Usual()), effect=True),
    "too-slow": _Kind(lambda s: (Wait(s.too_slow), Usual()), effect=True, vague=True),
    "drip": _Kind(lambda s: (Raw(s.reply, s.drip, granted=True),), effect=True),
    "fin": _Kind(lambda s: (Close(),)),
    "rst": _Kind(lambda s: (Close(reset=True),)),
    "half-close": _Kind(lambda s: (HalfClose(), Stall())),
    "silence": _Kind(lambda s: (Stall(),)),
    "zero-window": _Kind(lambda s: (StopReading(),)),
    "vanish": _Kind(lambda s: (*((Usual(),) if s.phase == "handshake" else ()), Close(reset=True)), effect=True),
    "tls-alert": _Kind(lambda s: (Below(TLS_ALERT), Close())),
    "early-reply": _Kind(_early, effect=True, vague=True),
    "twice": _Kind(lambda s: (Usual(), Raw(s.reply)), effect=True),
    "slow-close": _Kind(lambda s: (Usual(), Wait(s.slow), Close()), effect=True),
}

USUAL = Deed((Usual(),), granted=True)


def nearest(phase: str) -> bytes:
    """The reply an action at this phase spoils, delays or repeats."""
    return _NEAREST.get(phase) or REPLIES[phase]


def deed_of(action: Action, scene: Scene) -> Deed:
    """What an action means at a phase."""
    if isinstance(action, Do):
        kind = ACTIONS[action.name]
        steps = kind.steps(scene)
        return Deed(steps, kind.effect, None if kind.vague else answered(steps, scene.reply))
    granted = (isinstance(action, Say) and action.code < 400) or (isinstance(action, Raw) and action.granted)
    return Deed((action,), granted, answered((action,), scene.reply))


def answered(steps: tuple[Step, ...], usual: bytes) -> str | None:
    """The final reply among the steps, if it is a clear one: the code of an end (2, 4 or 5), and text."""
    said = next((_said(step, usual) for step in steps if not isinstance(step, Wait)), b"")
    return said.partition(b"\r\n")[0].decode("utf-8", "replace") if re.match(rb"[245]\d\d[ -].*\r\n", said) else None


def _said(step: Step, usual: bytes) -> bytes:
    match step:
        case Usual():
            return usual
        case Say():
            return step.wire
        case Raw(data):
            return data
        case Close(last):
            return last
    return b""
