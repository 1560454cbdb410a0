"""What must not be seen anywhere (H8), what must stay one line (H9), and what must not grow with strangers (H10)."""

from __future__ import annotations

import smtplib
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import Certificate
from clients import Door, letter, send, smtp
from ledger import Ledger
from relay_process import Relay, provider
from waiting import until

MAKE = Callable[..., Relay]
CANARY = "c4n4ry-Zr8"


def test_H8_secrets_subjects_and_content_are_nowhere(
    relay: MAKE, ledger: Callable[[], Ledger], certificate: Certificate
) -> None:
    upstream = ledger()
    upstream.script.login = ("app", f"{CANARY}-provider")
    one = relay(
        log={"level": "debug", "format": "json"},
        users=[{"name": "crm", "password": f"{CANARY}-user"}],
        providers=[provider("one", upstream.port, username="app", password=f"{CANARY}-provider")],
    )
    one.config["listeners"][0] |= {
        "tls": "starttls",
        "cert": str(certificate.cert),
        "key": str(certificate.key),
        "auth": "required",
    }
    one.start()
    door = Door(port=one.smtp_port, ca=certificate.ca, user="crm", password=f"{CANARY}-user")
    message = send(door, ["you@example.com"], letter(subject=f"{CANARY}-subject", body=f"{CANARY}-body\r\n"))
    upstream.wait_for(1)
    with pytest.raises(smtplib.SMTPAuthenticationError):
        smtp(Door(port=one.smtp_port, ca=certificate.ca, user="crm", password=f"{CANARY}-wrong"))
    said = [unsolicited_login(one.smtp_port)]

    one.config["providers"][0]["password"] = f"{CANARY}-refused"
    one.reload()
    waiting = send(door, ["me@example.com"], letter(subject=f"{CANARY}-subject"))
    until(lambda: one.events("provider suspended"), 10, "the provider refuses the new password")
    one.write(
        f"providers: [{{name: one, host: h.test, password: [{CANARY}]}}]\nusers: [{{name: a, pasword: {CANARY}}}]\n"
    )
    one.hang_up()
    for command in (
        ("queue", "list", "--json"),
        ("queue", "show", message, "--json"),
        ("queue", "show", waiting),
        ("queue", "stats"),
        ("explain", "--from", "a@client.test", "--to", "b@example.com", "--json"),
        ("check",),
    ):
        done = one.cli(*command)
        said += [done.stdout, done.stderr]
    said += [one.log_text(), one.metrics(), Path(f"/proc/{one.pid}/cmdline").read_text()]
    said += [one.get(path)[1] for path in ("/readyz", "/healthz", f"/v1/messages/{message}", "/v1/explain")]
    for text in said:
        assert CANARY not in text


def unsolicited_login(port: int) -> str:
    """L8: the lines of an AUTH LOGIN that was refused. Gives what the relay answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client, client.makefile("rb") as replies:
        client.sendall(f"EHLO x\r\nAUTH LOGIN\r\n{CANARY}-base64\r\n{CANARY}-base64\r\nQUIT\r\n".encode())
        return replies.read().decode()


def test_H9_one_event_is_one_line_without_control_characters(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    evil = 'forged\x1b[2J\x07\x00 {"event":"fake"}'
    upstream.script.recipients["you@example.com"] = f"550 5.1.1 {evil}"
    one = relay(providers=[provider("one", upstream.port)]).start()
    with socket.create_connection(("127.0.0.1", one.smtp_port), timeout=10) as client, client.makefile("rb") as replies:
        client.sendall(b"EHLO x\x1b[31m\r\nMAIL FROM:<\x1b[31m@x>\r\nNONSENSE \x1b]0;title\x07\r\nQUIT\r\n")
        answers = replies.read()
    assert b"\x1b" not in answers
    message = send(one.door, ["you@example.com"], letter())
    one.wait_for_states(message, you="failed")
    text = one.log_text()
    assert len(one.log()) == len(text.splitlines()), "every line is JSON"
    assert not [character for character in text if ord(character) < 32 and character != "\n"]
    assert one.events("fake") == []
    shown = one.cli("queue", "show", message).stdout
    assert "forged" in shown
    assert not [character for character in shown if ord(character) < 32 and character not in "\n\t"]


def test_H10_strangers_do_not_make_series(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)]).start()

    def series() -> set[str]:
        return {line.rsplit(" ", 1)[0] for line in one.metrics().splitlines() if line.startswith("relay_")}

    send(one.door, ["first@example.com"], letter())
    upstream.wait_for(1)
    until(lambda: one.metric("relay_delivery_attempts_total") == 1, 5, "it is counted")
    before = series()
    for number in range(100):
        send(one.door, [f"r{number}@d{number}.example.com"], letter(), sender=f"s{number}@d{number}.test")
    upstream.wait_for(101)
    assert series() == before


def test_redact_masks_local_parts(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)], log={"format": "json", "redact": True}).start()
    send(one.door, ["somebody@example.com"], letter())
    upstream.wait_for(1)
    until(lambda: one.events("delivered"), 5, "the attempt is logged")
    assert "somebody" not in one.log_text()
    assert "s…@example.com" in one.events("delivered")[0]["to"]
