"""A path with its parameters is refused with a documented reply, or goes to an upstream byte for byte as it was judged.

Run by the fuzz driver and by the replay of the corpus. Hazards B1 to B10, L1.
"""

from __future__ import annotations

import re

from fuzz.reading import Reading

from relay.model import Provider, Recipient, Reply, Shipment
from relay.smtp.address import MAX_DOMAIN, MAX_LOCAL, Path, parse_path
from relay.smtp.dialogue import Dialogue
from relay.smtp.offer import Offer
from relay.smtp.parameters import MailParameters, RcptParameters, parse_mail_parameters, parse_rcpt_parameters
from relay.smtp.reply import format_reply
from relay.testing.mail import shipment_to

LONGEST = 1024
WORDS = (
    b"<a@b.example>", b"<>", b"<@a,@b:c@d>", b'<"a b"@c>', b"@[127.0.0.1]>", b"@[IPv6:::1]>", b"=?utf-8?q?", b"?=",
    b"xn--", b" SIZE=", b" BODY=8BITMIME", b" SMTPUTF8", b" RET=FULL", b" ENVID=", b" NOTIFY=NEVER", b"SUCCESS,",
    b" ORCPT=rfc822;", b" ORCPT=utf-8;", b"\\x{e9}", b"+3D", b"+0A", b" AUTH=<>", b"\xef\xbc\xa0", b"\xe2\x80\xa4",
    b"\xc3\xa9", b"\xed\xa0\x80", b"\\\"", b"%", b"!",
)  # fmt: skip

PROVIDER = Provider(name="p", host="p.example", port=25)
EVERYTHING = Offer(pipelining=True, eight_bit=True, utf8=True, dsn=True, size=0)


def run(data: bytes) -> None:
    reading = Reading(data)
    options, raw = reading.byte(), reading.rest()
    utf8, sender = bool(options & 1), bool(options & 2)
    path = parse_path(raw, utf8=utf8, null=sender)
    if isinstance(path, Reply):
        documented(path, (501, 553))
        return
    judged(path, raw, utf8, sender)
    parameters = parse_mail_parameters(path.rest) if sender else parse_rcpt_parameters(path.rest, utf8=utf8)
    if isinstance(parameters, Reply):
        documented(parameters, (501, 555))
    else:
        sent(path, parameters, raw)


def documented(reply: Reply, codes: tuple[int, ...]) -> None:
    assert reply.code in codes, reply
    assert re.fullmatch(r"[245]\.\d\.\d{1,2}", reply.enhanced) and reply.enhanced[0] == str(reply.code)[0], reply
    assert reply.text.isascii() and reply.text.isprintable() and reply.text, reply
    assert format_reply(reply) == f"{reply}\r\n".encode()


def judged(path: Path, raw: bytes, utf8: bool, sender: bool) -> None:
    """What was judged stands between the first `<` and the first `>`, and is nothing that others read differently."""
    inner = between(raw)
    assert path.address.encode() == inner
    assert raw[: raw.index(b"<")].strip(b" ") == b""
    assert not re.search(rb"[\x00-\x1f\x7f<>]", inner)
    assert utf8 or inner.isascii()
    assert b"=?" not in inner and not inner.startswith(b"@")
    if inner:
        local, _, domain = inner.rpartition(b"@")
        assert local and domain and len(local) <= MAX_LOCAL and len(domain) <= MAX_DOMAIN
        assert local.startswith(b'"') or not re.search(rb'[\s()\[\]\\,;:"@]', local), "others see two parts in it"
    else:
        assert sender


def between(raw: bytes) -> bytes:
    return raw[raw.index(b"<") + 1 : raw.index(b">")]


def sent(path: Path, parameters: MailParameters | RcptParameters, raw: bytes) -> None:
    """What the client conversation writes, for an upstream that offers everything and one that offers nothing."""
    for offer in (EVERYTHING, Offer()):
        shipment = shipment_of(path, parameters)
        dialogue = Dialogue(offer, pipelining=True)
        dialogue.begin(shipment, 100)
        if not offer.pipelining:
            dialogue.receive(b"250 ok\r\n")
        mail, rcpt = b"".join(dialogue.out).split(b"\r\n")[:2]
        ours, others = (mail, rcpt) if isinstance(parameters, MailParameters) else (rcpt, mail)
        verb = b"MAIL FROM:" if ours is mail else b"RCPT TO:"
        assert re.match(re.escape(verb + b"<" + between(raw) + b">") + rb"( |\Z)", ours), ours
        assert not re.search(rb"[\x00-\x1f\x7f]", mail + rcpt)
        assert others.startswith((b"MAIL FROM:<a@example.com>", b"RCPT TO:<b@example.org>")), others
        if offer.dsn:
            passed_on(parameters, raw, ours)
        else:
            assert b" ENVID" not in ours.partition(b">")[2] and b" NOTIFY" not in ours.partition(b">")[2]


def shipment_of(path: Path, parameters: MailParameters | RcptParameters) -> Shipment:
    if isinstance(parameters, MailParameters):
        return shipment_to(
            PROVIDER, sender=path.address, eight_bit=parameters.eight_bit, utf8=parameters.utf8, ret=parameters.ret,
            envid=parameters.envid,
        )  # fmt: skip
    return shipment_to(
        PROVIDER, Recipient(address=path.address, notify=parameters.notify, orcpt=parameters.orcpt), utf8=True
    )


def passed_on(parameters: MailParameters | RcptParameters, raw: bytes, ours: bytes) -> None:
    """RFC 3461 5.2.1: the DSN parameters go on as they came."""
    said = raw[raw.index(b">") + 1 :]
    for name, value in (("envid", "ENVID="), ("orcpt", "ORCPT=")):
        kept = getattr(parameters, name, "").encode()
        assert kept in said
        assert (b" " + value.encode() + kept in ours) if kept else (value.encode() not in ours.partition(b">")[2])
    notify = getattr(parameters, "notify", "").encode()
    assert notify in said.upper() and (not notify or b" NOTIFY=" + notify in ours)
