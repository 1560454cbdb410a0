"""What becomes of each recipient: delivered, tried again, bounced; and what the sender hears of it."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable
from email.message import EmailMessage

from clients import letter, send, swaks
from ledger import Ledger, Taken
from postfix import Postfix
from relay_process import Relay, provider
from waiting import never, until

MAKE = Callable[..., Relay]


def report(taken: Taken) -> EmailMessage:
    """A bounce, parsed; it must be a delivery status report (RFC 3462, 3464)."""
    assert taken.sender == ""
    parsed = email.message_from_bytes(taken.data, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    assert parsed.get_content_type() == "multipart/report"
    return parsed


def status(parsed: EmailMessage) -> dict[str, str]:
    """The fields of the report's one recipient."""
    [part] = [part for part in parsed.walk() if part.get_content_type() == "message/delivery-status"]
    blocks = list(part.iter_parts()) if isinstance(part, EmailMessage) else []
    assert len(blocks) == 2, "one block for the message, one for the recipient"
    return {name: str(value) for name, value in blocks[1].items()}


def test_F3_one_delivered_one_retried_one_bounced(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    upstream.script.recipients |= {
        "later@example.com": "450 4.2.2 Mailbox full",
        "never@example.com": "550 5.1.1 No such user",
    }
    one = relay(providers=[provider("one", upstream.port)], retry={"first": "1s", "max": "1s"}).start()
    message = send(one.door, ["good@example.com", "later@example.com", "never@example.com"], letter())
    one.wait_for_states(message, good="accepted", later="deferred", never="failed")
    assert [mail.recipients for mail in upstream.taken if mail.sender] == [("good@example.com",)]

    [bounce] = until(lambda: upstream.to("app@client.test"), 10, "the sender hears of it")
    fields = status(report(bounce))
    assert fields["Final-Recipient"].replace(" ", "") == "rfc822;never@example.com"
    assert (fields["Action"], fields["Status"]) == ("failed", "5.1.1")
    assert "No such user" in fields["Diagnostic-Code"]
    assert "later@example.com" not in bounce.data.decode()

    upstream.script.recipients.clear()
    one.wait_for_states(message, good="accepted", later="accepted", never="failed")
    assert len(upstream.to("good@example.com")) == len(upstream.to("later@example.com")) == 1
    assert upstream.to("never@example.com") == []
    assert one.metric("relay_bounces_total") == 1
    assert one.metric("relay_delivery_attempts_total", outcome="rejected") == 1


def test_F3_all_refused_no_body_is_sent(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    upstream.script.recipients |= {f"{name}@example.com": "550 5.1.1 No such user" for name in ("a", "b")}
    one = relay(providers=[provider("one", upstream.port)]).start()
    message = send(one.door, ["a@example.com", "b@example.com"], letter())
    one.wait_for_states(message, a="failed", b="failed")
    until(lambda: upstream.to("app@client.test"), 10, "one bounce for both")
    assert len(upstream.taken) == 1
    assert one.metric("relay_bounces_total") == 1


def test_postfix_refuses_one_recipient_and_the_sender_gets_the_bounce(
    relay: MAKE, postfix: Callable[..., Postfix]
) -> None:
    upstream = postfix()
    one = relay(providers=[provider("postfix", upstream.port)]).start()
    assert swaks(one.door, ["bob@example.com", "no-such-user@example.com"]).returncode == 0
    assert upstream.wait_for("bob@example.com")
    [bounce] = upstream.wait_for("app@client.test")
    assert bounce.sender == ""
    text = bounce.content.decode()
    assert "There is nobody of this name here" in text
    assert "Auto-Submitted: auto-replied" in text
    assert upstream.delivered("no-such-user@example.com") == []


def test_E2_no_bounce_for_the_null_sender(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    upstream.script.recipients["never@example.com"] = "550 5.1.1 No such user"
    one = relay(providers=[provider("one", upstream.port)]).start()
    message = send(one.door, ["never@example.com"], letter(), sender="")
    one.wait_for_states(message, never="failed")
    never(lambda: upstream.taken, 1, "a bounce to nobody")
    assert one.metric("relay_bounces_total") == 0


def test_E2_never_a_double_bounce(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    upstream.script.recipients |= {
        "never@example.com": "550 5.1.1 No such user",
        "app@client.test": "550 5.1.1 Sender unknown as well",
    }
    one = relay(providers=[provider("one", upstream.port)]).start()
    message = send(one.door, ["never@example.com"], letter())
    one.wait_for_states(message, never="failed")
    until(
        lambda: ("app@client.test", "550 5.1.1 Sender unknown as well") in upstream.refused, 10, "the bounce is tried"
    )
    until(lambda: one.queue() == [], 10, "it ends there")
    assert one.metric("relay_bounces_total") == 1
    assert upstream.taken == []


def test_B7_null_sender_goes_out_as_null_sender(relay: MAKE, postfix: Callable[..., Postfix]) -> None:
    upstream = postfix()
    one = relay(providers=[provider("postfix", upstream.port)]).start()
    send(one.door, ["bob@example.com"], letter(), sender="")
    assert upstream.wait_for("bob@example.com")[0].sender == ""
    assert "from=<>" in upstream.log_text()


def test_E1_relay_pointed_at_itself_stops(relay: MAKE) -> None:
    one = relay()
    one.config["providers"] = [provider("myself", one.smtp_port)]
    one.start()
    first = send(one.door, ["you@example.com"], letter())
    until(lambda: one.queue() == [], 40, "the loop ended", every=0.5)
    assert one.states(first) == {"you@example.com": "accepted"}
    accepted = one.metric("relay_messages_accepted_total")
    assert accepted <= 110, "50 hops for the message and 50 for its bounce"
    assert any("5.4.6" in str(line.get("reply", "")) for line in one.log())
    never(lambda: one.metric("relay_messages_accepted_total") != accepted, 1, "it goes on")


def test_expired_mail_bounces_once(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    """Three tries are made first, however short the time is."""
    upstream = ledger()
    upstream.script.recipients["slow@example.com"] = "450 4.2.0 Not now"
    retry = {"first": "1s", "max": "1s", "give_up_after": "2s", "warn_after": None}
    one = relay(providers=[provider("one", upstream.port)], retry=retry).start()
    message = send(one.door, ["slow@example.com"], letter())
    one.wait_for_states(message, slow="expired", seconds=20)
    [bounce] = until(lambda: upstream.to("app@client.test"), 10, "the sender hears of it")
    assert status(report(bounce))["Action"] == "failed"
    assert len(upstream.refused) >= 3


def test_delay_warning_is_sent_once(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    upstream.script.recipients["slow@example.com"] = "450 4.2.0 Not now"
    retry = {"first": "1s", "max": "1s", "warn_after": "2s"}
    one = relay(providers=[provider("one", upstream.port)], retry=retry).start()
    send(one.door, ["slow@example.com"], letter())
    [warning] = until(lambda: upstream.to("app@client.test"), 15, "the sender is warned")
    assert status(report(warning))["Action"] == "delayed"
    never(lambda: len(upstream.to("app@client.test")) > 1, 2.5, "a second warning")
    assert len(one.queue()) == 1
