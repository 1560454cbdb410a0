"""An API to send with, without sockets, and what became of what was sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from msgspec.structs import replace

from relay.api.app import create_app
from relay.api.callers import LOOPBACK, Caller
from relay.compose.senders import House
from relay.events import Event
from relay.model import ProviderSettings, Submission
from relay.smtp.data import unstuff
from relay.testing.fakes import FakeIntake
from tests.asgi import Client
from tests.automation import FakeRenderer, FakeWorkflows
from tests.desk import NOW
from tests.parts import HOUSE, parts
from tests.registry import FakeRegistry
from tests.web import Answer

ORDER = {"from": "ann@example.com", "to": "bob@example.org", "subject": "Hello", "text": "Hello.\n"}
MAIL = b"From: ann@example.com\r\nSubject: Hello\r\nDate: today\r\nMessage-ID: <1@x>\r\n\r\nHello.\r\n"
RAW = "/v1/messages/raw?from=ann@example.com&to=bob@example.org"


@dataclass
class Relay:
    """`capture`: it has no provider. `now`: its clock."""

    capture: bool = False
    now: float = NOW
    intake: FakeIntake = field(default_factory=FakeIntake)
    events: list[Event] = field(default_factory=list)
    workflows: FakeWorkflows = field(default_factory=FakeWorkflows)
    renderer: FakeRenderer = field(default_factory=FakeRenderer)
    house: House = HOUSE
    who: Caller = LOOPBACK

    def __post_init__(self) -> None:
        made = parts(
            intake=self.intake,
            registry=FakeRegistry(() if self.capture else (ProviderSettings(name="one", host="smtp.example.org"),)),
            observe=self.events.append,
            clock=lambda: self.now,
            house=lambda: self.house,
            workflows=self.workflows,
            renderer=self.renderer,
        )
        self.app = create_app(made)

    def fresh(self) -> Relay:
        """As if just made, which takes longer."""
        for own in (self.intake, self.workflows, self.renderer):
            vars(own).clear()
            vars(own).update(vars(type(own)()))
        self.events.clear()
        self.house, self.now, self.who = HOUSE, NOW, LOOPBACK
        return self

    async def __call__(self, method: str, target: str, body: Any = None, **headers: str) -> Answer:
        return await Client(self.app, self.who)(method, target, body, **headers)

    async def send(self, **changed: Any) -> Answer:
        return await self("POST", "/v1/messages", ORDER | changed)

    async def raw(self, mail: bytes = MAIL, target: str = RAW, **headers: str) -> Answer:
        return await self("POST", target, mail, **({"content-type": "message/rfc822"} | headers))

    def limit(self, **changed: Any) -> None:
        self.house = replace(self.house, **changed)

    @property
    def only(self) -> Submission:
        (submission,) = self.intake.submissions
        return submission


def content(submission: Submission) -> bytes:
    """As the last recipient's server has it."""
    assert submission.body.data is not None
    return submission.message.prefix + unstuff(submission.body.data)


def parsed(submission: Submission) -> EmailMessage:
    message = message_from_bytes(content(submission).replace(b"\r\n", b"\n"), policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert message.defects == []
    return message


def places(answer: Answer) -> list[list[Any]]:
    assert answer.headers["content-type"] == "application/problem+json"
    return [error["loc"] for error in answer.json["errors"]]
