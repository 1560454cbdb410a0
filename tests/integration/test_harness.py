"""The harness itself: its upstreams take what real clients send, keep every byte, and refuse what they should."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from certificates import Certificate
from clients import Door, curl, letter, msmtp, send, smtp, submit, swaks
from ledger import Ledger
from postfix import Postfix
from sink import SmtpSink
from waiting import until

BODY = ".leading dot\r\n..two\r\n\r\n.\r\nlast"


def test_postfix_delivers_every_byte_to_a_logged_in_client(
    postfix: Callable[..., Postfix], certificate: Certificate
) -> None:
    upstream = postfix(auth=True)
    door = Door(port=upstream.port, ca=certificate.ca, user="app", password="right")
    send(door, ["bob@example.com", "amy@example.org"], letter(body=BODY), sender="")
    bob, amy = upstream.wait_for("bob@example.com")[0], upstream.wait_for("amy@example.org")[0]
    assert bob.content == letter(body=BODY + "\r\n").replace(b"\r\n", b"\n") == amy.content
    assert (bob.sender, bob.transaction) == ("", amy.transaction)


def test_postfix_refuses_strangers_wrong_passwords_and_unknown_users(
    postfix: Callable[..., Postfix], certificate: Certificate
) -> None:
    upstream = postfix(auth=True)
    door = Door(port=upstream.port, ca=certificate.ca, user="app", password="right")
    assert "554 5.7.1" in swaks(Door(port=upstream.port, ca=certificate.ca), ["bob@example.com"]).stdout
    assert "550 5.1.1" in swaks(door, ["no-such-user@example.com"]).stdout
    assert "450 4.2.0" in swaks(door, ["greylisted@example.com"]).stdout
    upstream.set_password("app", "changed")
    assert "535 5.7.8" in swaks(door, ["bob@example.com"]).stdout
    assert upstream.delivered() == []


def test_postfix_can_go_and_come_back(postfix: Callable[..., Postfix]) -> None:
    upstream = postfix()
    upstream.stop()
    with pytest.raises(OSError):
        smtp(Door(port=upstream.port))
    upstream.start()
    assert "status=sent" not in upstream.log_text()
    submit_one(upstream.port)
    upstream.wait_for("bob@example.com")
    until(lambda: "status=sent" in upstream.log_text(), 5, "Postfix logs into its own file")


def submit_one(port: int) -> None:
    with smtp(Door(port=port)) as client:
        client.sendmail("app@client.test", ["bob@example.com"], letter())


def test_smtp_sink_keeps_envelope_and_content(sink: Callable[..., SmtpSink]) -> None:
    upstream = sink()
    with smtp(Door(port=upstream.port)) as client:
        client.sendmail("app@client.test", ["bob@example.com", "amy@example.org"], letter(body=BODY))
    got = upstream.wait_for(1)[0]
    assert got.recipients == ("bob@example.com", "amy@example.org")
    assert got.sender == "app@client.test"
    assert got.content == letter(body=BODY + "\r\n").replace(b"\r\n", b"\n")


def test_ledger_keeps_bytes_and_follows_its_script(ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    upstream.script.recipients["full@example.com"] = "450 4.2.2 mailbox full"
    with smtp(Door(port=upstream.port)) as client:
        refused = client.sendmail("app@client.test", ["bob@example.com", "full@example.com"], letter(body=BODY))
    taken = upstream.wait_for(1)[0]
    assert list(refused) == ["full@example.com"]
    assert (taken.recipients, taken.data) == (("bob@example.com",), letter(body=BODY + "\r\n"))
    upstream.stop()
    with pytest.raises(OSError):
        smtp(Door(port=upstream.port))
    upstream.start()
    submit_one(upstream.port)
    assert len(upstream.wait_for(2)) == 2


@pytest.mark.parametrize("secure", [False, True])
def test_clients_send_what_they_are_given(
    postfix: Callable[..., Postfix], certificate: Certificate, secure: bool
) -> None:
    upstream = postfix(auth=secure)
    door = Door(port=upstream.port)
    if secure:
        door = Door(port=upstream.port, ca=certificate.ca, user="app", password="right")
    for number, done in enumerate(
        (
            swaks(door, ["c0@example.com"], "--data", letter(body="Hello.\n").decode().replace("\r\n", "\\n")),
            curl(door, ["c1@example.com"], letter().decode()),
            msmtp(door, ["c2@example.com"], letter().decode().replace("\r\n", "\n")),
        )
    ):
        assert done.returncode == 0, (done.args, done.stdout, done.stderr)
        assert b"Subject: hello\n\nHello." in upstream.wait_for(f"c{number}@example.com")[0].content
    with smtp(door) as client:
        submit(client, ["c3@example.com"], letter())
    assert upstream.wait_for("c3@example.com")[0].content == letter().replace(b"\r\n", b"\n")
