"""One transaction of the client's half of SMTP: what it waits for, what was answered, and what that is for whom.

`dialogue` moves it on; the pool reads its results. It holds what was clearly said, never a guess.
"""

from __future__ import annotations

import enum
from itertools import zip_longest

from msgspec import Struct, field

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


class Result(Struct, frozen=True):
    """What is known about one recipient. `reply` None: the connection ended first. `uncertain`: after the dot."""

    recipient: Recipient
    phase: Phase
    reply: Reply | None
    uncertain: bool


class Transaction(Struct, eq=False):
    """One shipment on one connection.

    `doubtful`: it ended before its body, and nothing proved that what was heard was said to it: on a connection that
    carried others before, it may have been a late reply or good-bye to those (hazard F6). No copy of it is anywhere.

    `asks`: what it waits for after the last RCPT: DATA, CHUNK or LAST. `said`: its BDAT LAST, with all content, was
    said, as far as byte `end` of the connection. `rest`: content to be said after its first chunk. `telling`: so far
    each 2xx tells which command it answers (see `chunking`). `refusals`: how many of `answers` are. `heard`: every
    reply, believed or not, and the step at which it came; for people.
    """

    shipment: Shipment
    lines: list[bytes]
    step: Step = Step.MAIL
    asks: Step = Step.DATA
    answers: list[Reply] = field(default_factory=list)
    refusals: int = 0
    doubtful: bool = False
    phase: Phase | None = None
    reply: Reply | None = None
    uncertain: bool = False
    said: bool = False
    end: int = 0
    rest: bytes = b""
    telling: bool = True
    heard: list[tuple[Step, Reply]] = field(default_factory=list)

    @property
    def wanted(self) -> bool:
        """Whether MAIL and at least one RCPT were accepted."""
        return self.phase is None and self.refusals < len(self.answers)

    @property
    def hopeless(self) -> bool:
        """MAIL was refused, or every recipient."""
        return self.phase is Phase.MAIL or self.refusals == len(self.shipment.recipients)

    def answer(self, reply: Reply) -> None:
        """To the next RCPT."""
        self.answers.append(reply)
        if reply.code >= 400:
            self.refusals += 1

    def conclude(self, phase: Phase, reply: Reply | None) -> None:
        """The fate of every recipient that was not refused by name. The first conclusion stands."""
        if self.phase is None:
            self.phase, self.reply = phase, reply

    def forget(self) -> None:
        """Nothing that was heard is to be believed."""
        self.answers.clear()
        self.refusals = 0
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
        own = () if phase is Phase.MAIL else self.answers  # after a refused MAIL they are 503s about that
        results = []
        for recipient, answer in zip_longest(self.shipment.recipients, own):
            if answer is not None and answer.code >= 400:
                results.append(Result(recipient, Phase.RCPT, answer, False))
            else:
                results.append(Result(recipient, phase, self.reply, self.uncertain))
        return results
