"""A real Postfix with STARTTLS and SASL as provider: it takes our mail, and refuses us when the password is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from certificates import Certificate
from clients import letter, send, swaks
from postfix import Postfix
from relay_process import Relay, provider
from waiting import until

MAKE = Callable[..., Relay]
BODY = "Hello.\r\n.a dot\r\n"


def secured(upstream: Postfix, certificate: Certificate, **more: Any) -> dict[str, Any]:
    return (
        provider("postfix", upstream.port)
        | {
            "host": "localhost",
            "tls": "starttls",
            "ca_file": str(certificate.ca),
            "username": "app@relay.test",
            "password": "right",
        }
        | more
    )


@pytest.mark.parametrize("auth", ["auto", "plain", "login", "cram-md5"])
def test_tls_and_every_mechanism(
    relay: MAKE, postfix: Callable[..., Postfix], certificate: Certificate, auth: str
) -> None:
    upstream = postfix(auth=True)
    one = relay(providers=[secured(upstream, certificate, auth=auth)]).start()
    message = send(one.door, ["bob@example.com"], letter(body=BODY, Message_ID="<1@x>", Date="today"))
    mail = upstream.wait_for("bob@example.com")[0]
    assert mail.content.startswith(b"Received: ")
    assert mail.content.endswith(letter(body=BODY, Message_ID="<1@x>", Date="today").replace(b"\r\n", b"\n"))
    assert "ESMTPSA" in mail.received
    one.wait_for_states(message, bob="accepted")


def test_implicit_tls(relay: MAKE, postfix: Callable[..., Postfix], certificate: Certificate) -> None:
    upstream = postfix(auth=True)
    one = relay(providers=[secured(upstream, certificate, tls="implicit", port=upstream.tls_port)]).start()
    send(one.door, ["bob@example.com"], letter())
    assert "ESMTPSA" in upstream.wait_for("bob@example.com")[0].received


def test_wrong_password_suspends_says_why_everywhere_and_bounces_nothing(
    relay: MAKE, postfix: Callable[..., Postfix], certificate: Certificate
) -> None:
    upstream = postfix(auth=True)
    one = relay(providers=[secured(upstream, certificate, password="wrong-s3cret")]).start()
    messages = [send(one.door, [f"r{number}@example.com"], letter()) for number in range(3)]

    until(lambda: one.events("provider suspended", provider="postfix"), 10, "the log tells of the suspension")
    line = one.events("provider suspended")[0]
    assert line["level"] == "error"
    assert "535" in line["reply"]
    assert "password" in line["hint"]
    until(lambda: one.metric("relay_provider_healthy", provider="postfix") == 0, 5, "metrics show it unhealthy")
    assert one.metric("relay_provider_healthy") == 0
    for explained in (
        one.cli("explain", "--from", "a@client.test", "--to", "b@example.com").stdout,
        one.cli("explain", "--from", "a@client.test", "--to", "b@example.com", "--json").stdout,
    ):
        assert "535" in explained
        assert "suspended" in explained
    waiting = one.queue()
    assert [message["id"] for message in waiting] == messages
    assert all("535" in message["reason"] or "suspended" in message["reason"] for message in waiting), waiting
    assert one.metric("relay_bounces_total") == 0
    attempts = upstream.log_text().count("authentication failed")
    assert attempts <= 2, "a wrong password is not tried again for every message"
    assert "wrong-s3cret" not in one.log_text() + one.metrics()

    one.config["providers"][0]["password"] = "right"
    one.reload()
    for number in range(3):
        upstream.wait_for(f"r{number}@example.com", seconds=10)
    until(lambda: one.metric("relay_provider_healthy", provider="postfix") == 1, 5, "it is healthy again")
    assert one.queue() == []
    assert all(mail.recipient.startswith("r") for mail in upstream.delivered()), "no bounce arrived anywhere"


def test_C6_unknown_issuer_defers_and_the_password_stays_here(
    relay: MAKE, postfix: Callable[..., Postfix], certificate: Certificate
) -> None:
    upstream = postfix(auth=True)
    one = relay(providers=[secured(upstream, certificate, ca_file=None)]).start()
    message = send(one.door, ["bob@example.com"], letter())
    until(lambda: "certificate" in one.queue()[0]["reason"], 10, "the reason names the certificate")
    assert one.ask("queue", "show", message)["state"] in ("queued", "deferred")
    assert "sasl" not in upstream.log_text().lower()
    assert one.metric("relay_bounces_total") == 0


def test_postfix_stopped_and_started_loses_nothing(relay: MAKE, postfix: Callable[..., Postfix]) -> None:
    upstream = postfix()
    one = relay(
        providers=[provider("postfix", upstream.port)],
        circuit={"failures": 2, "open": "1s", "max_open": "2s"},
        retry={"first": "2s"},
    ).start()
    before = send(one.door, ["before@example.com"], letter())
    one.wait_for_states(before, before="accepted")  # in its mailbox it can be sooner than Postfix says so
    upstream.stop()
    for number in range(10):
        assert swaks(one.door, [f"r{number}@example.com"]).returncode == 0
    upstream.start()
    for number in range(10):
        upstream.wait_for(f"r{number}@example.com", seconds=20)
    assert len(upstream.delivered()) == 11, sorted(mail.recipient for mail in upstream.delivered())
