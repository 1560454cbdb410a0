"""What went wrong on the way to an upstream, in words a person can act on: exceptions in, Replies out.

Called by dial, connect and pool. Never does I/O, never raises, never repeats a secret.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from relay.model import Phase, Provider, Reply
from relay.smtp.reply import printable
from relay.smtp.transcript import trimmed

_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})\s+", re.ASCII)
_MAX_TEXT = 1_000
_MAX_FOUND = 500

# OpenSSL's verify codes (openssl-verification-options(1)): what it is, and what mends it.
_CERTIFICATES = {
    9: "is not valid yet: is the clock of this machine right?",
    10: "has expired: the provider must renew it, or the clock of this machine is wrong",
    18: "is self-signed: name it in ca_file if it is to be trusted",
    19: "is signed by an unknown root: name that root in ca_file if it is to be trusted",
    20: "is from an unknown issuer: name the issuer in ca_file if it is to be trusted",
    21: "is from an unknown issuer: name the issuer in ca_file if it is to be trusted",
    23: "was revoked",
    62: "is for another name: set host to a name in the certificate",
    64: "is for another address: set host to a name in the certificate",
}
_PLAIN_PORT = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNEXPECTED_MESSAGE")
_OLD_TLS = ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE", "VERSION_TOO_LOW")
_CONNECTING = {
    errno.ECONNREFUSED: "connection refused: nothing listens there, is host or port wrong?",
    errno.ENETUNREACH: "network is unreachable",
    errno.EHOSTUNREACH: "host is unreachable",
    errno.EADDRNOTAVAIL: "no local address to connect from",
    errno.EMFILE: "this process has no file descriptors left: raise its limit (LimitNOFILE)",
    errno.EACCES: "connecting is forbidden here: a firewall or a sandbox",
    errno.EPERM: "connecting is forbidden here: a firewall or a sandbox",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why there is no connection: where it stopped, and the upstream's reply (`heard`) or our words for the cause.

    `conversation`: what was said until then, as in DeliveryOutcome.
    """

    phase: Phase
    reply: Reply
    heard: bool = False
    conversation: tuple[str, ...] = ()

    def after(self, notes: Iterable[str]) -> Failure:
        """The same, at the end of a conversation."""
        last = f"S: {self.reply}" if self.heard else f"-- {self.reply.text}"
        return replace(self, conversation=trimmed((*notes, last)))


def failed(phase: Phase, code: int, enhanced: str, text: str) -> Failure:
    return Failure(phase=phase, reply=Reply(code=code, enhanced=enhanced, text=text))


def unresolved(provider: Provider, error: OSError | UnicodeError | None) -> Failure:
    """DNS trouble is never for ever (hazard F7). `error` None: it took too long."""
    if error is None:
        why = f"no answer from DNS within {provider.timeouts.connect:g} s"
    elif isinstance(error, socket.gaierror) and error.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
        why = "the name does not resolve: is host spelled right?"
    else:
        why = f"the name could not be looked up: {error}"
    return failed(Phase.CONNECT, 451, "4.4.3", f"{provider.host}: {why}")


def walled(provider: Provider, why: Mapping[str, str]) -> Failure:
    """It was made over HTTP and leads to nothing public (hazard H2). `why`: what is wrong with each address."""
    found = "; ".join(f"{address}, {problem.removeprefix('is ')}" for address, problem in why.items()) or "no address"
    text = f"{provider.host} resolves to {found}"[:_MAX_FOUND]
    fix = "providers made over HTTP may not lead there: set http.allow_private_providers"
    return failed(Phase.CONNECT, 451, "4.4.3", f"{text}; {fix}")


def unreached(provider: Provider, errors: list[tuple[str, OSError]]) -> Failure:
    """No address took the connection. `errors`: by address; empty: none answered in time."""
    if not errors:
        text = f"no answer within {provider.timeouts.connect:g} s: a firewall, or the port is blocked"
    else:
        text = "; ".join(dict.fromkeys(f"{address} {_connecting(error)}" for address, error in errors))
    return failed(Phase.CONNECT, 421, "4.4.1", f"{provider.host} port {provider.port}: {text}")


def _connecting(error: OSError) -> str:
    return _CONNECTING.get(error.errno or 0) or error.strerror or str(error)


def insecure(provider: Provider, error: BaseException) -> Failure:
    """The TLS handshake failed."""
    return failed(Phase.TLS, 454, "4.7.5", f"{provider.host} port {provider.port}: {_handshake(provider, error)}")


def _handshake(provider: Provider, error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate {_CERTIFICATES.get(error.verify_code, f'is not valid: {error.verify_message}')}"
    if isinstance(error, TimeoutError | ConnectionAbortedError):
        return f"the TLS handshake did not end within {provider.timeouts.connect:g} s"
    reason = getattr(error, "reason", None) or ""
    if reason in _PLAIN_PORT:
        return "this port does not begin with TLS: use tls: starttls, or another port"
    if reason in _OLD_TLS:
        return "offers no TLS newer than 1.1, which is not safe"
    return f"the TLS handshake failed: {reason or printable(str(error).encode(errors='replace')) or 'connection lost'}"


def silent(provider: Provider, phase: Phase, error: BaseException, *, encrypted: bool = False) -> Failure:
    """No reply: the connection ended, or time ran out. `encrypted`: it began with TLS."""
    late = isinstance(error, TimeoutError)
    text = "did not answer in time" if late else "closed the connection"
    if phase is Phase.BANNER and not encrypted:
        text += " instead of greeting: if this port begins with TLS, use tls: implicit"
    return failed(phase, 421, "4.4.2", f"{provider.host} port {provider.port} {text} ({phase.upper()})")


def refused(provider: Provider, phase: Phase, code: int, message: str) -> Failure:
    """The upstream's own reply, `message` as aiosmtplib gives it. One without a meaning here becomes a 4xx."""
    text = one_line(message)
    text = without_secret(provider, text) if phase is Phase.AUTH else text
    if not 400 <= code <= 599:
        return failed(phase, 421, "4.5.0", f"{provider.host} answered {phase.upper()} with: {code} {text}"[:_MAX_TEXT])
    enhanced = _ENHANCED.match(text)
    if enhanced and enhanced[1][0] == str(code)[0]:
        reply = Reply(code=code, enhanced=enhanced[1], text=text[enhanced.end() :][:_MAX_TEXT])
    else:
        reply = Reply(code=code, text=text[:_MAX_TEXT])
    return Failure(phase=phase, reply=reply, heard=True)


def one_line(message: str) -> str:
    """What an upstream said, as aiosmtplib gives it, safe to show."""
    return " / ".join(printable(line.encode(errors="surrogateescape")).strip() for line in message.split("\n"))


def without_secret(provider: Provider, text: str) -> str:
    """Some servers quote the command they did not understand, or its beginning; here that is a password."""
    password = provider.password.encode(errors="replace")
    plain = b"\0" + provider.username.encode(errors="replace") + b"\0" + password
    for secret in (b64encode(plain), b64encode(password), password):
        if secret:
            text = re.sub(re.escape(secret[:8].decode()) + r"[^\s\"']*", "***", text)
    return text
