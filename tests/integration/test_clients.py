"""Real clients in, bytes out unchanged: swaks, curl, msmtp and smtplib, plain, with TLS and AUTH, over unix sockets."""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import Certificate
from clients import Door, curl, letter, msmtp, queued_id, send, smtp, submit, swaks
from ledger import Ledger
from relay_process import Relay, provider
from waiting import until

MAKE = Callable[..., Relay]
TEXT = letter(
    body="Hello.\r\n.a dot\r\n", Message_ID="<1@client.test>", Date="Sat, 21 Nov 2026 10:00:00 +0000"
).decode()


def doors(one: Relay, certificate: Certificate, kind: str) -> Door:
    """Give the relay a listener of this kind, and the door to it."""
    secured = {"tls": kind, "cert": str(certificate.cert), "key": str(certificate.key), "auth": "required"}
    address = f"127.0.0.1:{one.smtp_port}"
    if kind == "unix":
        path = one.folder / "smtp.sock"
        one.config["listeners"] = [{"name": "internal", "listen": f"unix:{path}"}]
        return Door(path=path)
    if kind == "plain":
        return one.door
    one.config["listeners"] = [{"name": "internal", "listen": address} | secured]
    one.config["users"] = [{"name": "crm", "password": "correct horse"}]
    return Door(
        port=one.smtp_port, ca=certificate.ca, user="crm", password="correct horse", implicit=kind == "implicit"
    )


def by_swaks(door: Door, to: list[str]) -> str:
    done = swaks(door, to, "--data", TEXT.replace("\r\n", "\\n"))
    assert done.returncode == 0, done.stdout + done.stderr
    return queued_id(done.stdout)


def by_curl(door: Door, to: list[str]) -> str:
    done = curl(door, to, TEXT)
    assert done.returncode == 0, done.stderr
    return queued_id(done.stderr)


def by_msmtp(door: Door, to: list[str]) -> str:
    done = msmtp(door, to, TEXT.replace("\r\n", "\n"))
    assert done.returncode == 0, done.stdout + done.stderr
    return queued_id(done.stdout + done.stderr)


def by_smtplib(door: Door, to: list[str]) -> str:
    return send(door, to, TEXT.encode())


@pytest.mark.parametrize("kind", ["plain", "starttls", "implicit", "unix"])
def test_clients(relay: MAKE, ledger: Callable[[], Ledger], certificate: Certificate, kind: str) -> None:
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)])
    door = doors(one, certificate, kind)
    one.start()
    for number, client in enumerate((by_swaks, by_curl, by_msmtp, by_smtplib)):
        to = [f"a{number}@example.com", f"b{number}@example.org"]
        message = client(door, to)
        taken = upstream.wait_for(number + 1)[number]
        assert (taken.sender, list(taken.recipients)) == ("app@client.test", to)
        received, _, rest = taken.data.partition(b"\r\nFrom: ")
        assert received.startswith(b"Received: from ")
        assert message.encode() in received
        # swaks and msmtp end what they send with an empty line or two of their own.
        assert (b"From: " + rest).rstrip(b"\r\n") == TEXT.encode().rstrip(b"\r\n")


def test_one_id_everywhere(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)]).start()
    message = send(one.door, ["you@example.com"], letter())
    taken = upstream.wait_for(1)[0]
    assert taken.data.startswith(b"Received: ")
    assert message.encode() in taken.data.split(b"\r\nFrom:")[0]
    until(lambda: one.events("delivered", message=message), 5, "the attempt is logged with the id")
    assert [line["event"] for line in one.events("", message=message)] == ["message accepted", "delivered"]
    one.wait_for_states(message, you="accepted")
    shown = one.ask("queue", "show", message)
    assert shown["timeline"][-1]["provider"] == "one"
    assert one.queue() == []


def test_missing_message_id_and_date_are_added_and_nothing_else(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)]).start()
    send(one.door, ["you@example.com"], letter(body="Hello.\r\n"))
    head, _, body = upstream.wait_for(1)[0].data.partition(b"\r\n\r\n")
    ours, _, theirs = head.partition(b"From: App")
    assert body == b"Hello.\r\n"
    assert theirs == b" <app@client.test>\r\nTo: you@example.com\r\nSubject: hello"
    assert b"\r\nMessage-ID: <" in ours
    assert b"\r\nDate: " in ours


def test_wrong_password_is_refused(relay: MAKE, certificate: Certificate) -> None:
    one = relay()
    door = doors(one, certificate, "starttls")
    one.start()
    wrong = Door(port=door.port, ca=door.ca, user="crm", password="wrong")
    with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        smtp(wrong)
    assert refused.value.smtp_code == 535
    with smtp(Door(port=door.port, ca=door.ca)) as client, pytest.raises(smtplib.SMTPResponseException) as needed:
        submit(client, ["you@example.com"], letter())
    assert needed.value.smtp_code == 530
    assert one.queue() == []


def test_B9_client_outside_allow_is_refused(relay: MAKE) -> None:
    one = relay()
    one.config["listeners"][0]["allow"] = ["10.0.0.0/8"]
    one.start()
    done = swaks(one.door, ["you@example.com"])
    assert done.returncode != 0
    assert "554 5.7.1" in done.stdout


def test_E5_dots_first_and_last_lines_pass_byte_for_byte(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)]).start()
    bodies = [
        ".\r\n",
        "..\r\n",
        ".x\r\n",
        "a\r\n.\r\n..\r\n...\r\nb\r\n.\r\n",
        "\r\n\r\n.\r\n\r\n",
        " \r\n",
        "tab\t \r\n",
    ]
    with smtp(one.door) as client:
        for number, body in enumerate(bodies):
            submit(client, [f"r{number}@example.com"], letter(body=body))
    upstream.wait_for(len(bodies))
    for number, body in enumerate(bodies):
        [taken] = upstream.to(f"r{number}@example.com")
        assert taken.data.partition(b"\r\n\r\n")[2] == body.encode()


def test_E6_odd_messages_are_delivered(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)]).start()
    odd = [b"", b"\r\n", b"no header at all\r\n", b"Subject: only a header\r\n", letter(Message_ID="<same@x>")]
    with smtp(one.door) as client:
        for message in [*odd, odd[-1]]:
            submit(client, ["you@example.com"], message)
    taken = upstream.wait_for(len(odd) + 1)
    assert len({mail.data for mail in taken}) == len(odd) + 1, "two of one Message-ID are two messages"


def test_several_listeners(relay: MAKE, ledger: Callable[[], Ledger], tmp_path: Path) -> None:
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)])
    path = one.folder / "app.sock"
    one.config["listeners"].append({"name": "local", "listen": f"unix:{path}"})
    one.start()
    send(one.door, ["tcp@example.com"], letter())
    send(Door(path=path), ["unix@example.com"], letter())
    upstream.wait_for(2)
    until(lambda: len(one.events("message accepted")) == 2, 5, "two log lines")
    assert {line["listener"] for line in one.events("message accepted")} == {"internal", "local"}
