"""One transaction of the client's half of SMTP: what it waits for, what was answered, and what that is for whom.

`dialogue` moves it on; the pool reads its results. It holds what was clearly said, never a guess.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from relay.model import Phase, Recipient, Reply, Shipment


class Step(enum.IntEnum):
    """What a transaction waits for: the reply to a command of that name, or (BODY) that its body is written.

    CHUNK: the reply to a BDAT that does not end the message. LAST: to the one that does. VOID: to a lone dot after all
    recipients were refused. RESET: to the RSET after a failure, or behind BDAT. From DOT on nothing more is to be said
    that could not be said behind it.
    """

    MAIL = 0
    RCPT = 1
    DATA = 2
    CHUNK = 3
    BODY = 4
    DOT = 5
    LAST = 6
    VOID = 7
    RESET = 8
    ENDED = 9


PHASE = (
    *(Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.DATA, Phase.BODY),
    *(Phase.DOT, Phase.DOT, Phase.DATA, Phase.DATA, Phase.DOT),
)

# First digits that make sense at each step. Anything else means that the two sides are out of step.
FITS = ((2, 4, 5), (2, 4, 5), (3, 4, 5), (2, 4, 5), (4, 5), (2, 4, 5), (2, 4, 5), (2, 3, 4, 5), (2,), ())

# A 354 came in its place: until here both sides were in step, whatever happens now.
IN_STEP = (Step.BODY, Step.DOT, Step.VOID)


class Result(NamedTuple):
    """What is known about one recipient. `reply` None: the connection ended first. `uncertain`: after the dot."""

    recipient: Recipient
    phase: Phase
    reply: Reply | None
    uncertain: bool


class Transaction:
    """One shipment on one connection.

    `doubtful`: it ended before its body, and nothing proved that what was heard was said to it: on a connection that
    carried others before, it may have been a late reply or good-bye to those (hazard F6). No copy of it is anywhere.

    `asks`: what it waits for after the last RCPT: DATA, CHUNK or LAST. `said`: its BDAT LAST, with all content, was
    said, as far as byte `end` of the connection. `rest`: content to be said after its first chunk. `telling`: so far
    each 2xx tells which command it answers (see `chunking`).
    """

    __slots__ = (
        *("answers", "asks", "doubtful", "end", "lines", "phase", "reply", "rest", "said", "shipment", "step"),
        *("telling", "uncertain"),
    )

    def __init__(self, shipment: Shipment, lines: list[bytes]) -> None:
        self.shipment = shipment
        self.lines = lines
        self.step = Step.MAIL
        self.asks = Step.DATA
        self.answers: list[Reply] = []
        self.doubtful = False
        self.phase: Phase | None = None
        self.reply: Reply | None = None
        self.uncertain = False
        self.said = False
        self.end = 0
        self.rest = b""
        self.telling = True

    @property
    def wanted(self) -> bool:
        """Whether MAIL and at least one RCPT were accepted."""
        return self.phase is None and any(answer.code < 300 for answer in self.answers)

    @property
    def hopeless(self) -> bool:
        """MAIL was refused, or every recipient."""
        many = len(self.answers)
        return self.phase is Phase.MAIL or (
            many == len(self.shipment.recipients) and all(answer.code >= 400 for answer in self.answers)
        )

    def conclude(self, phase: Phase, reply: Reply | None) -> None:
        """The fate of every recipient that was not refused by name. The first conclusion stands."""
        if self.phase is None:
            self.phase, self.reply = phase, reply

    def forget(self) -> None:
        """Nothing that was heard is to be believed."""
        self.answers.clear()
        self.phase = self.reply = None

    def cut(self, *, handed: bool) -> None:
        """The connection is gone. `handed`: the socket took all that was said, and the upstream may have read it."""
        step, self.step = self.step, Step.ENDED
        if self.asks is Step.DATA:
            self.uncertain = step is Step.DOT
            self.doubtful = step not in IN_STEP
        elif step is Step.RESET:  # BDAT was answered, once for all
            self.doubtful = self.hopeless
        else:
            self.uncertain = self.said and handed and not self.hopeless
            self.doubtful = not self.uncertain
            if self.uncertain:
                self.forget()
            if self.uncertain or step is Step.LAST:
                step = Step.LAST if self.uncertain else Step.BODY
        if step < Step.VOID:
            self.conclude(PHASE[step], None)

    def results(self) -> list[Result]:
        """One for each recipient, in their order. Only after the transaction has ended."""
        phase = self.phase or Phase.RCPT
        own = iter(() if phase is Phase.MAIL else self.answers)  # after a refused MAIL they are 503s about that
        results = []
        for recipient in self.shipment.recipients:
            answer = next(own, None)
            if answer is not None and answer.code >= 400:
                results.append(Result(recipient, Phase.RCPT, answer, False))
            else:
                results.append(Result(recipient, phase, self.reply, self.uncertain))
        return results
