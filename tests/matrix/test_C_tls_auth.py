"""C1, C2, C3 and L8 from outside: STARTTLS with something behind it, and passwords said where nobody asked for them.

One relay process with a listener of each kind, logging at debug level. Stalled handshakes are in test_D_patience.
"""

from __future__ import annotations

import base64
import contextlib
import ssl
from collections.abc import Callable

import pytest
from certificates import Certificate
from matrix.client import Client, connected, opened, until
from matrix.scribe import Scribe
from relay_process import Relay, provider
from waiting import free_port

MAKE = Callable[..., Relay]
INJECTED = b"EHLO evil.test\r\nMAIL FROM:<injected@c1.test>\r\nRCPT TO:<injected@c1.test>\r\nDATA\r\n.\r\n"


@pytest.fixture
def ports(relay: MAKE, certificate: Certificate) -> Callable[..., tuple[Relay, dict[str, int]]]:
    """A relay with plain listeners, by their `auth`, and one with STARTTLS and one with implicit TLS."""

    def start(**config: object) -> tuple[Relay, dict[str, int]]:
        one = relay(log={"level": "debug", "format": "json"}, **config)
        secured = {"cert": str(certificate.cert), "key": str(certificate.key)}
        kinds = {
            "none": {},
            "optional": {"auth": "optional"},
            "any": {"auth": "any"},
            "starttls": {"tls": "starttls", "auth": "required", **secured},
            "implicit": {"tls": "implicit", "auth": "none", **secured},
        }
        listen = {name: free_port() for name in kinds}
        one.config["listeners"] = [
            {"name": name, "listen": f"127.0.0.1:{listen[name]}", **more} for name, more in kinds.items()
        ]
        one.config["users"] = [{"name": "crm", "password": f"{CANARY}-right"}]
        return one.start(), listen

    return start


def trusting(certificate: Certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate.ca))


async def test_C1_what_is_said_behind_starttls_is_never_obeyed(ports, certificate: Certificate) -> None:
    """In one segment it is discarded; in later ones it is no handshake. Neither reaches the upstream."""
    async with Scribe() as upstream:
        one, port = ports(providers=[provider("p", upstream.port)])
        async with connected(port["starttls"]) as client:
            client.send(b"STARTTLS\r\n" + INJECTED)
            await client.expect(b"220")
            await client.writer.start_tls(trusting(certificate), server_hostname="localhost")
            assert (await client.say(b"MAIL FROM:<a@c1.test>")).startswith(b"503 "), "EHLO of before is forgotten too"
            client.send(b"EHLO client.test\r\n")
            await client.expect(b"250")
            for line in (b"RCPT TO:<b@c1.test>", b"DATA"):
                assert (await client.say(line)).startswith(b"530 "), line
            login = base64.b64encode(b"\0crm\0" + RIGHT)
            assert (await client.say(b"AUTH PLAIN " + login)).startswith(b"235 ")
            assert (await client.say(b"RCPT TO:<b@c1.test>")).startswith(b"503 ")
            client.send(b"MAIL FROM:<a@c1.test>\r\nRCPT TO:<b@c1.test>\r\nDATA\r\n.\r\n")
            await client.expect(b"250", b"250", b"354", b"250")
        async with connected(port["starttls"]) as client:
            assert (await client.say(b"STARTTLS")).startswith(b"220 ")
            client.send(INJECTED)
            assert b"250" not in await client.rest()
        await until(lambda: upstream.taken, 10, "the true message")
        assert [mail.mail[:21] for mail in upstream.taken] == [b"MAIL FROM:<a@c1.test>"]
        assert b" with ESMTPSA id " in upstream.taken[0].wire
        assert one.queue() == []


async def test_C2_a_transaction_does_not_survive_starttls(relay: MAKE, certificate: Certificate) -> None:
    one = relay()
    one.config["listeners"][0] |= {"tls": "starttls", "cert": str(certificate.cert), "key": str(certificate.key)}
    one.start()
    async with connected(one.smtp_port) as client:
        client.send(b"MAIL FROM:<a@c2.test>\r\nRCPT TO:<b@c2.test>\r\nSTARTTLS\r\n")
        await client.expect(b"250", b"250", b"220")
        await client.writer.start_tls(trusting(certificate), server_hostname="localhost")
        assert (await client.say(b"DATA")).startswith(b"503 5.5.1 ")
        client.send(b"EHLO client.test\r\nDATA\r\nRCPT TO:<c@c2.test>\r\nSTARTTLS\r\n")
        await client.expect(b"250", b"503", b"503", b"503")
        client.send(b"MAIL FROM:<a@c2.test>\r\nDATA\r\n")
        await client.expect(b"250", b"554")
        await client.quit()


CANARY = "c4n4ry-Qx7"
RIGHT = f"{CANARY}-right".encode()
PLAIN = base64.b64encode(f"\0crm\0{CANARY}-wrong".encode())
LOGIN = [base64.b64encode(word) for word in (f"{CANARY}-name".encode(), f"{CANARY}-wrong".encode())]
EXCHANGES = [
    [b"AUTH PLAIN " + PLAIN],
    [b"AUTH PLAIN", PLAIN],
    [b"AUTH LOGIN", *LOGIN],
    [b"AUTH LOGIN " + LOGIN[0], LOGIN[1]],
    [b"AUTH CRAM-MD5", *LOGIN],
    [b"AUTH XOAUTH2 " + PLAIN],
    [b"AUTH " + PLAIN],
    [b"AUTH PLAIN " + PLAIN[:-1] + b"!"],
    [b"AUTH PLAIN " + CANARY.encode()],
    [b"AUTH PLAIN " + PLAIN + b"\n"],
    [b"AUTH PLAIN\0" + PLAIN],
    [b"AUTH PLAIN", PLAIN + b"\0"],
    [b"AUTH PLAIN " + PLAIN * 400],
    [b"AUTH LOGIN", LOGIN[0] * 1500],
    [b"AUTH LOGIN", b"*", LOGIN[1]],
    [b"AUTH PLAIN " + base64.b64encode(b"\0crm\0" + RIGHT)],
]


WRONG = 4
"""So many of them are wrong passwords where one is asked for. Each costs a client more time, so two have to do."""


def disguises() -> set[str]:
    """The canary as it may show up: plain, in base64 at each of its three phases, and as hexadecimal digits."""
    texts = {CANARY, CANARY.encode().hex()}
    for phase in range(3):
        coded = base64.b64encode(b"\0" * phase + CANARY.encode()).decode()
        texts.add(coded[phase and 4 : -4])
    return {text.lower() for text in texts}


async def test_C3_L8_no_password_is_logged_or_echoed_wherever_it_is_said(ports, certificate: Certificate) -> None:
    one, port = ports()
    said = b""

    async def talk(client: Client, lines: list[bytes]) -> bytes:
        client.send(b"".join(line + b"\r\n" for line in lines) + b"QUIT\r\n" * 3)
        with contextlib.suppress(ConnectionError):
            return await client.rest()
        return b""

    for number, lines in enumerate(EXCHANGES):
        for name in ("none", "any", *(["starttls"] if number >= WRONG else [])):
            async with connected(port[name]) as client:
                heard = await talk(client, lines)
                said += heard
                assert name == "any" or b"235" not in heard or RIGHT in base64.b64decode(lines[0][11:]), (name, lines)
                assert name != "none" or heard.startswith((b"502 5.5.1 ", b"500 5.5.2 ")), (name, lines, heard)
        async with connected(port["implicit"], trusting(certificate)) as client:
            said += await talk(client, lines)
    for lines in EXCHANGES[1:WRONG:2]:
        async with opened(port["optional"]) as client:
            await client.expect(b"220")
            said += await talk(client, [b"EHLO " + LOGIN[1][:10], *lines])
    written = "\n".join((one.log_text(), one.metrics(), said.decode("latin-1"))).lower()
    assert "connection opened" in written, "the log is at debug level"
    for text in disguises():
        assert text not in written, text
