"""What has been said so far on one connection: greeting, login, and the message under way.

`commands` reads and changes it, `receive` makes the message from it. It does no I/O.
"""

from __future__ import annotations

import asyncio

import aiosmtpd.smtp
from msgspec.structs import replace

from relay.listener.admission import Client
from relay.listener.replies import TOO_MUCH_JUNK, Refusal
from relay.listener.service import Service
from relay.model import Recipient, Source
from relay.smtp.parameters import MailParameters


class Transaction:
    """A MAIL that was accepted and its RCPTs. `recipients` is by address: the first of two equal ones wins."""

    __slots__ = ("began", "overshoot", "parameters", "recipients", "repeated", "sender")

    def __init__(self, sender: str, parameters: MailParameters, began: float) -> None:
        self.sender = sender
        self.parameters = parameters
        self.began = began
        self.recipients: dict[str, Recipient] = {}
        self.overshoot = 0
        self.repeated = 0


class Talk(aiosmtpd.smtp.Session):
    """aiosmtpd's session data, and ours. STARTTLS replaces it by a new one (RFC 3207 4.2: all knowledge is discarded).

    `helo`: what the client calls itself, "" until it said so. `source`: who it is, as messages say it. `failures`:
    failed logins. `idle`: commands that brought no mail forward, `refused`: refusals, both since the last message.
    """

    def __init__(self, service: Service, client: Client, loop: asyncio.AbstractEventLoop, secure: bool = False) -> None:
        super().__init__(loop)
        self.service = service
        self.origin = client
        self.client = client.name
        self.secure = secure
        self.may_auth = service.offers_auth(secure=secure, local=client.local)
        self.helo = ""
        self.source = Source(kind="smtp", listener=service.settings.name, client=client.name)
        self.mail: Transaction | None = None
        self.idle = 0
        self.refused = 0
        self.failures = 0

    def secured(self) -> Talk:
        """The talk that goes on inside TLS; only the budgets are remembered."""
        inside = Talk(self.service, self.origin, self.loop, secure=True)
        inside.idle, inside.refused, inside.failures = self.idle, self.refused, self.failures
        return inside

    def log_in(self, user: str) -> None:
        self.authenticated = True
        self.source = replace(self.source, user=user)

    def filler(self, answer: bytes) -> bytes | Refusal:
        """`answer`, unless too many commands brought no mail forward (hazard L6: NOOP keeps a session for ever)."""
        self.idle += 1
        return answer if self.idle <= self.service.settings.patience.junk else TOO_MUCH_JUNK

    def delivered(self) -> None:
        """A message was accepted: the budgets begin anew, there is no cap by message count."""
        self.idle = self.refused = 0
