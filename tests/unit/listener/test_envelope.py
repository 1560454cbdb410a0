"""Addresses and parameters as the session takes them: hazards L1, L2, L10, B1 to B8."""

from __future__ import annotations

import pytest

from relay.model import Recipient

REFUSED = [
    ("B1", "=?utf-8?q?a=0d=0aRCPT_TO:=3Cx=40evil.example=3E?=@allowed.example"),
    ("B1", "=?utf-8?b?YUBi?=@example.com"),
    ("B2", "@a,@b:c@d"),
    ("B3", "a@b@c"),
    ("B4", "a(comment)@example.com"),
    ("B4", "a b@example.com"),
    ("B6", "a\uff20example.com"),
    ("L2", "a"),
    ("L2", "a@"),
]
LITERAL = [
    ("B3", "u%v@relay"),
    ("B3", "v!u@example.com"),
    ("B3", '"u@v"@relay'),
    ("B4", "../../x@y"),
    ("B4", "|/bin/sh@x"),
    ("B4", "-oQ@x"),
    ("B6", "a@[192.0.2.1]"),
    ("B6", "a@xn--bcher-kva.example"),
]


@pytest.mark.parametrize(("row", "address"), REFUSED)
async def test_B1_B2_B3_B4_B6_L1_refused_as_they_are(serve, row, address):
    rig = await serve()
    client = await rig.client()
    assert (await client.say("MAIL FROM:<a@example.com> SMTPUTF8")).startswith("250")
    assert (await client.say(f"RCPT TO:<{address}>")).startswith("553 5.1.3 ")
    assert (await client.say("DATA")).startswith("554 5.5.1 ")


@pytest.mark.parametrize(("row", "address"), LITERAL)
async def test_B3_B4_B6_or_taken_byte_for_byte(serve, row, address):
    rig = await serve()
    client = await rig.client()
    client.send(f"MAIL FROM:<{address}>\r\nRCPT TO:<{address}>\r\nDATA\r\n.\r\n".encode())
    assert [(await client.reply())[:3] for _ in range(4)] == ["250", "250", "354", "250"]
    envelope = rig.intake.submissions[0].message.envelope
    assert envelope.sender == address
    assert [one.address for one in envelope.recipients] == [address]


@pytest.mark.parametrize(("length", "code"), [(256, "250 2.1.5"), (257, "553 5.1.3")])
async def test_B5_local_part_limits(serve, length, code):
    rig = await serve()
    client = await rig.client()
    await client.say("MAIL FROM:<a@example.com>")
    assert (await client.say(f"RCPT TO:<{'l' * length}@example.com>")).startswith(code)


@pytest.mark.parametrize(("length", "code"), [(255, "250 2.1.5"), (256, "553 5.1.3")])
async def test_B5_domain_limits(serve, length, code):
    rig = await serve()
    client = await rig.client()
    await client.say("MAIL FROM:<a@example.com>")
    domain = ("d" * 60 + ".") * 5
    assert (await client.say(f"RCPT TO:<a@{domain[: length - 1].rstrip('.').ljust(length, 'e')}>")).startswith(code)


async def test_B7_L2_the_null_sender_is_empty(serve):
    rig = await serve()
    client = await rig.client()
    client.send(b"MAIL FROM:<>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n.\r\n")
    assert [(await client.reply())[:3] for _ in range(4)] == ["250", "250", "354", "250"]
    assert rig.intake.submissions[0].message.envelope.sender == ""


async def test_B7_a_recipient_is_never_null(serve):
    rig = await serve()
    client = await rig.client()
    await client.say("MAIL FROM:<>")
    assert (await client.say("RCPT TO:<>")).startswith("553 5.1.3")


async def test_L10_parameters_keep_their_case(serve):
    rig = await serve()
    client = await rig.client()
    client.send(b"MAIL FROM:<a@example.com> ret=hdrs envid=Qq+2B1 body=8bitmime\r\n")
    client.send(b"RCPT TO:<b@example.com> notify=delay orcpt=rfc822;B@Example.com\r\n")
    client.send(b"RCPT TO:<b@example.com>\r\nRCPT TO:<c@example.com>\r\nDATA\r\nSubject: x\r\n\r\n\xe9\r\n.\r\n")
    assert [(await client.reply())[:3] for _ in range(6)] == ["250", "250", "250", "250", "354", "250"]
    envelope = rig.intake.submissions[0].message.envelope
    assert (envelope.ret, envelope.envid, envelope.eight_bit) == ("HDRS", "Qq+2B1", True)
    assert envelope.recipients == (
        Recipient(address="b@example.com", notify="DELAY", orcpt="rfc822;B@Example.com"),
        Recipient(address="c@example.com"),
    )


async def test_eight_bit_needs_declaration_and_bytes(serve):
    rig = await serve()
    client = await rig.client()
    await client.message(b"Subject: undeclared\r\n\r\n\xe9\r\n")
    assert rig.intake.submissions[0].message.envelope.eight_bit is False


async def test_smtputf8_must_be_declared_for_the_sender(serve):
    rig = await serve()
    client = await rig.client()
    sender = "MAIL FROM:<jos\u00e9@example.com>"
    assert (await client.say(sender)).startswith("553 5.6.7")
    assert (await client.say(sender + " SMTPUTF8")).startswith("250")


async def test_smtputf8_must_be_declared_for_a_recipient(serve):
    rig = await serve()
    client = await rig.client()
    await client.say("MAIL FROM:<a@example.com>")
    assert (await client.say("RCPT TO:<jos\u00e9@example.com>")).startswith("553 5.6.7")


@pytest.mark.parametrize(
    ("sender", "subject", "needed"),
    [("a@example.com", "x", False), ("jos\u00e9@example.com", "x", True), ("a@example.com", "\u00e9", True)],
)
async def test_utf8_is_needed_by_address_or_header_only(serve, sender, subject, needed):
    rig = await serve()
    client = await rig.client()
    client.send(f"MAIL FROM:<{sender}> SMTPUTF8\r\nRCPT TO:<b@example.com>\r\nDATA\r\n".encode())
    client.send(f"Subject: {subject}\r\n\r\n\u00e9\r\n.\r\n".encode())
    assert [(await client.reply())[:3] for _ in range(4)] == ["250", "250", "354", "250"]
    assert rig.intake.submissions[0].message.envelope.utf8 is needed


async def test_endless_recipients_beyond_the_limit_end_the_session(serve):
    rig = await serve(max_recipients=1)
    client = await rig.client()
    await client.say("MAIL FROM:<a@example.com>")
    client.send(b"".join(b"RCPT TO:<r%d@example.com>\r\n" % n for n in range(1002)))
    said = (await client.rest()).splitlines()
    assert said[0].startswith(b"250 ")
    assert said.count(b"452 4.5.3 Too many recipients, send the rest in another message") == 1000
    assert said[-1].startswith(b"421 4.7.0 ")


async def test_D5_recipients_above_the_limit_wait_and_the_first_ones_are_delivered(serve):
    rig = await serve(max_recipients=3)
    client = await rig.client()
    client.send(b"MAIL FROM:<a@example.com>\r\n" + b"".join(b"RCPT TO:<r%d@example.com>\r\n" % n for n in range(5)))
    assert [(await client.reply())[:9] for _ in range(6)] == ["250 2.1.0"] + ["250 2.1.5"] * 3 + ["452 4.5.3"] * 2
    assert (await client.say("DATA")).startswith("354 ")
    assert (await client.say("Subject: x\r\n\r\nx\r\n.")).startswith("250 2.0.0 ")
    (submission,) = rig.intake.submissions
    assert [one.address for one in submission.message.envelope.recipients] == [f"r{n}@example.com" for n in range(3)]


@pytest.mark.parametrize("limit", [1, 1000])
async def test_L6_D5_recipients_for_ever_do_not_keep_a_session(serve, limit):
    """One said again and again, and one too many again and again."""
    rig = await serve(max_recipients=limit)
    client = await rig.client()
    again = b"".join(b"RCPT TO:<r%d@example.com>\r\n" % (n if limit == 1 else 0) for n in range(1002))
    client.send(b"MAIL FROM:<a@example.com>\r\n" + again)
    said = (await client.rest()).splitlines()
    assert [len(said), said[-1][:3]] == [1003, b"421"]
