"""The conversation of a transaction as people read it: trimmed, without content.

The upstream makes it when a transaction has ended; the API shows it. Of mail that went through in the usual way only
what cannot be said again later is kept (`brief`): a few replies that mostly exist already. It is written thousands of
times a second and read hardly ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice

from relay.model import Phase, Reply
from relay.smtp.transaction import Step, Transaction

LINES = 20
WIDTH = 200
FIRST = 3
"""Recipients that are shown whatever became of them."""
REFUSED = 2
"""Recipients beyond those that are shown because they were refused."""

_BRIEF = 40
_OPENING = len("MAIL FROM:<>")


@lru_cache(maxsize=512)
def _said(reply: Reply) -> str:
    """The replies to MAIL and RCPT are mostly the same for each message."""
    return str(reply)[:_BRIEF]


def trimmed(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple([line if len(line) <= WIDTH else line[: WIDTH - 1] + "…" for line in islice(lines, LINES)])


# One recipient, no rewriting, all accepted: the replies to MAIL and RCPT, the code of that to DATA ("": BDAT), and
# the parameters of MAIL.


def brief(transaction: Transaction) -> tuple[str, ...]:
    """The short form, () where it does not do."""
    heard, shipment = transaction.heard, transaction.shipment
    reply = transaction.reply
    if reply is None or reply.code >= 300 or len(heard) < 4 or len(shipment.recipients) != 1:
        return ()
    recipient = shipment.recipients[0]
    if shipment.rewrite or shipment.message.identity or recipient.notify or transaction.refusals:
        return ()
    (_, mail), (_, rcpt), (step, data), *_ = heard
    arguments = transaction.lines[0][_OPENING + len(shipment.sender.encode()) : -2].decode()
    return _said(mail), _said(rcpt), str(data.code) if step is Step.DATA else "", arguments


def is_brief(conversation: tuple[str, ...]) -> bool:
    """No line of the long form begins with a digit."""
    return len(conversation) == 4 and conversation[0][:1].isdigit()


def expanded(conversation: tuple[str, ...], sender: str, recipient: str, size: int, last: str) -> tuple[str, ...]:
    """The short form in full. `last`: the reply to the message; `size`: of it in bytes."""
    mail, rcpt, data, arguments = conversation
    middle = ("C: DATA", f"S: {data}", _MESSAGE % size) if data else (_LAST % size,)
    envelope = (f"C: MAIL FROM:<{sender}>{arguments}", f"S: {mail}", f"C: RCPT TO:<{recipient}>", f"S: {rcpt}")
    return trimmed((*envelope, *middle, f"S: {last}"))


# Everything else.


def full(transaction: Transaction, size: int, reason: str) -> tuple[str, ...]:
    """The long form. `size`: of the content. `reason`: why a reply is missing, where one is."""
    ended = transaction.phase is None or transaction.reply is not None
    return trimmed((*_exchange(transaction, size), *(() if ended else _broken(transaction, size, reason))))


def _exchange(transaction: Transaction, size: int) -> Iterator[str]:
    answered = shown = refused = 0
    after_recipients = False
    for step, reply in transaction.heard:
        if step is Step.RCPT:
            answered += 1
            extra = reply.code >= 400 and answered > FIRST and refused < REFUSED
            refused += extra
            if answered > FIRST and not extra:
                continue
            shown += 1
        elif not after_recipients and step > Step.RCPT:
            after_recipients = True
            if answered > shown:
                yield f"… {answered - shown} more"
        yield _command(transaction, step, answered, size)
        yield f"S: {reply}"
    if not after_recipients and answered > shown:
        yield f"… {answered - shown} more"


def _broken(transaction: Transaction, size: int, reason: str) -> Iterator[str]:
    """The command that got no answer, and why."""
    heard = transaction.heard
    step = _UNANSWERED.get(transaction.phase or Phase.RCPT)
    if step is not None and not (heard and heard[-1][0] is step):
        yield _command(transaction, step, 0, size)
    yield f"-- {reason}"


_UNANSWERED = {Phase.MAIL: Step.MAIL, Phase.DATA: Step.DATA, Phase.BODY: Step.BODY, Phase.DOT: Step.DOT}


def _command(transaction: Transaction, step: Step, recipient: int, size: int) -> str:
    """`recipient`: its number, from 1."""
    if step is Step.MAIL or step is Step.RCPT:
        line = transaction.lines[recipient if step is Step.RCPT else 0]
        return f"C: {line[:-2].decode()}"
    return _COMMANDS.get(step) or (_LAST if step is Step.LAST else _MESSAGE) % size


_MESSAGE = "C: <message, %d bytes>"
_LAST = "C: BDAT <message, %d bytes> LAST"
_COMMANDS = {
    Step.DATA: "C: DATA",
    Step.CHUNK: "C: BDAT, one line of the message",
    Step.VOID: "C: <no message, nobody wants it>",
    Step.RESET: "C: RSET",
}
