"""AUTH at one listener: what the accounts say of a login, and how long a wrong one waits for its answer.

One object for each listener, shared by its connections; `session` awaits `check`. It sees passwords pass and neither
judges, keeps nor logs them.
"""

from __future__ import annotations

import enum
from collections import OrderedDict

from relay.listener.exchange import Credentials
from relay.listener.settings import Patience
from relay.model import Scope, implied
from relay.ports import Accounts, Busy

REMEMBERED = 1024  # clients


class Verdict(enum.Enum):
    """NOT_SENDING: the password is right, but this user may do other things only."""

    YES = enum.auto()
    NO = enum.auto()
    NOT_SENDING = enum.auto()
    BUSY = enum.auto()


class Throttle:
    """Failures by client: each doubles the time the next answer to it takes, a quiet quarter of an hour forgives."""

    FORGIVEN = 900.0

    def __init__(self, base: float) -> None:
        self._base = base
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def failed(self, client: str, now: float) -> float:
        """Count one failure; how many seconds to wait before saying so."""
        count, last = self._failures.pop(client, (0, now))
        count = 1 if now - last > self.FORGIVEN else count + 1
        self._failures[client] = (count, now)
        if len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)
        return float(self._base * 2 ** min(count - 1, 4))

    def succeeded(self, client: str) -> None:
        self._failures.pop(client, None)


class Authenticator:
    """Asks the accounts, which know all users, remember successes and turn away who fails too often."""

    def __init__(self, accounts: Accounts, patience: Patience) -> None:
        self.throttle = Throttle(patience.auth_delay)
        self._accounts = accounts

    async def check(self, claim: Credentials, client: str) -> Verdict:
        try:
            account = await self._accounts.authenticate(claim.name, claim.password, client)
        except Busy:
            return Verdict.BUSY
        if account is None:
            return Verdict.NO
        return Verdict.YES if Scope.SEND in implied(account.scopes) else Verdict.NOT_SENDING
