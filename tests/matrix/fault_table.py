"""What must become of mail when a provider fails in one of 17 phases in one of 24 ways: a pure function.

`faults.py` makes each happen to a real relay and compares. It is derived from the delivery rules, not from the relay.

A cell sends one message to two recipients, a and b, over a connection that fails; later connections are as usual.
What the upstream says or does to it, and what it then knows, decides:

- before MAIL: nothing was sent, the host is at fault (its circuit opens); a 5xx means our account: suspended, F5;
- from MAIL to the last byte before the dot: nothing is delivered, all of it is tried again; the connection is at fault,
  and the host only when it says 421 (F1); a clear 4xx or 5xx to one recipient is that recipient's alone (F3);
- after the dot: a clear reply counts, anything else is UNCERTAIN, and only then may there be two copies (F2);
- what comes unasked, late or twice closes the connection and is never somebody else's answer (F6).
"""

from __future__ import annotations

from dataclasses import dataclass

INTRODUCTION = ("connect", "banner", "ehlo", "starttls", "handshake", "ehlo-again", "auth")
TRANSACTION = ("mail", "rcpt", "later-rcpt", "data", "body")
ENDING = ("dot", "after", "rset", "quit", "idle")
WITHOUT = {"none": ("starttls", "handshake", "ehlo-again"), "starttls": (), "implicit": ("starttls", "ehlo-again")}
"""Phases that do not exist in a mode of TLS."""

HOST, ACCOUNT = "host", "account"

FINE = ("slow", "nul-8bit")
NONSENSE = ("malformed-code", "wrong-class", "endless-multiline", "long-line")
LOST = "half-reply too-slow drip fin rst half-close silence zero-window vanish tls-alert".split()  # noqa: SIM905
SURPLUS = ("extra-reply", "twice")


@dataclass(frozen=True)
class Fate:
    """The first attempt's word for a and for b, and whom it blames: the host (circuit), our account, "" nobody."""

    a: str
    b: str
    blame: str = ""

    @property
    def uncertain(self) -> bool:
        return self.a == "uncertain"

    def ends(self, phase: str) -> dict[str, str]:
        """The final states: what was put off is delivered by the second attempt; in rset cells it is refused again."""
        words = {"a": self.a, "b": self.b}
        return {who: "failed" if phase == "rset" or word == "rejected" else "accepted" for who, word in words.items()}


def both(word: str, blame: str = "") -> Fate:
    return Fate(word, word, blame)


DELIVERED = both("delivered")
AGAIN = both("deferred")
AGAIN_HOST = both("deferred", HOST)
SUSPENDED = both("deferred", ACCOUNT)
BOUNCED = both("rejected")
UNCERTAIN = both("uncertain")


def expected(phase: str, action: str, tls: str) -> frozenset[Fate]:
    """The fates that are right; more than one where the network decides which comes first, and all are safe."""
    decide = _INTRODUCTION.get(phase) or _LATER[phase]
    fates = decide(phase, action, tls)
    return frozenset((fates,) if isinstance(fates, Fate) else fates)


_Fates = Fate | tuple[Fate, ...]


def _refused_before_mail(action: str) -> _Fates:
    """F5: whoever does not let us in permanently refuses our account, whatever it answers with it."""
    return SUSPENDED if action in ("5xx", "521") else AGAIN_HOST


def _connect(phase: str, action: str, tls: str) -> _Fates:
    if action == "slow":
        return DELIVERED
    if tls == "implicit":
        return AGAIN_HOST  # whatever was said, it is no handshake
    if action in ("twice", "nul-8bit", "early-reply"):
        return AGAIN_HOST, DELIVERED  # a second banner: seen as surplus, or it comes before EHLO is sent and is dropped
    return _refused_before_mail(action)


def _handshake(phase: str, action: str, tls: str) -> _Fates:
    if action == "slow":
        return DELIVERED
    if action in SURPLUS and tls == "starttls":
        return AGAIN_HOST, DELIVERED  # inside TLS, unasked: dropped before EHLO is sent, or it spoils the reply to that
    return AGAIN_HOST


def _introduction(phase: str, action: str, tls: str) -> _Fates:
    if action == "slow":
        return DELIVERED
    if action == "nul-8bit":
        # An EHLO without keywords offers neither STARTTLS nor AUTH: no password, no mail.
        return AGAIN_HOST if phase in ("ehlo", "ehlo-again") else DELIVERED
    if phase == "starttls" and action in SURPLUS:
        return DELIVERED  # C5: what follows the 220 in clear is dropped
    if phase == "ehlo-again" and action == "early-reply":
        return AGAIN_HOST, DELIVERED
    if phase == "auth" and action == "slow-close":
        return AGAIN  # it let us in, and left at MAIL
    return _refused_before_mail(action)


def _mail(phase: str, action: str, tls: str) -> _Fates:
    if action == "early-reply":
        return AGAIN_HOST  # behind the reply to AUTH, unasked
    return BOUNCED if action in ("5xx", "521") else _before_dot(action)


def _rcpt(phase: str, action: str, tls: str) -> _Fates:
    word = {"4xx": "deferred", "5xx": "rejected", "521": "rejected"}.get(action)
    if word is None:
        return _before_dot(action)
    other = "deferred" if action == "521" else "delivered"  # it hangs up with the refusal of one, and has no mail
    return Fate(word, other) if phase == "rcpt" else Fate(other, word)


def _data(phase: str, action: str, tls: str) -> _Fates:
    if action == "slow-close":
        return UNCERTAIN  # it asked for the body, got it with its dot, and left
    if action == "early-reply":
        return AGAIN  # behind the reply to the first RCPT, where that to the second one is due
    return BOUNCED if action in ("5xx", "521") else _before_dot(action)


def _before_dot(action: str) -> _Fates:
    """A pipelined command whose reply comes early is answered like any other."""
    if action == "421":
        return AGAIN_HOST
    return DELIVERED if action in (*FINE, "early-reply") else AGAIN


def _body(phase: str, action: str, tls: str) -> _Fates:
    """Half of a large body was read. Whether its dot is already on the way decides between again and uncertain."""
    if action == "slow":
        return DELIVERED
    if action == "421":
        return AGAIN_HOST, AGAIN, UNCERTAIN  # who hangs up in the middle of a body may lose its last word: RST
    if action in ("4xx", "5xx"):
        return AGAIN if action == "4xx" else BOUNCED
    if action == "521":
        return BOUNCED, AGAIN, UNCERTAIN
    if action in ("nul-8bit", "early-reply", *SURPLUS):
        return AGAIN, DELIVERED  # 250 to half a message is nonsense, to a whole one it is its reply
    return AGAIN, UNCERTAIN


def _dot(phase: str, action: str, tls: str) -> _Fates:
    if action in ("421", "4xx"):
        return AGAIN_HOST if action == "421" else AGAIN
    if action in ("5xx", "521"):
        return BOUNCED
    if action == "early-reply":
        return AGAIN, DELIVERED  # behind the 354, before there was a body; or with the dot on its way
    return UNCERTAIN if action in (*NONSENSE, *LOST) else DELIVERED


def _rset(phase: str, action: str, tls: str) -> _Fates:
    """a and b are refused by name, then RSET fails: a refusal that nothing proves is asked for once more (F6)."""
    if action == "early-reply":
        return AGAIN, BOUNCED  # a reply in front of its command proves nothing; one that crosses it does
    return AGAIN if action in ("4xx", "5xx", "521", *NONSENSE) else BOUNCED


def _after(phase: str, action: str, tls: str) -> _Fates:
    if action == "tls-alert" and tls != "none":
        return DELIVERED, UNCERTAIN  # OpenSSL does not show what lies before a fatal alert in the same segment
    return DELIVERED


def _unharmed(phase: str, action: str, tls: str) -> _Fates:
    return DELIVERED


_INTRODUCTION = dict.fromkeys(INTRODUCTION, _introduction) | {"connect": _connect, "handshake": _handshake}
_LATER = {
    "mail": _mail,
    "rcpt": _rcpt,
    "later-rcpt": _rcpt,
    "data": _data,
    "body": _body,
    "dot": _dot,
    "after": _after,
    "rset": _rset,
    "quit": _unharmed,
    "idle": _unharmed,
}


def follows(phase: str, action: str) -> bool:
    """Whether the next message waits for the same connection, so that it is put off with this one: before MAIL."""
    return phase in INTRODUCTION or (phase, action) == ("mail", "early-reply")
