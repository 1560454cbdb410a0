"""From a draft to a message: sender, envelope, headers, wire form."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from msgspec.structs import replace

from relay.compose.draft import Attachment, Draft
from relay.compose.mailboxes import Mailbox
from relay.compose.message import Composed, Unfit, compose
from relay.compose.senders import House
from relay.model import Identity, MessageId
from relay.smtp.data import unstuff

NOW = 1_795_000_000.0
HOUSE = House(
    hostname="relay.test",
    fallback=Identity(address="relay@relay.test"),
    identities={"invoices": Identity(address="billing@example.com", name="Billing", reply_to="Help <h@example.com>")},
)
BOB = Mailbox("bob@example.org", "Bob")
DRAFT = Draft(sender=Mailbox("ann@example.com", "Ann"), to=(BOB,), subject="Hello", text="Hello.\n")


def composed(draft: Draft, house: House = HOUSE, at: float = 0.0, client: str = "192.0.2.7") -> Composed:
    made = compose(draft, house, id=MessageId("0123456789abc"), client=client, now=NOW, at=at)
    assert isinstance(made, Composed), made
    return made


def wire(made: Composed) -> bytes:
    return b"".join(made.wire())


def read(made: Composed) -> EmailMessage:
    raw = (made.prefix + unstuff(wire(made))).replace(b"\r\n", b"\n")  # as a mailbox keeps it
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert message.defects == []
    return message


def refused(draft: Draft, house: House = HOUSE) -> Unfit:
    unfit = compose(draft, house, id=MessageId("0123456789abc"), client="unix", now=NOW)
    assert isinstance(unfit, Unfit)
    return unfit


def test_a_mail_as_people_write_it():
    made = composed(DRAFT)
    message = read(made)
    assert message.items()[1:] == [
        ("From", "Ann <ann@example.com>"),
        ("To", "Bob <bob@example.org>"),
        ("Subject", "Hello"),
        ("Date", "Wed, 18 Nov 2026 11:06:40 +0000"),
        ("Message-ID", "<0123456789abc@relay.test>"),
        ("MIME-Version", "1.0"),
        ("Content-Type", 'text/plain; charset="utf-8"'),
        ("Content-Transfer-Encoding", "7bit"),
    ]
    assert message.get_content() == "Hello.\n"
    assert made.message_id == "<0123456789abc@relay.test>"
    assert (made.envelope.sender, made.envelope.utf8, made.envelope.eight_bit) == ("ann@example.com", False, False)
    assert made.size == len(wire(made))


@pytest.mark.parametrize(
    ("client", "said"),
    [
        ("192.0.2.7", b"Received: from [192.0.2.7] ([192.0.2.7])\r\n"),
        ("2001:db8::1", b"Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n"),
        ("unix", b"Received: from localhost (unix)\r\n"),
    ],
)
def test_our_trace_line_is_the_first(client, said):
    prefix = composed(DRAFT, client=client).prefix
    assert prefix.startswith(said + b"\tby relay.test with HTTP id 0123456789abc\r\n\tfor <bob@example.org>;\r\n")


def test_E7_bcc_is_in_the_envelope_and_nowhere_else():
    secret = Mailbox("secret@example.net", "Secret")
    for draft in (
        replace(DRAFT, bcc=(secret,)),
        replace(DRAFT, to=(), bcc=(secret,)),
        replace(DRAFT, bcc=(secret, BOB)),
    ):
        made = composed(draft)
        assert "secret@example.net" in [recipient.address for recipient in made.envelope.recipients]
        everything = (made.prefix + wire(made)).lower()
        assert b"secret" not in everything.replace(b"undisclosed-recipients", b"")
        assert b"bcc" not in everything
    assert read(composed(replace(DRAFT, to=(), bcc=(secret,))))["To"] == "undisclosed-recipients:;"


def test_everybody_is_in_the_envelope_once():
    twice = (BOB, Mailbox("carol@example.org"), Mailbox("bob@example.org"))
    made = composed(replace(DRAFT, to=twice, cc=twice, bcc=(*twice, Mailbox("Bob@example.org"))))
    assert [r.address for r in made.envelope.recipients] == ["bob@example.org", "carol@example.org", "Bob@example.org"]


def test_who_it_is_from_without_a_word():
    draft = replace(DRAFT, sender=None)
    assert read(composed(draft))["From"] == "relay@relay.test"
    configured = replace(HOUSE, sender=Identity(address="app@example.com", name="App", reply_to="help@example.com"))
    message = read(composed(draft, configured))
    assert (message["From"], message["Reply-To"]) == ("App <app@example.com>", "help@example.com")
    assert composed(draft, configured).envelope.sender == "app@example.com"
    assert read(composed(DRAFT, configured))["Reply-To"] is None


def test_an_identity_brings_its_name_and_where_answers_go():
    draft = replace(DRAFT, sender=None, identity="invoices")
    message = read(composed(draft))
    assert (message["From"], message["Reply-To"]) == ("Billing <billing@example.com>", "Help <h@example.com>")
    assert composed(draft).envelope.sender == "billing@example.com"
    elsewhere = replace(draft, reply_to=(Mailbox("me@example.com"),))
    assert read(composed(elsewhere))["Reply-To"] == "me@example.com"


@pytest.mark.parametrize("reply_to", ['The "Desk" here <h@example.com>', "=?utf-8?q?Help?= <h@example.com>"])
def test_whatever_the_configuration_took_as_a_mailbox_stands_in_the_mail(reply_to):
    odd = replace(HOUSE, sender=Identity(address="app@example.com", reply_to=reply_to))
    [address] = read(composed(replace(DRAFT, sender=None), odd))["Reply-To"].addresses
    assert (address.addr_spec, f"{address.display_name} <{address.addr_spec}>") == ("h@example.com", reply_to)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"to": ()}, "to"),
        ({"text": None}, "text"),
        ({"identity": "invoices"}, "identity"),
        ({"identity": "nobody", "sender": None}, "identity"),
    ],
)
def test_what_is_no_mail_says_where(changed, field):
    unfit = refused(replace(DRAFT, **changed))
    assert (unfit.field, unfit.too_large) == (field, False)


def test_bounds():
    house = replace(HOUSE, max_recipients=2)
    assert composed(replace(DRAFT, cc=(BOB, Mailbox("c@example.org"))), house)
    assert refused(replace(DRAFT, cc=(Mailbox("c@example.org"), Mailbox("d@example.org"))), house).field == "to"
    size = composed(DRAFT).size
    assert composed(DRAFT, replace(HOUSE, max_message_size=size)).size == size
    assert refused(DRAFT, replace(HOUSE, max_message_size=size - 1)).too_large


def test_beyond_ascii():
    made = composed(replace(DRAFT, subject="Grüße", sender=Mailbox("ann@example.com", "Änn"), text="Köln\n"))
    assert wire(made).isascii()
    assert (made.envelope.utf8, made.envelope.eight_bit) == (False, False)
    message = read(made)
    assert (message["Subject"], message["From"].addresses[0].display_name) == ("Grüße", "Änn")
    assert message.get_content() == "Köln\n"


def test_addresses_beyond_ascii_need_smtputf8_and_stay_as_they_are():
    made = composed(replace(DRAFT, to=(Mailbox("jörg@example.org"),)))
    assert "To: jörg@example.org\r\n".encode() in wire(made)
    assert (made.envelope.utf8, made.envelope.eight_bit) == (True, True)
    made = composed(replace(DRAFT, bcc=(Mailbox("jörg@example.org"),)))
    assert wire(made).isascii()
    assert (made.envelope.utf8, made.envelope.eight_bit) == (True, False)


@pytest.mark.parametrize("text", [".", "..", ".x", "a\n.\n..\nb", "\n.\n", "x\r\n.\r\ny", "a\r.\rb"])
def test_E5_dots_are_stuffed_and_line_ends_are_crlf(text):
    for attachments in ((), (Attachment(filename="x", content=b".\r\n.\r\n"),)):
        made = composed(replace(DRAFT, text=text, attachments=attachments))
        raw = wire(made)
        assert b"\r\n.\r\n" not in raw
        assert raw.endswith(b"\r\n")
        assert raw.count(b"\r") == raw.count(b"\n") == raw.count(b"\r\n")
        assert made.size == len(unstuff(raw))
        body = read(made).get_body()
        assert body is not None
        assert body.get_content() == text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n") + "\n"


def test_a_text_with_our_boundary_gets_another_one():
    made = composed(replace(DRAFT, html="<p>--=_0123456789abc</p>"))
    assert [part.get_content_type() for part in read(made).iter_parts()] == ["text/plain", "text/html"]


def test_further_headers_and_those_that_routes_match_on():
    draft = replace(DRAFT, headers=(("X-App", "crm"), ("References", "<a@b> " * 30)))
    made = composed(draft, replace(HOUSE, wanted=frozenset({"x-app", "subject"})))
    assert made.headers == {"x-app": "crm", "subject": "Hello"}
    assert read(made)["References"].split() == ["<a@b>"] * 30


def test_mail_for_later_is_dated_then():
    assert read(composed(DRAFT, at=NOW + 3600))["Date"] == "Wed, 18 Nov 2026 12:06:40 +0000"


@pytest.mark.parametrize("field", ["subject", "headers", "sender", "to", "cc", "reply_to"])
def test_H1_what_was_not_judged_raises_rather_than_forges(field):
    evil = "x\r\nBcc: eve@example.com"
    value = {"subject": evil, "headers": (("X-A", evil),), "sender": Mailbox("a@b.example", evil)}.get(
        field, (Mailbox("a@b.example", evil),)
    )
    with pytest.raises(ValueError, match="control character"):
        composed(replace(DRAFT, **{field: value}))
