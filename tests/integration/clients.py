"""The programs people really use to send: swaks, curl, msmtp and Python's smtplib, over TCP and unix sockets.

Each takes a `Door` (where and how to knock) and gives a finished process, or the id the relay named.
"""

from __future__ import annotations

import re
import shlex
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from waiting import program

Finished = subprocess.CompletedProcess[str]
QUEUED = re.compile(r"queued as (\w+)")


@dataclass(frozen=True)
class Door:
    """Where a client knocks: a port of 127.0.0.1, or a unix socket. `ca`: trust this file, use STARTTLS."""

    port: int = 0
    path: Path | None = None
    ca: Path | None = None
    user: str = ""
    password: str = ""
    implicit: bool = False


def queued_id(text: str) -> str:
    """The id in `250 2.0.0 Ok: queued as <id>`."""
    found = QUEUED.search(text)
    assert found, text
    return found[1]


def _run(command: Sequence[str], text: str = "") -> Finished:
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)


def swaks(door: Door, to: Sequence[str], *options: str, sender: str = "app@client.test") -> Finished:
    """Send with swaks. Its transcript (`stdout`) holds every reply, also refused ones."""
    where = ["--socket", str(door.path)] if door.path else ["--server", f"127.0.0.1:{door.port}"]
    secure = (["--tls-on-connect"] if door.implicit else ["--tls"]) if door.ca else []
    verify = ["--tls-verify", "--tls-ca-path", str(door.ca)] if door.ca else []
    login = ["--auth", "--auth-user", door.user, "--auth-password", door.password] if door.user else []
    envelope = ["--from", sender, "--to", ",".join(to), "--ehlo", "client.test"]
    return _run([program("swaks"), *where, *secure, *verify, *login, *envelope, *options])


def curl(door: Door, to: Sequence[str], message: str, *options: str, sender: str = "app@client.test") -> Finished:
    """Send with curl; it gives `-v`'s transcript in `stderr`."""
    scheme = "smtps" if door.implicit else "smtp"
    where = ["--unix-socket", str(door.path)] if door.path else []
    secure = ["--ssl-reqd", "--cacert", str(door.ca)] if door.ca else []
    login = ["--user", f"{door.user}:{door.password}"] if door.user else []
    rcpt = [word for address in to for word in ("--mail-rcpt", address)]
    url = f"{scheme}://{'localhost' if door.ca else '127.0.0.1'}:{door.port or 25}/client.test"
    command = [program("curl"), "-v", "--silent", "--show-error", *where, *secure, *login]
    return _run([*command, "--mail-from", sender, *rcpt, "-T", "-", *options, url], message)


def msmtp(door: Door, to: Sequence[str], message: str, sender: str = "app@client.test") -> Finished:
    """Send with msmtp as a program would call sendmail: the message on standard input."""
    where = [f"--socket={door.path}", "--host=localhost"] if door.path else ["--host=localhost", f"--port={door.port}"]
    secure = ["--tls=on", f"--tls-starttls={'off' if door.implicit else 'on'}", f"--tls-trust-file={door.ca}"]
    login = (
        ["--auth=plain", f"--user={door.user}", f"--passwordeval=printf %s {shlex.quote(door.password)}"]
        if door.user
        else []
    )
    options = [*where, *(secure if door.ca else ["--tls=off"]), *login, f"--from={sender}", "--domain=client.test"]
    return _run([program("msmtp"), "--file=/dev/null", "--debug", *options, "--", *to], message)


class UnixSMTP(smtplib.SMTP):
    """Python's smtplib over a unix socket, as a programmer would write it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__("localhost", timeout=30)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        connection.connect(str(self._path))
        return connection


def smtp(door: Door) -> smtplib.SMTP:
    """A logged-in smtplib connection; use it with `with`."""
    trust = ssl.create_default_context(cafile=str(door.ca)) if door.ca else None
    client: smtplib.SMTP
    if door.path:
        client = UnixSMTP(door.path)
    elif door.implicit:
        client = smtplib.SMTP_SSL("localhost", door.port, timeout=60, context=trust, local_hostname="client.test")
    else:
        client = smtplib.SMTP("localhost", door.port, timeout=60, local_hostname="client.test")
    try:
        if trust and not door.implicit:
            client.starttls(context=trust)
        if door.user:
            client.login(door.user, door.password)
    except BaseException:
        client.close()
        raise
    return client


def send(door: Door, to: Sequence[str], message: bytes, sender: str = "app@client.test") -> str:
    """Send one message with smtplib and give the relay's id for it; any refusal raises."""
    with smtp(door) as client:
        return submit(client, to, message, sender)


def submit(client: smtplib.SMTP, to: Iterable[str], message: bytes, sender: str = "app@client.test") -> str:
    """One transaction on an open connection."""
    client.ehlo_or_helo_if_needed()
    for command, expected in (
        (f"MAIL FROM:<{sender}>", 250),
        *((f"RCPT TO:<{address}>", 250) for address in to),
    ):
        code, text = client.docmd(command)
        if code != expected:
            raise smtplib.SMTPResponseException(code, text)
    code, text = client.data(message)
    if code != 250:
        raise smtplib.SMTPResponseException(code, text)
    return queued_id(text.decode())


def letter(subject: str = "hello", body: str = "Hello.\r\n", **headers: str) -> bytes:
    """A small message with CRLF line ends; a keyword like `X_App` becomes the header X-App."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = ["From: App <app@client.test>", "To: you@example.com", f"Subject: {subject}", *lines]
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()
