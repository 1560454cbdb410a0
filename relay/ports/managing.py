"""What people manage: providers, accounts, rules, integrations.

Part of `relay.ports`. All that is written is durable on return; StorageFull and StorageFailed of `db` say it is not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from relay.model import (
    Account,
    Attached,
    Counts,
    Health,
    Phase,
    Provider,
    ProviderSettings,
    Registered,
    Registration,
    Scope,
    Token,
    Workflow,
)


class NameTaken(Exception):
    """Names are unique over what the file and the API made."""


class ReadOnly(Exception):
    """It stands in the configuration file and is changed there."""


class Registry(Protocol):
    """Providers of the file and of the API; of those that were removed only that there were some is known."""

    def providers(self) -> Sequence[Registered]:
        """By id."""

    def find(self, id: int) -> Registered | None: ...

    def empty(self) -> bool:
        """No provider exists nor ever did: the relay captures."""

    async def add(self, settings: ProviderSettings, *, default: bool, now: float) -> Registered:
        """Raises NameTaken."""

    async def change(self, id: int, settings: ProviderSettings, *, default: bool, now: float) -> Registered:
        """All of it replaced. Raises LookupError, NameTaken, ReadOnly; `default` and activity may change anywhere."""

    async def remove(self, id: int, now: float) -> None:
        """Its name is free again. Raises LookupError, ReadOnly."""

    async def checked(self, name: str, health: Health) -> None:
        """A check or a delivery told something new of its health."""

    def counts(self, id: int, now: float) -> Counts: ...

    async def rotate(self) -> int:
        """A new encryption key, everything re-encrypted; how many secrets. The old key is gone afterwards."""


class Workflows(Protocol):
    """Rules of the file and of the API. Answers from memory. `document`: as in model.Workflow, already validated."""

    def all(self) -> Sequence[Workflow]:
        """Those of the file first, in its order, then the others by age."""

    def find(self, name: str) -> Workflow | None: ...

    def listening(self, event: str) -> Sequence[Workflow]:
        """Those that an event of this name fires, in the order of `all`, damaged ones too."""

    async def add(self, name: str, document: Mapping[str, object], who: str, now: float) -> Workflow:
        """`name` "": one is made, of its event. Raises NameTaken, TooMany."""

    async def change(
        self, name: str, document: Mapping[str, object], who: str, now: float, *, version: int | None = None
    ) -> Workflow:
        """All of it replaced by a new version. Raises LookupError, ReadOnly; Outdated when it is not at `version`."""

    async def remove(self, name: str, *, version: int | None = None) -> None:
        """Its name is free again, its versions are gone. Raises LookupError, ReadOnly; Outdated as `change`."""

    async def versions(self, name: str) -> Sequence[Workflow]:
        """What it was, newest first, at most a hundred. Raises LookupError. Of the file there is only what is."""


class TooMany(Exception):
    """There may be no more of these; the text says how many there are."""


class Outdated(Exception):
    """Somebody else changed it meanwhile. `version`: what it is at."""

    def __init__(self, version: int) -> None:
        super().__init__(f"it is at version {version}")
        self.version = version


class Integrations(Protocol):
    """Registrations and what they are attached to. Answers from memory; whoever changes something applies it."""

    def registrations(self) -> Sequence[Registration]:
        """By id. A number is never given twice."""

    def registration(self, id: int) -> Registration | None: ...

    async def register(self, integration: str, options: Mapping[str, str], now: float) -> Registration:
        """Raises TooMany."""

    async def unregister(self, id: int) -> int:
        """And its attachments; how many those were. Raises LookupError."""

    def attachments(self, workflow: str = "") -> Sequence[Attached]:
        """By id; "": of every workflow."""

    async def attach(self, workflow: str, registration: int, options: Mapping[str, str], now: float) -> Attached:
        """Raises LookupError when there is no such registration, TooMany."""

    async def detach(self, id: int) -> None:
        """Raises LookupError."""


class Busy(Exception):
    """Too many passwords are being judged, or this one was wrong too often. `seconds`: come back then."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"come back in {seconds:g} s")
        self.seconds = seconds


class Accounts(Protocol):
    """Users and tokens of the file and of the API."""

    def nobody(self) -> bool:
        """There is neither a user nor a token: the API is open to loopback."""

    async def authenticate(self, name: str, password: bytes, client: str) -> Account | None:
        """Who it is, None if the password is wrong or nobody has the name: both take as long. Raises Busy."""

    def bearer(self, secret: str, now: float) -> Token | None:
        """Whose token this is; None: nobody's, or it is revoked, or has expired."""

    def users(self) -> Sequence[Account]: ...

    async def add_user(self, name: str, password: bytes, scopes: Collection[Scope], now: float) -> Account:
        """Raises NameTaken."""

    async def remove_user(self, name: str) -> None:
        """And the sessions of that user. Raises LookupError, ReadOnly."""

    def tokens(self, now: float) -> Sequence[Token]:
        """Those that operators made, expired ones too, without sessions."""

    async def issue(
        self, name: str, scopes: Collection[Scope], now: float, *, user: str = "", seconds: float | None = None
    ) -> tuple[Token, str]:
        """A new token and its secret, which is not kept. Raises NameTaken for one that an operator names."""

    async def revoke(self, id: int) -> None:
        """Raises LookupError."""


class Tested(Struct, frozen=True, kw_only=True):
    """How a test mail went. `message_id`: "smtp_…", when it was taken. `error`: else, with cause and fix."""

    seconds: float
    message_id: str = ""
    error: str = ""


class Checks(Protocol):
    """Asking a provider, now, at the request of a person. Bounded in time."""

    async def check(self, provider: Registered) -> Health:
        """Connect, TLS, AUTH. What is found is kept, and the dispatcher told."""

    async def test(self, provider: Registered, recipient: str) -> Tested:
        """Send it a real mail, which counts against its limits; it is never queued."""

    async def verify(self, provider: Provider) -> Trouble | None:
        """As `check`, of one that does not exist yet: nothing is kept, nobody told. None: all is well."""

    def soon(self, name: str) -> None:
        """If it is out, it is probed within a second: somebody says that it is mended."""


class Trouble(Struct, frozen=True, kw_only=True):
    """Why a server that nobody uses yet cannot be used. `phase`: how far it came. `detail`: cause and fix."""

    phase: Phase
    detail: str
