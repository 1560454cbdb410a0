"""What all connections of one listener under one set of settings share, built once (hazard L12).

`server` builds it at start and at reload; connections keep the one they were made with. It holds no connection state.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from relay.events import ConnectionClosed, ConnectionOpened, Observer
from relay.listener import tls
from relay.listener.admission import Admission, Room
from relay.listener.auth import Authenticator
from relay.listener.settings import Settings
from relay.ports import Accounts, Clock, Intake


def never() -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What `app` hands in. `capturing`: whether mail is captured now; `monotonic`: seconds that never go back.
    `room`: one for all listeners of a process. `accounts`: who may log in, at every moment.
    """

    intake: Intake
    accounts: Accounts
    observe: Observer
    clock: Clock
    monotonic: Callable[[], float]
    capturing: Callable[[], bool] = never
    room: Room = field(default_factory=Room)


class Service:
    """Settings made ready for use. Raises ListenerError when the certificate cannot be used."""

    __slots__ = ("_greetings", "admission", "authenticator", "closed", "opened", "ports", "settings", "tls_context")

    def __init__(self, settings: Settings, ports: Ports, admission: Admission) -> None:
        self.settings = settings
        self.ports = ports
        self.admission = admission
        self.opened = ConnectionOpened(listener=settings.name)
        self.closed = ConnectionClosed(listener=settings.name)
        self.tls_context: ssl.SSLContext | None = tls.context(settings)
        self.authenticator = Authenticator(ports.accounts, settings.patience)
        self._greetings = {
            (secure, auth): self._greeting(secure, auth) for secure in (False, True) for auth in (False, True)
        }

    def banner(self) -> bytes:
        mode = " (capture mode: mail is kept, not sent)" if self.ports.capturing() else ""
        return f"220 {self.settings.hostname} ESMTP smtp-relay{mode}\r\n".encode()

    def ehlo(self, *, secure: bool, auth: bool) -> bytes:
        return self._greetings[secure, auth]

    def offers_auth(self, *, secure: bool, local: bool) -> bool:
        """Passwords go through TLS or stay on this machine; `any` checks nothing, so there is nothing to protect."""
        mode = self.settings.auth
        return mode == "any" or (mode != "none" and (secure or local))

    def _greeting(self, secure: bool, auth: bool) -> bytes:
        words = ["PIPELINING", f"SIZE {self.settings.max_message_size}", "8BITMIME", "SMTPUTF8"]
        words += ["ENHANCEDSTATUSCODES", "DSN"]
        if self.settings.tls == "starttls" and not secure:
            words.append("STARTTLS")
        if auth:
            words.append("AUTH PLAIN LOGIN")
        lines = [f"250-{line}\r\n" for line in (self.settings.hostname, *words[:-1])]
        return "".join([*lines, f"250 {words[-1]}\r\n"]).encode()
