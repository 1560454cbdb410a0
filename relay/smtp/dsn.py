"""Reports about delivery (RFC 3461, 3464; RFC 6533 for addresses beyond ASCII): failure, delay, relayed.

The worker makes them when recipients end or a warning is due. They never hold more of the original than asked for,
and never more than a header's worth of what an upstream said. Content comes back unstuffed, with CRLF.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from relay.model import Message, MessageId, Recipient
from relay.smtp.headers import date_header, mailbox, message_id_header, rfc5322_date

Action = Literal["failed", "delayed", "relayed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """One recipient in a report. `reply`: what was said last, "550 5.1.1 no such user", or our own words.

    `status`: enhanced code, "" to take it from the reply. `host`: the upstream that said it. `attempted_at`: 0 unknown.
    """

    recipient: Recipient
    reply: str = ""
    status: str = ""
    host: str = ""
    attempted_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report is made of. `original`: unstuffed content of the message, prefix included, or only its headers.

    `whole`: return all of `original` (RET=FULL), else its header section. `sender`, `to`: addresses of the report's
    From and To. `id`: of the report. `retry_until`: when a delayed message expires.
    """

    id: MessageId
    message: Message
    hostname: str
    sender: str
    to: str
    now: float
    fates: tuple[Fate, ...]
    original: bytes = field(default=b"", repr=False)
    whole: bool = False
    retry_until: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    action: Action
    status: str
    subject: str
    opening: str
    closing: str


_FAILED: Final = _Kind(
    action="failed",
    status="5.0.0",
    subject="Undelivered mail: returned to sender",
    opening="Your message could not be delivered to the recipients below, and no further attempt will be made.",
    closing="Once the cause is gone, send the message again.",
)
_DELAYED: Final = _Kind(
    action="delayed",
    status="4.0.0",
    subject="Delayed mail: still being retried",
    opening="Your message has not been delivered yet to the recipients below. Delivery is still being tried.",
    closing="You need not do anything. Please do not send the message again.",
)
_RELAYED: Final = _Kind(
    action="relayed",
    status="2.0.0",
    subject="Mail handed over to the next mail system",
    opening="Your message was handed over for these recipients to a mail system that does not send further reports.",
    closing="This does not say that it was read or put into a mailbox.",
)

# Enhanced status (RFC 3463), the longest that fits, to what it means and what to do about it.
_HINTS: Final = {
    "1.1": "The mailbox does not exist. Check the part of the address before the @.",
    "1.2": "The domain does not exist or takes no mail. Check the part of the address after the @.",
    "1.3": "The address is not written correctly. Check it for typing errors.",
    "1.8": "The sender's domain does not exist or takes no mail. Use a sender address that can be answered.",
    "1.10": "The domain says that it takes no mail at all.",
    "2.1": "The mailbox is disabled. Reach the recipient in another way.",
    "2.2": "The mailbox is full. Try again later, or tell the recipient in another way.",
    "2.3": "The message is larger than this mailbox takes. Make its attachments smaller.",
    "3.4": "The message is larger than the mail system takes. Make its attachments smaller.",
    "4.7": "It could not be delivered in the time allowed.",
    "6.3": "No provider takes 8-bit content. Send it encoded as quoted-printable or base64.",
    "6.7": "No provider takes addresses or headers beyond ASCII. Use the ASCII form of the address.",
    "7.1": "The receiving system refuses this message by its rules. Its answer below may say which one.",
    "7.26": "The message failed authentication checks. The administrator should check SPF, DKIM and DMARC.",
    "7": "The receiving system refuses this message by its rules. Its answer below may say which one.",
    "1": "Check the address.",
    "4": "The receiving system, or the way to it, has a problem.",
}
_ENHANCED = re.compile(r"(?:^|[\s#])([245]\.\d{1,3}\.\d{1,3})(?=\s|$|[,;:])", re.ASCII)
_HEXCHAR = re.compile(r"\+([2-7][0-9A-F])")
_UNSAFE = re.compile(r"[^ -~]+")
_MAX_VALUE: Final = 900  # RFC 5322 2.1.1: a line has at most 998 characters


def failure(report: Report) -> bytes:
    """These recipients will not get the message."""
    return _report(report, _FAILED)


def delay(report: Report) -> bytes:
    """These recipients have not got it yet; it is tried until `retry_until`."""
    return _report(report, _DELAYED)


def relayed(report: Report) -> bytes:
    """NOTIFY=SUCCESS was asked for and the upstream does not offer DSN (RFC 3461 6.2.2)."""
    return _report(report, _RELAYED)


def _report(report: Report, kind: _Kind) -> bytes:
    parts = (_human(report, kind), _machine(report, kind), _returned(report))
    boundary, sender = _boundary(report, b"".join(parts)), _line(report.sender)
    head = (
        date_header(report.now)
        + b"From: "
        + mailbox(sender if "<" in sender else f"Mail Delivery System <{sender}>")
        + f"\r\nTo: <{_line(report.to)}>\r\n".encode()
        + f"Subject: {kind.subject}\r\n".encode()
        + message_id_header(report.id, report.hostname)
        + b"Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        + b'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="'
        + boundary
        + b'"\r\n'
        + (b"" if all(part.isascii() for part in parts) else b"Content-Transfer-Encoding: 8bit\r\n")
    )
    body = b"".join(b"\r\n--" + boundary + b"\r\n" + part for part in parts)
    return (
        head + b"\r\nThis is a MIME message about the delivery of mail.\r\n" + body + b"\r\n--" + boundary + b"--\r\n"
    )


def _boundary(report: Report, content: bytes) -> bytes:
    boundary = f"=_{report.id}".encode()
    while b"--" + boundary in content:
        boundary += b"_"
    return boundary


# The part for people.


def _human(report: Report, kind: _Kind) -> bytes:
    lines = [f"This is the mail relay at {_line(report.hostname)}.", "", kind.opening, ""]
    for fate in report.fates:
        lines += _fate_lines(fate, kind)
    if kind is _DELAYED and report.retry_until:
        lines += [f"It is tried until {rfc5322_date(report.retry_until)}.", ""]
    lines += [kind.closing, "", f"Reference: {report.message.id}, received {rfc5322_date(report.message.received_at)}"]
    text = "\r\n".join(lines).encode()
    charset, encoding = ("us-ascii", "7bit") if text.isascii() else ("utf-8", "8bit")
    head = f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return head.encode() + text + b"\r\n"


def _fate_lines(fate: Fate, kind: _Kind) -> Iterator[str]:
    yield f"<{_line(fate.recipient.address)}>"
    hint = hint_for(_status(fate, kind)) if kind is not _RELAYED else ""
    if hint:
        yield f"    {hint}"
    if fate.reply:
        said = f"{_line(fate.host)} said: " if fate.host else ""
        yield f"    {said}{_line(fate.reply)}"
    yield ""


def hint_for(status: str) -> str:
    """What an enhanced status means and what to do, in plain words; "" when that is not known."""
    subject, _, detail = status.partition(".")[2].partition(".")
    return _HINTS.get(f"{subject}.{detail}") or _HINTS.get(subject, "")


# The part for programs.


def _machine(report: Report, kind: _Kind) -> bytes:
    fields = [f"Reporting-MTA: dns; {_ascii(report.hostname)}"]
    if report.message.envelope.envid:
        fields.append(f"Original-Envelope-Id: {_ascii(_decoded(report.message.envelope.envid))}")
    fields.append(f"Arrival-Date: {rfc5322_date(report.message.received_at)}")
    for fate in report.fates:
        fields += ["", *_fate_fields(fate, report, kind)]
    return b"Content-Type: message/delivery-status\r\n\r\n" + "\r\n".join(fields).encode() + b"\r\n"


def _fate_fields(fate: Fate, report: Report, kind: _Kind) -> Iterator[str]:
    if fate.recipient.orcpt:
        kind_of, _, address = fate.recipient.orcpt.partition(";")
        shown = _typed(address)[1] if kind_of.lower() == "utf-8" else _decoded(address)
        yield f"Original-Recipient: {_ascii(kind_of)};{_ascii(shown)}"
    yield "Final-Recipient: {};{}".format(*_typed(fate.recipient.address))
    yield f"Action: {kind.action}"
    yield f"Status: {_status(fate, kind)}"
    if fate.host:
        yield f"Remote-MTA: dns; {_ascii(fate.host)}"
    if fate.reply:
        yield f"Diagnostic-Code: {'smtp' if fate.reply[:3].isdigit() else 'x-relay'}; {_ascii(fate.reply)}"
    if fate.attempted_at:
        yield f"Last-Attempt-Date: {rfc5322_date(fate.attempted_at)}"
    if kind is _DELAYED and report.retry_until:
        yield f"Will-Retry-Until: {rfc5322_date(report.retry_until)}"


def _status(fate: Fate, kind: _Kind) -> str:
    """The enhanced status, of the class its action demands (RFC 3464 2.3.4): a failure after 4.2.2 is 5.2.2."""
    found = _ENHANCED.search(fate.status) or _ENHANCED.search(fate.reply)
    return kind.status[0] + found[1][1:] if found else kind.status


def _typed(address: str) -> tuple[str, str]:
    r"""Address type and form. RFC 6533 section 3: in message/delivery-status what is not ASCII is `\x{...}`."""
    if address.isascii():
        return "rfc822", _ascii(address)
    return "utf-8", "".join(char if " " <= char <= "~" else f"\\x{{{ord(char):02X}}}" for char in address)


def _decoded(xtext: str) -> str:
    return _HEXCHAR.sub(lambda found: chr(int(found[1], 16)), xtext)


def _ascii(text: str) -> str:
    return _UNSAFE.sub("?", text)[:_MAX_VALUE]


def _line(text: str) -> str:
    """One line, of anything printable."""
    return (text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text))[:_MAX_VALUE]


# The part that shows what it is about.


def _returned(report: Report) -> bytes:
    original = report.original
    if not report.whole:
        end = original.find(b"\r\n\r\n")
        original = original[: end + 2] if end >= 0 else original
    ascii_headers = original.partition(b"\r\n\r\n")[0].isascii()
    kind = {  # RFC 6533 section 6: other types when headers are UTF-8
        (True, True): "message/rfc822",
        (True, False): "message/global",
        (False, True): "text/rfc822-headers",
        (False, False): "message/global-headers",
    }[report.whole, ascii_headers]
    encoding = "" if original.isascii() else "Content-Transfer-Encoding: 8bit\r\n"
    return (
        f"Content-Type: {kind}\r\n{encoding}\r\n".encode() + original + (b"" if original.endswith(b"\r\n") else b"\r\n")
    )
