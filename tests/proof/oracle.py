"""The judge of the ledger: what clients sent, what upstreams recorded, and which of it must not be (hazards.md, G).

Every campaign of this folder ends with `judge`. It is a pure function: no files, no clocks, no relay.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import pairwise

SETTLES_WITHIN = 5.0
"""Seconds. A relay that takes longer to record a 250 is not excused by a kill: it would be excused for ever."""


OURS = re.compile(
    rb"Received: from [^\r\n]+\r\n(?:\t[^\r\n]+\r\n)+(?:Message-ID: <[^\r\n]+>\r\n)?(?:Date: [^\r\n]+\r\n)?(?:\r\n)?"
)
"""What may stand in front of what was sent."""

UNDER_WAY = 200
"""Transactions that one kill may excuse: more than the connections of a scene can have in flight and unrecorded.

A relay that records late would else live on its excuses: each 250 of those five seconds could be sent again.
"""


class Outcome(StrEnum):
    """What the client was told: 250 to its dot, a refusal, or nothing before the connection was gone."""

    ACKED = "acked"
    NACKED = "nacked"
    UNKNOWN = "unknown"


class Kind(StrEnum):
    """What a relay can do to mail. `DUP` is a duplicate that nothing excuses."""

    LOST = "LOST"
    GHOST = "GHOST"
    FORGED = "FORGED"
    CORRUPT = "CORRUPT"
    MISROUTED = "MISROUTED"
    DUP = "DUP"


@dataclass(frozen=True, slots=True)
class Sent:
    """One message a client tried to send. Sender and recipients belong to this message alone, and so name it.

    `recipients`: those whose RCPT got 250, or all of them while nothing was answered. `sha256`: of the content as it
    must arrive, from the mark on. `content`: all of it, when it is small and carries no mark. `began`, `ended`: unix
    seconds of its MAIL and of the answer to its dot.
    """

    id: str
    sender: str
    recipients: tuple[str, ...]
    sha256: str
    outcome: Outcome
    began: float
    ended: float
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """One transaction an upstream recorded on its disk before it answered. `answered`: None when it vanished instead.

    `opened`, `at`: unix seconds of the connection's accept and of the dot. `named`: whom a bounce says to have failed.
    `front`: what stood in front of the mark.
    """

    port: int
    opened: float
    at: float
    sender: str
    recipients: tuple[str, ...]
    sha256: str
    answered: str | None
    content: bytes | None = None
    named: tuple[str, ...] = ()
    front: bytes | None = None

    @property
    def granted(self) -> bool:
        """Taken by the upstream, whether or not the relay could hear of it."""
        return self.answered is None or self.answered.startswith("2")


@dataclass(frozen=True, slots=True)
class Cut:
    """The relay ended without a chance to say so. `recorded`: recipients its spool held as ended at that moment."""

    at: float
    recorded: Collection[str]


@dataclass(frozen=True, slots=True)
class Fault:
    kind: Kind
    message: str
    recipient: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind} {self.message or '?'} to {self.recipient}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`outcomes`: messages by what the client was told. `excused`: duplicates that a cut explains, one by one."""

    outcomes: Mapping[Outcome, int]
    transactions: int
    deliveries: int
    notices: int
    excused: int
    faults: tuple[Fault, ...] = field(default=())

    @property
    def clean(self) -> bool:
        return not self.faults

    def of(self, kind: Kind) -> tuple[Fault, ...]:
        return tuple(fault for fault in self.faults if fault.kind is kind)

    def __str__(self) -> str:
        told = ", ".join(f"{self.outcomes.get(each, 0)} {each}" for each in Outcome)
        counts = Counter(fault.kind for fault in self.faults)
        found = ", ".join(f"{counts[kind]} {kind}" for kind in Kind)
        shown = "".join(f"\n  {fault}" for fault in self.faults[:20])
        return f"{told}; {self.deliveries} deliveries, {self.notices} notices, {self.excused} excused; {found}{shown}"


@dataclass(frozen=True, slots=True)
class Law:
    """What must hold beside the ledger. `ports`: where a recipient may go; `dead`: recipients that were dead-lettered.

    Dead-lettered means that the relay said so: bounced to the sender, or kept failed in sight of the operator.
    """

    ports: Callable[[str], Collection[int]]
    dead: Collection[str] = ()


def as_of(sent: Iterable[Sent], moment: float) -> list[Sent]:
    """The ledger at `moment`: what was answered later is unknown, what began later was not sent."""
    return [
        each if each.ended <= moment else replace(each, outcome=Outcome.UNKNOWN)
        for each in sent
        if each.began <= moment
    ]


def judge(sent: Sequence[Sent], taken: Iterable[Taken], law: Law, cuts: Sequence[Cut] = ()) -> Verdict:
    """Hold what upstreams took against what clients sent, per message and recipient."""
    book = {recipient: each for each in sent for recipient in each.recipients}
    senders = {each.sender: each for each in sent}
    granted = [each for each in taken if each.granted]
    arrivals: dict[str, list[Taken]] = defaultdict(list)
    faults: list[Fault] = []
    told: dict[str, list[Taken]] = defaultdict(list)
    for each in granted:
        if _is_notice(each, book, senders):
            told[each.recipients[0]].append(each)
            faults += _unfounded(each, senders, law)
            continue
        faults += _forged(each, book)
        for recipient in dict.fromkeys(each.recipients):
            if recipient in book:
                arrivals[recipient].append(each)
                faults += _altered(each, recipient, book[recipient], law)
    excused, ends = 0, sorted(cut.at for cut in cuts)
    leant: dict[float, set[int]] = defaultdict(set)
    for recipient, message in book.items():
        came = _in_order(arrivals.get(recipient, ()), ends)
        faults += _missing_or_ghost(recipient, message, came, law)
        excused += sum(_excuses(earlier, later, recipient, cuts) for earlier, later in pairwise(came))
        faults += [Fault(Kind.DUP, message.id, recipient, why) for why in _unexcused(recipient, came, cuts)]
        for at, transaction in _leaning(recipient, came, cuts):
            leant[at].add(transaction)
    for sender, came in told.items():
        faults += _told_again(senders[sender], _in_order(came, ends), law, cuts)
    faults += _too_many(leant)
    return Verdict(
        outcomes=Counter(each.outcome for each in sent),
        transactions=len(granted),
        deliveries=sum(map(len, arrivals.values())),
        notices=sum(map(len, told.values())),
        excused=excused,
        faults=tuple(faults),
    )


def _in_order(came: Iterable[Taken], ends: Sequence[float]) -> list[Taken]:
    """By the life of the relay that opened the connection, then by dot.

    Within one life the later dot may come on the older connection. And the last words of a life may be read from the
    socket, and recorded, when its successor has long been sending.
    """
    return sorted(came, key=lambda one: (bisect_right(ends, one.opened), one.at))


def _is_notice(taken: Taken, book: Mapping[str, Sent], senders: Mapping[str, Sent]) -> bool:
    """A bounce, warning or report of the relay's own: from nobody, to whoever sent something."""
    to = taken.recipients
    return taken.sender == "" and len(to) == 1 and all(each in senders and each not in book for each in to)


def _unfounded(notice: Taken, senders: Mapping[str, Sent], law: Law) -> list[Fault]:
    return [
        Fault(Kind.FORGED, senders[each].id, each, "a notice about a message none of whose recipients failed")
        for each in notice.recipients
        if not any(recipient in law.dead for recipient in senders[each].recipients)
    ]


def _told_again(message: Sent, came: Sequence[Taken], law: Law, cuts: Sequence[Cut]) -> list[Fault]:
    """More notices than recipients that failed. Each whose answer was cut off may come once more.

    What the spool recorded is believed only where there can be no more than one: it may speak of another notice.
    """
    failed = sum(recipient in law.dead for recipient in message.recipients)
    if failed > 1:
        cuts = [replace(cut, recorded=()) for cut in cuts]
    again = sum(
        any(_excuses(earlier, later, message.sender, cuts) for later in came[number:])
        for number, earlier in enumerate(came, 1)
    )
    if not failed or len(came) <= failed + again:
        return []  # of none that failed: it was forged to begin with
    times = f"told {len(came)} times of {failed} that failed, {again} excused, the last at {came[-1].at:.3f}"
    return [Fault(Kind.DUP, message.id, message.sender, times)]


def _forged(taken: Taken, book: Mapping[str, Sent]) -> list[Fault]:
    """Nobody sent this: an unknown recipient, another sender, or recipients of two messages in one."""
    strangers = [
        Fault(Kind.FORGED, "", each, f"nobody sent to it; from <{taken.sender}>")
        for each in taken.recipients
        if each not in book
    ]
    messages = {book[each].id: book[each] for each in taken.recipients if each in book}
    mixed = [
        Fault(
            Kind.FORGED, one.id, taken.recipients[0], f"in a transaction from <{taken.sender}>, sent by <{one.sender}>"
        )
        for one in messages.values()
        if one.sender != taken.sender or len(messages) > 1
    ]
    return strangers + mixed


def _altered(taken: Taken, recipient: str, message: Sent, law: Law) -> list[Fault]:
    found = []
    if not _same_bytes(taken, message):
        found.append(Fault(Kind.CORRUPT, message.id, recipient, f"sha256 {taken.sha256}, sent {message.sha256}"))
    if taken.port not in law.ports(recipient):
        found.append(Fault(Kind.MISROUTED, message.id, recipient, f"arrived at port {taken.port}"))
    return found


def _same_bytes(taken: Taken, message: Sent) -> bool:
    if message.content is None:
        return taken.sha256 == message.sha256 and (taken.front is None or OURS.fullmatch(taken.front) is not None)
    if taken.content is None or not taken.content.endswith(message.content):
        return False
    return OURS.fullmatch(taken.content[: len(taken.content) - len(message.content)]) is not None


def _missing_or_ghost(recipient: str, message: Sent, came: Sequence[Taken], law: Law) -> list[Fault]:
    dead = recipient in law.dead
    if (came or dead) and message.outcome is Outcome.NACKED:
        became = "delivered" if came else "taken, and given up"
        return [Fault(Kind.GHOST, message.id, recipient, f"refused to the client, yet {became}")]
    if came and dead and any(each.answered is not None for each in came):
        return [Fault(Kind.FORGED, message.id, recipient, "reported as failed, yet delivered")]
    if not came and not dead and message.outcome is Outcome.ACKED:
        return [Fault(Kind.LOST, message.id, recipient, f"acknowledged at {message.ended:.3f}, never delivered")]
    return []


def _unexcused(recipient: str, came: Sequence[Taken], cuts: Sequence[Cut]) -> list[str]:
    """Why a second delivery is wrong, for each that is. `came` in order."""
    twice = ["twice in one transaction" for each in came if each.recipients.count(recipient) > 1]
    return twice + [
        f"taken at {earlier.at:.3f} and again at {later.at:.3f}, with nothing cut in between"
        for earlier, later in pairwise(came)
        if not _excuses(earlier, later, recipient, cuts)
    ]


def _excuses(earlier: Taken, later: Taken, recipient: str, cuts: Sequence[Cut]) -> bool:
    """The answer to the first was cut off: by the upstream itself, or because the process that waited for it ended."""
    return earlier.answered is None or any(_explains(cut, recipient, earlier, later) for cut in cuts)


def _leaning(recipient: str, came: Sequence[Taken], cuts: Sequence[Cut]) -> list[tuple[float, int]]:
    """The moment of the cut and the transaction, of each duplicate for which there is no excuse but that cut."""
    return [
        (cut.at, id(earlier))
        for earlier, later in pairwise(came)
        if earlier.answered is not None
        for cut in cuts
        if _explains(cut, recipient, earlier, later)
    ]


def _too_many(leant: Mapping[float, Collection[int]]) -> list[Fault]:
    return [
        Fault(
            Kind.DUP, "", "", f"{len(them)} transactions came again after the kill at {at:.3f}: they were not recorded"
        )
        for at, them in leant.items()
        if len(them) > UNDER_WAY
    ]


def _explains(cut: Cut, recipient: str, earlier: Taken, later: Taken) -> bool:
    """The process that sent the first was cut before it had recorded the 250, and the second is its successor's."""
    return (
        earlier.opened <= cut.at <= later.opened
        and cut.at - earlier.at <= SETTLES_WITHIN
        and recipient not in cut.recorded
    )
