"""The client's half of SMTP after the greeting: many transactions over one connection, bytes in and bytes out.

upstream/conversation drives it: `begin` and `body_written` add to `out`, `receive` takes what the upstream said.
It never waits, never reads a body, and never guesses: what the upstream did not clearly say is reported as not said.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from relay.model import Phase, Reply, Shipment
from relay.smtp.chunking import MOST, RSET, Chunks, bdat, first_line, of_address, of_content, unknown
from relay.smtp.offer import Offer, commands
from relay.smtp.reply import ProtocolError, ReplyParser
from relay.smtp.transaction import FITS, IN_STEP, PHASE, Step, Transaction

_DATA = b"DATA\r\n"
_DOT = b".\r\n"

# Steps of every message: to Python 3.11 `Step.DOT` is a function call.
_AT_RCPT, _AT_BODY, _AT_DOT, _AT_END = Step.RCPT, Step.BODY, Step.DOT, Step.ENDED


class Dialogue:
    """All transactions of one connection.

    With PIPELINING one transaction may begin behind the dot (or RSET) of the one before (RFC 2920 3.1), never more:
    DATA ends a group. With CHUNKING as well, up to MOST are in flight once the connection has shown how it answers.
    `out`: bytes to write, take them all. `due`: the transaction whose body is to be written now. `asked`: the one whose
    BDAT LAST is in `out`; who writes it sets its `end`, and this to None.
    `trouble`: once set, why this connection carries nothing more; `misled`: it came of CHUNKING. `heard`: replies so
    far, all transactions. `most`: how many may be in flight. `chunks`: whether a transaction may go by BDAT now.
    """

    def __init__(self, offer: Offer, *, pipelining: bool) -> None:
        self.out: list[bytes] = []
        self.due: Transaction | None = None
        self.asked: Transaction | None = None
        self.trouble = ""
        self.misled = False
        self.heard = 0
        self._offer = offer
        self._pipelining = pipelining and offer.pipelining
        self._know(Chunks.STRANGE if self._pipelining and offer.chunking else Chunks.NEVER)
        self._dismissed = False
        self._line: deque[Transaction] = deque()
        self._parser = ReplyParser()

    @property
    def room(self) -> bool:
        """Whether another transaction may begin now."""
        line = self._line
        if not line or self.trouble:
            return not self.trouble
        last = line[-1]
        return self._pipelining and len(line) < self.most and (last.said or last.step >= _AT_DOT)

    def _know(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self.chunks = chunks >= Chunks.ASK
        self.most = MOST if chunks is Chunks.OPEN else 2

    def may_chunk(self, shipment: Shipment) -> bool:
        """With several recipients the refusal of one, shifted, could pass for that of the message."""
        return self.chunks and len(shipment.recipients) == 1

    @property
    def step(self) -> Step | None:
        """What the connection waits for. None: nothing."""
        return self._line[0].step if self._line else None

    def begin(self, shipment: Shipment, size: int, content: bytes | None = None) -> Transaction:
        """Start a transaction; only when there is `room`. ValueError: the envelope cannot be said in SMTP.

        `content`: without stuffing, to send it by BDAT; only what `may_chunk`.
        """
        lines = commands(shipment, size, self._offer)
        transaction = Transaction(shipment, lines)
        self._line.append(transaction)
        if not self._pipelining:
            self.out.append(lines[0])
            return transaction
        self.out += lines
        if content is None:
            self.out.append(_DATA)
        elif self._chunks is Chunks.OPEN:
            transaction.asks = Step.LAST
            transaction.said = True
            self.out += bdat(content)
        else:
            self._say_first(transaction, content)
        return transaction

    def _say_first(self, transaction: Transaction, content: bytes) -> None:
        """To one that does not know BDAT a line of content is one more command; more of it could be a message."""
        end = first_line(content)
        if not end:
            self.out.append(_DATA)
            return
        transaction.asks = Step.CHUNK
        transaction.rest = content[end:]
        self.out += (b"BDAT %d\r\n" % end, content[:end])

    def body_written(self) -> None:
        """The whole body of `due` was put in `out` or written: its dot follows, and uncertainty begins."""
        if self.due is not None:
            self.due.step = _AT_DOT
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

    def abandon(self, taken: float = math.inf) -> list[Transaction]:
        """The connection is gone. Returns every transaction that had begun and not ended, each now with its end.

        `taken`: how many bytes the socket took of all that was written.
        """
        cut = list(self._line)
        self._line.clear()
        self.due = None
        for transaction in cut:  # who said 421 reads no more (RFC 5321 3.8)
            handed = transaction.end <= taken and transaction is not self.asked and not self._dismissed
            transaction.cut(handed=handed)
        return cut

    def _take(self, reply: Reply, ended: list[Transaction]) -> None:
        if not self._line:
            # RFC 5321 4.3.1 lets a server speak unasked only to say 421; either way nothing may be paired with it.
            self.trouble = f"said unasked: {reply}"
            return
        transaction = self._line[0]
        transaction.heard.append((transaction.step, reply))
        self.heard += 1
        if reply.code == 421:
            self._dismiss(transaction, reply)
            self.trouble = f"closed the connection: {reply}"
        elif reply.code // 100 not in FITS[transaction.step]:
            self._lose_step(f"answered {PHASE[transaction.step].upper()} with: {reply}")
            return
        else:
            _HANDLERS[transaction.step](self, transaction, reply)
        if transaction.step is _AT_END:
            self.due = None
            ended.append(self._line.popleft())

    def _dismiss(self, transaction: Transaction, reply: Reply) -> None:
        self._dismissed = True
        step, transaction.step = transaction.step, Step.ENDED
        answered = transaction.said and step >= Step.LAST and not transaction.hopeless
        transaction.doubtful = step not in IN_STEP and not answered
        transaction.conclude(PHASE[step], reply)

    def _lose_step(self, why: str) -> None:
        """Replies and commands no longer match, so earlier pairs are not to be believed either (hazard F6)."""
        self.trouble = why
        if not self._line:
            return
        transaction = self._line[0]
        self.misled = any(each.asks is not Step.DATA for each in self._line)
        if transaction.asks is not Step.DATA:
            transaction.forget()
            transaction.step = transaction.asks
        elif transaction.step not in IN_STEP:
            transaction.forget()
            transaction.conclude(PHASE[transaction.step], None)

    def _on_mail(self, transaction: Transaction, reply: Reply) -> None:
        if reply.code >= 400:
            transaction.conclude(Phase.MAIL, reply)
        elif self._chunks and not self._tells(transaction, reply):
            return
        transaction.step = _AT_RCPT
        if self._pipelining:
            return
        if transaction.phase is None:
            self.out.append(transaction.lines[1])
        else:
            self._say_data(transaction)

    def _on_rcpt(self, transaction: Transaction, reply: Reply) -> None:
        if self._chunks and reply.code < 300 and not self._tells(transaction, reply):
            return
        transaction.answer(reply)
        count = len(transaction.answers)
        if count == len(transaction.shipment.recipients):
            if self._pipelining:
                transaction.step = transaction.asks
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
        elif transaction.wanted:
            transaction.step = _AT_BODY
            self.due = transaction
        else:
            # RFC 2920 3.1: nobody is left, but 354 was said: an empty message, whose 250 counts for nothing.
            transaction.step = Step.VOID
            self.out.append(_DOT)

    def _reset(self, transaction: Transaction) -> None:
        """Clear the server's envelope. Its plain 250 also proves that both sides are in step: refusals wait for it."""
        transaction.step = Step.RESET
        self.out.append(RSET)

    def _on_early(self, transaction: Transaction, reply: Reply) -> None:
        transaction.conclude(Phase.BODY, reply)
        transaction.step = Step.ENDED
        self.trouble = f"answered before it had the message: {reply}"

    def _on_dot(self, transaction: Transaction, reply: Reply) -> None:
        transaction.conclude(PHASE[_AT_DOT], reply)
        transaction.step = _AT_END
        if self._chunks and not self.chunks and reply.code < 300 and transaction.telling and of_content(reply):
            self._know(Chunks.ASK)

    # BDAT. Each reply has to tell that it is in its place; a single one too many never passes all of them.

    def _tells(self, transaction: Transaction, reply: Reply) -> bool:
        """Whether this 2xx may answer MAIL or RCPT; where BDAT follows it has to show that."""
        if of_address(reply) and transaction.phase is None:
            return True
        transaction.telling = False
        if transaction.asks is Step.DATA:
            return True
        self._lose_step(f"answered {PHASE[transaction.step].upper()} with: {reply}")
        return False

    def _on_chunk(self, transaction: Transaction, reply: Reply) -> None:
        if reply.code >= 400 and transaction.hopeless:
            transaction.conclude(Phase.DATA, reply)
            self._reset(transaction)
        elif reply.code >= 400 or transaction.hopeless or not of_content(reply):
            # Whatever the reason, DATA will show: nothing of this message is anywhere.
            self._lose_step(f"answered BDAT with: {reply}")
        else:
            self._know(Chunks.OPEN)
            transaction.step = Step.LAST
            transaction.said = True
            self.asked = transaction
            self.out += bdat(transaction.rest)
            transaction.rest = b""

    def _on_last(self, transaction: Transaction, reply: Reply) -> None:
        if reply.code >= 400 if transaction.hopeless else of_content(reply) and not unknown(reply):
            transaction.conclude(Phase.DOT, reply)
            transaction.step = Step.RESET
        else:
            self._lose_step(f"answered BDAT with: {reply}")

    def _on_end(self, transaction: Transaction, reply: Reply) -> None:
        transaction.step = Step.ENDED


_HANDLERS = (
    Dialogue._on_mail,
    Dialogue._on_rcpt,
    Dialogue._on_data,
    Dialogue._on_chunk,
    Dialogue._on_early,
    Dialogue._on_dot,
    Dialogue._on_last,
    Dialogue._on_end,
    Dialogue._on_end,
)
