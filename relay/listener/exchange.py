"""The conversation of AUTH PLAIN (RFC 4616) and AUTH LOGIN, without I/O: lines in, challenges or credentials out.

`session` feeds it the lines that follow AUTH. It never judges a password, logs a line or echoes one.
"""

from __future__ import annotations

import binascii
from typing import NamedTuple

from relay.listener.replies import (
    ASK,
    ASK_PASSWORD,
    ASK_USER,
    AUTH_CANCELLED,
    AUTH_MALFORMED,
    AUTH_MECHANISM,
    Refusal,
)

LONGEST_LINE = 12288  # RFC 4954 4


class Credentials(NamedTuple):
    name: str
    password: bytes

    def __repr__(self) -> str:
        return "Credentials(...)"


Step = bytes | Refusal | Credentials
"""A challenge to send, a refusal that ends the exchange, or what the client claims."""


class Exchange:
    """One AUTH command. `lenient` (auth: any): whatever is sent makes credentials."""

    __slots__ = ("_lenient", "_mechanism", "_name")

    def __init__(self, lenient: bool = False) -> None:
        self._lenient = lenient
        self._mechanism = b""
        self._name: bytes | None = None

    def start(self, argument: bytes) -> Step:
        """`argument`: what follows AUTH, a mechanism and maybe an initial response ("=" for an empty one)."""
        mechanism, _, initial = argument.strip().partition(b" ")
        self._mechanism = mechanism.upper()
        if self._mechanism not in (b"PLAIN", b"LOGIN"):
            return AUTH_MECHANISM
        if initial:
            return self.step(b"" if initial == b"=" else initial)
        return ASK if self._mechanism == b"PLAIN" else ASK_USER

    def step(self, line: bytes) -> Step:
        if line == b"*":  # RFC 4954 4: the client cancels
            return AUTH_CANCELLED
        try:
            decoded = binascii.a2b_base64(line, strict_mode=True)
        except binascii.Error:
            if not self._lenient:
                return AUTH_MALFORMED
            decoded = b""
        return self._plain(decoded) if self._mechanism == b"PLAIN" else self._login(decoded)

    def _plain(self, message: bytes) -> Step:
        parts = message.split(b"\0")
        if len(parts) != 3 or not parts[1]:
            return Credentials("", b"") if self._lenient else AUTH_MALFORMED
        authorize, name, password = parts
        if authorize not in (b"", name) and not self._lenient:
            return AUTH_MALFORMED  # nobody may act for somebody else
        return self._claim(name, password)

    def _login(self, answer: bytes) -> Step:
        if self._name is None:
            self._name = answer
            return ASK_PASSWORD
        return self._claim(self._name, answer)

    def _claim(self, name: bytes, password: bytes) -> Step:
        try:
            text = name.decode()
        except UnicodeDecodeError:
            text = ""
        printable = text if text.isprintable() else ""
        if not printable and not self._lenient:
            return AUTH_MALFORMED
        return Credentials(printable, password)
