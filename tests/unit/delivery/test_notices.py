"""Notices as messages of their own."""

from __future__ import annotations

from email import message_from_bytes

from msgspec.structs import replace

from relay.delivery.notices import Fate, Notice, compose
from relay.delivery.policy import BouncePolicy, DeliveryPolicy
from relay.model import MessageId, Recipient, Rewrite
from relay.smtp.data import unstuff

BODY = b"Subject: hello\r\n\r\n..one dot\r\nsecret\r\n"
POLICY = DeliveryPolicy(hostname="relay.example")


def made(make, kind: str = "bounce", *, policy: DeliveryPolicy = POLICY, body: bytes = BODY, **message):
    original = make.message(**message)
    fate = Fate(recipient=Recipient(address="b@o"), provider="primary", reply="550 5.1.1 no such user", at=make.now)
    notice = Notice(kind=kind, message=original, fates=(fate,))
    submission = compose(
        notice, body, id=MessageId("n1"), policy=policy, hosts={"primary": "smtp.example"}, now=make.now
    )
    return notice, submission, message_from_bytes(unstuff(submission.body.data))


def test_E2_a_bounce_has_the_null_sender_and_goes_to_the_sender(make) -> None:
    _, submission, parsed = made(make)
    message = submission.message

    assert message.envelope.sender == ""
    assert [r.address for r in message.envelope.recipients] == ["a@example.com"]
    assert (message.source.kind, message.id, message.size) == ("notice", "n1", len(submission.body.data))
    assert message.expires_at == make.now + POLICY.retry.give_up_after
    assert "postmaster@relay.example" in parsed["From"]
    assert parsed.get_content_type() == "multipart/report"


def test_it_names_the_recipient_the_reply_and_the_host(make) -> None:
    machine = made(make)[2].get_payload(1).as_string()

    assert "Final-Recipient: rfc822;b@o" in machine
    assert "Action: failed" in machine
    assert "Status: 5.1.1" in machine
    assert "Remote-MTA: dns; smtp.example" in machine


def test_one_mailbox_for_all_of_them(make) -> None:
    policy = DeliveryPolicy(hostname="relay.example", bounces=BouncePolicy(sender="mail@x", to="ops@x"))
    _, submission, parsed = made(make, policy=policy)

    assert [r.address for r in submission.message.envelope.recipients] == ["ops@x"]
    assert "mail@x" in parsed["From"]


def test_the_name_of_an_identity_does_not_go_out_in_a_notice(make) -> None:
    body = b"X-Relay-Identity: invoices\r\n" + BODY + b"X-Relay-Identity: text\r\n"
    message = replace(make.message(ret="FULL"), identity=Rewrite(header_from="billing@example.com"))
    for kind in ("bounce", "delay"):
        notice = Notice(kind=kind, message=message, fates=())
        submission = compose(notice, body, id=MessageId("n1"), policy=POLICY, hosts={}, now=make.now)
        text = submission.body.data
        assert b"invoices" not in text
        assert b"Subject: hello" in text
        assert (b"X-Relay-Identity: text" in text) is (kind == "bounce")


def test_headers_come_back_the_whole_message_only_if_asked_for(make) -> None:
    notice, _, parsed = made(make)
    assert not notice.whole
    assert b"Received: from app" in parsed.as_bytes()
    assert b"secret" not in parsed.as_bytes()

    notice, _, parsed = made(make, ret="FULL")
    assert notice.whole
    assert b"\n.one dot" in parsed.as_bytes().replace(b"\r\n", b"\n")
    assert b"secret" in parsed.as_bytes()


def test_large_messages_and_warnings_never_come_back_whole(make) -> None:
    assert not made(make, ret="FULL", size=10**6)[0].whole
    assert not made(make, "delay", ret="FULL")[0].whole


def test_a_warning_says_until_when(make) -> None:
    machine = made(make, "delay")[2].get_payload(1).as_string()

    assert "Action: delayed" in machine
    assert "Will-Retry-Until:" in machine


def test_a_relayed_report(make) -> None:
    assert "Action: relayed" in made(make, "relayed")[2].get_payload(1).as_string()


def test_a_body_that_is_lost_does_not_lose_the_notice(make) -> None:
    assert b"Received: from app" in made(make, body=b"")[2].as_bytes()
