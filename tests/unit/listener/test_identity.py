"""Mail handed in as somebody: by a header, or because the listener says so; fixed when it is accepted."""

from __future__ import annotations

import pytest

from relay.model import Identity, Rewrite
from relay.smtp.headers import HEAD

IDENTITIES = {
    "invoices": Identity(address="billing@example.com", name="Billing", reply_to="help@example.com"),
    "plain": Identity(address="plain@example.com"),
    "umlaut": Identity(address="jürgen@example.com"),
    "named": Identity(address="plain@example.com", name="Jürgen", reply_to="Für Jürgen <help@example.com>"),
}
INVOICES = Rewrite(header_from="Billing <billing@example.com>", reply_to="help@example.com")
LETTER = b"From: app@client.test\r\nSubject: x\r\n\r\nHello.\r\n"


async def taken(serve, content: bytes, sender: str = "a@example.com", **settings):
    """The message as it went into the spool."""
    rig = await serve(identities=IDENTITIES, **settings)
    client = await rig.client()
    client.send(f"MAIL FROM:<{sender}>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n".encode())
    assert [(await client.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
    client.send(content + b".\r\n")
    assert (await client.reply()).startswith("250 ")
    [submission] = rig.intake.submissions
    assert submission.body.data == content, "what came in is kept as it is"
    return submission.message


async def refused(serve, content: bytes, **settings) -> str:
    rig = await serve(identities=IDENTITIES, **settings)
    reply = await (await rig.client()).message(content)
    assert rig.intake.submissions == [] and rig.intake.discarded == 1
    assert rig.reasons() == ["content"]
    return reply


async def test_mail_that_names_none_is_nobodys(serve):
    message = await taken(serve, LETTER)
    assert (message.identity, message.envelope.sender) == (None, "a@example.com")


@pytest.mark.parametrize(
    "field",
    [
        b"X-Relay-Identity: invoices\r\n",
        b"x-relay-identity:invoices\r\n",
        b"X-RELAY-IDENTITY :\r\n\tinvoices \r\n",
        b"X-Relay-Identity: invoices\r\nX-Relay-Identity: plain\r\n",
    ],
)
async def test_the_header_names_it(serve, field):
    message = await taken(serve, field + LETTER)
    assert (message.identity, message.envelope.sender) == (INVOICES, "billing@example.com")


async def test_the_listener_names_it_and_the_header_wins(serve):
    message = await taken(serve, LETTER, identity="invoices")
    assert (message.identity, message.envelope.sender) == (INVOICES, "billing@example.com")
    message = await taken(serve, b"X-Relay-Identity: plain\r\n" + LETTER, identity="invoices")
    assert (message.identity, message.envelope.sender) == (
        Rewrite(header_from="plain@example.com"),
        "plain@example.com",
    )


async def test_E2_the_null_sender_stays(serve):
    message = await taken(serve, LETTER, sender="", identity="invoices")
    assert (message.identity, message.envelope.sender) == (INVOICES, "")


async def test_E4_an_address_beyond_ascii_needs_smtputf8(serve):
    assert (await taken(serve, LETTER, identity="umlaut")).envelope.utf8


async def test_E4_a_name_beyond_ascii_does_not(serve):
    assert not (await taken(serve, LETTER, identity="named")).envelope.utf8
    assert not (await taken(serve, LETTER, identity="plain")).envelope.utf8


async def test_E6_mail_without_a_header_has_an_identity_too(serve):
    message = await taken(serve, b"Just text.\r\nX-Relay-Identity: nobody\r\n", identity="invoices")
    assert message.identity == INVOICES
    assert message.prefix.endswith(b"\r\n\r\n")


async def test_a_field_in_the_text_is_text(serve):
    assert (await taken(serve, LETTER + b"\r\nX-Relay-Identity: nobody\r\n")).identity is None


@pytest.mark.parametrize("name", [b"invoice", b"", b"Invoices", b"\xc3\xa9\xff", b"invoices, plain"])
async def test_an_unknown_name_is_refused_with_those_there_are(serve, name):
    reply = await refused(serve, b"X-Relay-Identity: " + name + b"\r\n" + LETTER)
    assert reply.startswith("554 5.6.0 identity ") and reply.endswith(" is not one of: invoices, named, plain, umlaut")


async def test_where_there_are_none_the_refusal_says_what_to_do(serve):
    rig = await serve()
    reply = await (await rig.client()).message(b"X-Relay-Identity: invoices\r\n" + LETTER)
    assert reply.endswith("there is none; add it under identities in the configuration")


async def test_H9_a_hostile_name_stays_one_line(serve):
    reply = await refused(serve, b"X-Relay-Identity: \x1b[31m" + b"n" * 5000 + b"\r\n" + LETTER)
    assert reply.isprintable() and len(reply) < 512


async def test_a_header_too_long_to_be_changed_is_refused_when_it_is_handed_in(serve):
    long = b"X-Relay-Identity: invoices\r\nX-Long: " + b"x" * HEAD + b"\r\n" + LETTER
    assert (await refused(serve, long)).startswith("554 5.6.0 The header section is too long")
    assert (await refused(serve, long, identity="plain")).startswith("554 5.6.0 The header section is too long")
    assert (await taken(serve, b"X-Long: " + b"x" * HEAD + b"\r\n" + LETTER)).identity is None
    text = LETTER + b"x" * 70 + b"\r\n" + b"y" * HEAD + b"\r\n"
    assert (await taken(serve, text, identity="plain")).identity is not None
