"""What an API is built from, in tests: fakes of every port, any of which a test may bring itself."""

from __future__ import annotations

from typing import Any

from relay.api.parts import ApiParts, Readiness
from relay.automation.firing import Automation
from relay.compose.senders import House
from relay.events import nobody
from relay.model import Identity
from relay.posting import Post
from relay.testing.fakes import FakeIntake
from tests.automation import FakeHappenings, FakeRenderer, FakeWorkflows
from tests.desk import NOW, FakeDesk, FakeExplain
from tests.integrations import FakeIntegrations
from tests.registry import FakeAccounts, FakeChecks, FakeRegistry

HOUSE = House(
    hostname="relay.test",
    fallback=Identity(address="relay@relay.test"),
    identities={"invoices": Identity(address="billing@example.com", name="Billing", reply_to="help@example.com")},
)


async def _ready() -> Readiness:
    return Readiness(mode="relay", checks={"spool": "ok"})


async def _metrics() -> bytes:
    return b"relay_build_info 1\n"


async def _apply() -> None:
    """Nothing is in force here."""


def parts(**given: Any) -> ApiParts:
    defaults: dict[str, Any] = {
        "desk": FakeDesk(),
        "explain": FakeExplain(),
        "registry": FakeRegistry(),
        "accounts": FakeAccounts(),
        "checks": FakeChecks(),
        "house": lambda: HOUSE,
        "apply": _apply,
        "observe": nobody,
        "readiness": _ready,
        "metrics": _metrics,
        "providers": lambda: ("primary", "backup"),
        "clock": lambda: NOW,
        "version": "0.1.0",
        "integrations": FakeIntegrations(),
    }
    wanted = defaults | given
    registry = wanted["registry"]
    intake = wanted.pop("intake", None) or FakeIntake()
    post = Post(
        intake=intake,
        house=wanted["house"],
        capturing=lambda: registry.empty(),
        observe=wanted["observe"],
        clock=wanted["clock"],
    )
    workflows = wanted.get("workflows") or FakeWorkflows()
    made = {
        "post": post,
        "workflows": workflows,
        "happenings": FakeHappenings(intake),
        "automation": Automation(workflows, wanted.pop("renderer", None) or FakeRenderer(), post),
    }
    return ApiParts(**(made | wanted))
