"""The client's half of SMTP after the greeting: many transactions over one connection, bytes in and bytes out.

upstream/conversation drives it: `begin` and `body_written` add to `out`, `receive` takes what the upstream said.
It never waits, never reads a body, and never guesses: what the upstream did not clearly say is reported as not said.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from relay.model import Phase, Recipient, Reply, Shipment
from relay.smtp.offer import Offer, commands
from relay.smtp.reply import ProtocolError, ReplyParser


class Step(enum.IntEnum):
    """What a transaction waits for: the reply to a command of that name, or (BODY) that its body is written.

    VOID: the reply to a lone dot after all recipients were refused. RESET: the reply to the RSET after a failure.
    """

    MAIL = 0
    RCPT = 1
    DATA = 2
    BODY = 3
    DOT = 4
    VOID = 5
    RESET = 6
    ENDED = 7


_PHASE = (Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.BODY, Phase.DOT, Phase.DATA, Phase.DATA, Phase.DOT)

# First digits that make sense at each step. Anything else means that the two sides are out of step.
_FITS = ((2, 4, 5), (2, 4, 5), (3, 4, 5), (4, 5), (2, 4, 5), (2, 3, 4, 5), (2,), ())

# A 354 came in its place: until here both sides were in step, whatever happens now.
_IN_STEP = (Step.BODY, Step.DOT, Step.VOID)

_DATA = b"DATA\r\n"
_DOT = b".\r\n"
_RSET = b"RSET\r\n"


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
    """

    __slots__ = ("answers", "doubtful", "lines", "phase", "reply", "shipment", "step", "uncertain")

    def __init__(self, shipment: Shipment, lines: list[bytes]) -> None:
        self.shipment = shipment
        self.lines = lines
        self.step = Step.MAIL
        self.answers: list[Reply] = []
        self.doubtful = False
        self.phase: Phase | None = None
        self.reply: Reply | None = None
        self.uncertain = False

    def conclude(self, phase: Phase, reply: Reply | None) -> None:
        """The fate of every recipient that was not refused by name. The first conclusion stands."""
        if self.phase is None:
            self.phase, self.reply = phase, reply

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


class Dialogue:
    """All transactions of one connection.

    With PIPELINING one transaction may begin behind the dot (or RSET) of the one before (RFC 2920 3.1), never more:
    DATA ends a group. `out`: bytes to write, take them all. `due`: the transaction whose body is to be written now.
    `trouble`: once set, why this connection carries nothing more. `heard`: replies so far, all transactions.
    """

    def __init__(self, offer: Offer, *, pipelining: bool) -> None:
        self.out: list[bytes] = []
        self.due: Transaction | None = None
        self.trouble = ""
        self.heard = 0
        self._offer = offer
        self._pipelining = pipelining and offer.pipelining
        self._line: deque[Transaction] = deque()
        self._parser = ReplyParser()

    @property
    def room(self) -> bool:
        """Whether another transaction may begin now."""
        line = self._line
        if not line:
            return not self.trouble
        return self._pipelining and len(line) == 1 and line[0].step >= Step.DOT and not self.trouble

    @property
    def step(self) -> Step | None:
        """What the connection waits for. None: nothing."""
        return self._line[0].step if self._line else None

    def begin(self, shipment: Shipment, size: int) -> Transaction:
        """Start a transaction; only when there is `room`. ValueError: the envelope cannot be said in SMTP."""
        lines = commands(shipment, size, self._offer)
        transaction = Transaction(shipment, lines)
        self._line.append(transaction)
        if self._pipelining:
            self.out += lines
            self.out.append(_DATA)
        else:
            self.out.append(lines[0])
        return transaction

    def body_written(self) -> None:
        """The whole body of `due` was put in `out` or written: its dot follows, and uncertainty begins."""
        if self.due is not None:
            self.due.step = Step.DOT
            self.due = None
            self.out.append(_DOT)

    def receive(self, data: bytes) -> list[Transaction]:
        """Take what the upstream sent. Returns the transactions that ended, in the order they began."""
        ended: list[Transaction] = []
        broken, unsaid = "", len(self.out)
        try:
            replies: Sequence[Reply] = self._parser.feed(data)
        except ProtocolError as error:
            replies, broken = error.replies, f"sent what is no SMTP reply: {error}"
        for reply in replies:
            if len(self.out) > unsaid and reply.code != 421:
                # The one before it calls for a command that nobody has seen yet (hazard F6).
                self._lose_step(f"answered what was not asked yet: {reply}")
            else:
                self._take(reply, ended)
            if self.trouble:
                return ended
        if broken:
            self._lose_step(broken)
        return ended

    def abandon(self) -> list[Transaction]:
        """The connection is gone. Returns every transaction that had begun and not ended, each now with its end."""
        cut = list(self._line)
        self._line.clear()
        self.due = None
        for transaction in cut:
            transaction.uncertain = transaction.step is Step.DOT
            transaction.doubtful = transaction.step not in _IN_STEP
            if transaction.step < Step.VOID:
                transaction.conclude(_PHASE[transaction.step], None)
            transaction.step = Step.ENDED
        return cut

    def _take(self, reply: Reply, ended: list[Transaction]) -> None:
        if not self._line:
            # RFC 5321 4.3.1 lets a server speak unasked only to say 421; either way nothing may be paired with it.
            self.trouble = f"said unasked: {reply}"
            return
        transaction = self._line[0]
        self.heard += 1
        if reply.code == 421:
            transaction.doubtful = transaction.step not in _IN_STEP
            transaction.conclude(_PHASE[transaction.step], reply)
            transaction.step = Step.ENDED
            self.trouble = f"closed the connection: {reply}"
        elif reply.code // 100 not in _FITS[transaction.step]:
            self._lose_step(f"answered {_PHASE[transaction.step].upper()} with: {reply}")
            return
        else:
            _HANDLERS[transaction.step](self, transaction, reply)
        if transaction.step is Step.ENDED:
            self.due = None
            ended.append(self._line.popleft())

    def _lose_step(self, why: str) -> None:
        """Replies and commands no longer match, so earlier pairs are not to be believed either (hazard F6)."""
        self.trouble = why
        if self._line:
            transaction = self._line[0]
            if transaction.step not in _IN_STEP:
                transaction.answers.clear()
                transaction.phase = transaction.reply = None
                transaction.conclude(_PHASE[transaction.step], None)

    def _on_mail(self, transaction: Transaction, reply: Reply) -> None:
        if reply.code >= 400:
            transaction.conclude(Phase.MAIL, reply)
        transaction.step = Step.RCPT
        if self._pipelining:
            return
        if transaction.phase is None:
            self.out.append(transaction.lines[1])
        else:
            self._say_data(transaction)

    def _on_rcpt(self, transaction: Transaction, reply: Reply) -> None:
        transaction.answers.append(reply)
        count = len(transaction.answers)
        if count == len(transaction.shipment.recipients):
            if self._pipelining:
                transaction.step = Step.DATA
            else:
                self._say_data(transaction)
        elif not self._pipelining:
            self.out.append(transaction.lines[count + 1])

    def _say_data(self, transaction: Transaction) -> None:
        """In lock-step. Also when nobody is left: a 250 to that tells that a refusal was meant for something else,
        which the 250 to RSET cannot (hazard F6)."""
        transaction.step = Step.DATA
        self.out.append(_DATA)

    def _on_data(self, transaction: Transaction, reply: Reply) -> None:
        if reply.code >= 400:
            transaction.conclude(Phase.DATA, reply)
            self._reset(transaction)
        elif _wanted(transaction):
            transaction.step = Step.BODY
            self.due = transaction
        else:
            # RFC 2920 3.1: nobody is left, but 354 was said: an empty message, whose 250 counts for nothing.
            transaction.step = Step.VOID
            self.out.append(_DOT)

    def _reset(self, transaction: Transaction) -> None:
        """Clear the server's envelope. Its plain 250 also proves that both sides are in step: refusals wait for it."""
        transaction.step = Step.RESET
        self.out.append(_RSET)

    def _on_early(self, transaction: Transaction, reply: Reply) -> None:
        transaction.conclude(Phase.BODY, reply)
        transaction.step = Step.ENDED
        self.trouble = f"answered before it had the message: {reply}"

    def _on_dot(self, transaction: Transaction, reply: Reply) -> None:
        transaction.conclude(Phase.DOT, reply)
        transaction.step = Step.ENDED

    def _on_end(self, transaction: Transaction, reply: Reply) -> None:
        transaction.step = Step.ENDED


_HANDLERS = (
    Dialogue._on_mail,
    Dialogue._on_rcpt,
    Dialogue._on_data,
    Dialogue._on_early,
    Dialogue._on_dot,
    Dialogue._on_end,
    Dialogue._on_end,
)


def _wanted(transaction: Transaction) -> bool:
    """Whether MAIL and at least one RCPT were accepted."""
    return transaction.phase is None and any(answer.code < 300 for answer in transaction.answers)
