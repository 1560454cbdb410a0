"""What each SMTP command means (RFC 5321 4.1), as functions over what was said so far.

`session` calls them with the raw argument. They decide and answer; what needs I/O is only named, as an `Act`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping

from relay.listener import replies
from relay.listener.replies import Refusal
from relay.listener.talk import Talk, Transaction
from relay.model import Recipient, Reply
from relay.smtp.address import NEEDS_SMTPUTF8, parse_path
from relay.smtp.parameters import parse_mail_parameters, parse_rcpt_parameters

OVERSHOOT = 1000
"""Recipients refused, or said again, in one transaction before we hang up. Postfix allows as many."""


class Act(enum.Enum):
    """What the session does next."""

    DATA = enum.auto()
    AUTH = enum.auto()
    TLS = enum.auto()
    QUIT = enum.auto()


Answer = bytes | Refusal | Act
Command = Callable[[Talk, bytes], Answer]


def ehlo(talk: Talk, argument: bytes) -> Answer:
    return _hello(talk, argument, extended=True) or talk.filler(
        talk.service.ehlo(secure=talk.secure, auth=talk.may_auth)
    )


def helo(talk: Talk, argument: bytes) -> Answer:
    return _hello(talk, argument, extended=False) or talk.filler(f"250 {talk.service.settings.hostname}\r\n".encode())


def _hello(talk: Talk, argument: bytes, *, extended: bool) -> Refusal | None:
    name = argument.strip()
    if not name:
        return replies.NEEDS_ARGUMENT
    # Whatever it calls itself is only told to people; what writes it into a header cleans it.
    talk.helo = talk.host_name = name[:255].decode("ascii", "replace")
    talk.extended_smtp = extended
    talk.mail = None  # RFC 5321 4.1.4: as RSET
    return None


def mail(talk: Talk, argument: bytes) -> Answer:
    service = talk.service
    if not talk.helo:
        return replies.SAY_HELLO
    if service.settings.auth == "required" and not talk.authenticated:
        return replies.AUTH_REQUIRED
    if talk.mail is not None:
        return replies.NESTED_MAIL
    if argument[:5].upper() != b"FROM:":
        return replies.MAIL_SYNTAX
    path = parse_path(argument[5:], utf8=True, null=True)
    if isinstance(path, Reply):
        return Refusal.of("address", path, junk=True)
    parameters = parse_mail_parameters(path.rest)
    if isinstance(parameters, Reply):
        return Refusal.of("parameter", parameters, junk=True)
    if path.rest and not talk.extended_smtp:
        return replies.PARAMETERS_NEED_EHLO
    if not parameters.utf8 and not path.address.isascii():
        return _NEEDS_UTF8
    if parameters.size > service.settings.max_message_size:
        return replies.TOO_BIG
    refused = service.ports.intake.admits(parameters.size)
    if refused is not None:
        return Refusal.of("storage", refused)
    talk.mail = Transaction(path.address, parameters, service.ports.monotonic())
    return replies.SENDER_OK


_NEEDS_UTF8 = Refusal.of("address", NEEDS_SMTPUTF8, junk=True)


def rcpt(talk: Talk, argument: bytes) -> Answer:
    transaction = talk.mail
    if transaction is None:
        return _too_early(talk, replies.NEED_MAIL)
    if argument[:3].upper() != b"TO:":
        return replies.RCPT_SYNTAX
    utf8 = transaction.parameters.utf8
    path = parse_path(argument[3:], utf8=utf8, null=False)
    if isinstance(path, Reply):
        return Refusal.of("address", path, junk=True)
    recipient = Recipient(address=path.address)
    if path.rest:
        parameters = parse_rcpt_parameters(path.rest, utf8=utf8)
        if isinstance(parameters, Reply):
            return Refusal.of("parameter", parameters, junk=True)
        if not talk.extended_smtp:
            return replies.PARAMETERS_NEED_EHLO
        recipient = Recipient(address=path.address, notify=parameters.notify, orcpt=parameters.orcpt)
    return _add(talk, transaction, recipient)


def _add(talk: Talk, transaction: Transaction, recipient: Recipient) -> Answer:
    recipients = transaction.recipients
    if recipient.address in recipients:  # once is enough; said for ever it is a session kept for nothing (L6)
        transaction.repeated += 1
        return replies.RECIPIENT_OK if transaction.repeated <= OVERSHOOT else replies.TOO_MUCH_JUNK
    if len(recipients) < talk.service.settings.max_recipients:
        recipients[recipient.address] = recipient
        return replies.RECIPIENT_OK
    transaction.overshoot += 1  # RFC 5321 4.5.3.1.10: 452, and those before are delivered
    return replies.TOO_MANY_RECIPIENTS if transaction.overshoot <= OVERSHOOT else replies.TOO_MUCH_JUNK


def data(talk: Talk, argument: bytes) -> Answer:
    if talk.mail is None:
        return _too_early(talk, replies.NEED_MAIL)
    if argument.strip():
        return replies.NO_ARGUMENT
    return Act.DATA if talk.mail.recipients else replies.NO_VALID_RCPT


def _too_early(talk: Talk, otherwise: Refusal) -> Refusal:
    if not talk.helo:
        return replies.SAY_HELLO
    if talk.service.settings.auth == "required" and not talk.authenticated:
        return replies.AUTH_REQUIRED
    return otherwise


def rset(talk: Talk, argument: bytes) -> Answer:
    if argument.strip():
        return replies.NO_ARGUMENT
    talk.mail = None
    return talk.filler(replies.OK)


def noop(talk: Talk, argument: bytes) -> Answer:
    return talk.filler(replies.OK)


def vrfy(talk: Talk, argument: bytes) -> Answer:
    if talk.service.settings.auth == "required" and not talk.authenticated:
        return replies.AUTH_REQUIRED
    return talk.filler(replies.VRFY) if argument.strip() else replies.NEEDS_ARGUMENT


def help_(talk: Talk, argument: bytes) -> Answer:
    return talk.filler(replies.HELP)


def quit_(talk: Talk, argument: bytes) -> Answer:
    return replies.NO_ARGUMENT if argument.strip() else Act.QUIT


def starttls(talk: Talk, argument: bytes) -> Answer:
    if talk.secure:
        return replies.TLS_ACTIVE
    if talk.service.settings.tls != "starttls":
        return replies.NO_TLS
    if not talk.helo:
        return replies.SAY_HELLO
    return replies.NO_ARGUMENT if argument.strip() else Act.TLS


def auth(talk: Talk, argument: bytes) -> Answer:
    if talk.service.settings.auth == "none":
        return replies.NO_AUTH
    if not talk.may_auth:
        return replies.AUTH_NEEDS_TLS
    if not talk.helo or not talk.extended_smtp:
        return replies.AUTH_NEEDS_EHLO
    if talk.authenticated:
        return replies.AUTH_DONE
    if talk.mail is not None:  # RFC 4954 4
        return replies.AUTH_IN_MAIL
    return Act.AUTH if argument.strip() else replies.NEEDS_ARGUMENT


def unknown(talk: Talk, argument: bytes) -> Answer:
    return replies.UNKNOWN


def not_implemented(talk: Talk, argument: bytes) -> Answer:
    return replies.NOT_IMPLEMENTED


def not_for_you(talk: Talk, argument: bytes) -> Answer:
    """XCLIENT, XFORWARD, PROXY: who you are is what the socket says (hazard B9)."""
    return replies.NOT_FOR_YOU


def not_smtp(talk: Talk, argument: bytes) -> Answer:
    """A browser, or somebody who makes one talk to us (hazard A5)."""
    return replies.NOT_SMTP


HTTP_METHODS = (b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"PRI", b"DELETE", b"PATCH")

COMMANDS: Mapping[bytes, Command] = {
    b"EHLO": ehlo,
    b"HELO": helo,
    b"MAIL": mail,
    b"RCPT": rcpt,
    b"DATA": data,
    b"RSET": rset,
    b"NOOP": noop,
    b"VRFY": vrfy,
    b"HELP": help_,
    b"QUIT": quit_,
    b"STARTTLS": starttls,
    b"AUTH": auth,
    b"ETRN": not_implemented,
    b"EXPN": not_implemented,
    b"BDAT": not_implemented,
    b"TURN": not_implemented,
    b"XCLIENT": not_for_you,
    b"XFORWARD": not_for_you,
    b"PROXY": not_for_you,
    **dict.fromkeys(HTTP_METHODS, not_smtp),
}
