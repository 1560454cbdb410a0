"""What an upstream offers in EHLO, and what that makes of one shipment: its commands, or why it cannot go there.

Called by the client conversation (transaction) and by upstream. Never touches a body, a socket or a clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from relay.model import Recipient, Reply, Shipment

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The extensions that matter to us. `size`: largest message in bytes; 0: no fixed limit; None: not offered."""

    pipelining: bool = False
    chunking: bool = False
    eight_bit: bool = False
    utf8: bool = False
    dsn: bool = False
    size: int | None = None


def read_offer(keywords: Mapping[str, str]) -> Offer:
    """From EHLO keywords in lower case to their parameters. A SIZE that is no number limits nothing (RFC 1870 4)."""
    size = keywords.get("size")
    return Offer(
        pipelining="pipelining" in keywords,
        chunking="chunking" in keywords,
        eight_bit="8bitmime" in keywords,
        utf8="smtputf8" in keywords,
        dsn="dsn" in keywords,
        size=None if size is None else _number(size),
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else 0


def obstacle(shipment: Shipment, size: int, offer: Offer) -> Reply | None:
    """Why this shipment cannot go to an upstream with this offer, or None. `size`: bytes on the wire."""
    if offer.size and size > offer.size:
        return Reply(code=552, enhanced="5.3.4", text=f"message of {size} bytes: the provider takes {offer.size}")
    if not offer.utf8 and needs_utf8(shipment):
        return Reply(code=550, enhanced="5.6.7", text="an address or header is not ASCII: the provider has no SMTPUTF8")
    if not offer.eight_bit and shipment.message.envelope.eight_bit:
        return Reply(code=554, enhanced="5.6.3", text="the message is 8-bit: the provider does not offer 8BITMIME")
    return None


def needs_utf8(shipment: Shipment) -> bool:
    """RFC 6531 3.4: SMTPUTF8 goes with the mail whenever an address or a header is not ASCII, and only then."""
    if shipment.message.envelope.utf8 or not shipment.sender.isascii():
        return True
    return not "".join([recipient.address for recipient in shipment.recipients]).isascii()


def commands(shipment: Shipment, size: int, offer: Offer) -> list[bytes]:
    """MAIL and one RCPT for each recipient, with their line ends; addresses exactly as they were judged.

    Raises ValueError for what would not stay one line each: the border that lets an address in must not let that in.
    """
    utf8 = offer.utf8 and needs_utf8(shipment)
    lines = [_mail(shipment, size, offer, utf8)]
    lines += [_rcpt(recipient, offer, utf8) for recipient in shipment.recipients]
    said = "".join(lines)
    if not said.isprintable() and _CONTROL.search(said):  # no control character is printable
        raise ValueError("a control character in the envelope")
    return [f"{line}\r\n".encode() for line in lines]


def _mail(shipment: Shipment, size: int, offer: Offer, utf8: bool) -> str:
    line = f"MAIL FROM:<{shipment.sender}>"
    envelope = shipment.message.envelope
    if offer.size is not None:
        line += f" SIZE={size}"
    if envelope.eight_bit and offer.eight_bit:
        line += " BODY=8BITMIME"
    if utf8:
        line += " SMTPUTF8"
    if offer.dsn:  # RFC 3461 5.2.1: on to a server that offers DSN, as received
        line += (f" RET={envelope.ret}" if envelope.ret else "") + (
            f" ENVID={envelope.envid}" if envelope.envid else ""
        )
    return line


def _rcpt(recipient: Recipient, offer: Offer, utf8: bool) -> str:
    line = f"RCPT TO:<{recipient.address}>"
    if offer.dsn:
        line += f" NOTIFY={recipient.notify}" if recipient.notify else ""
        if recipient.orcpt:
            line += f" ORCPT={recipient.orcpt if utf8 else _NOT_ASCII.sub(_escaped, recipient.orcpt)}"
    return line


def _escaped(char: re.Match[str]) -> str:
    """RFC 6533 3: utf-8-addr-xtext, the form of an ORCPT where SMTPUTF8 is not in force."""
    return f"\\x{{{ord(char[0]):X}}}"
