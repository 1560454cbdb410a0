"""A real server on a unix socket and a port, over a fake desk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from relay.api.app import create_app
from relay.api.parts import Readiness
from relay.api.serving.entrance import doors
from relay.api.serving.server import HttpServer
from relay.api.serving.sockets import control_socket, tcp_socket
from relay.events import Event
from relay.model import State
from relay.testing.fakes import FakeIntake
from tests.desk import NOW, FakeDesk, FakeExplain, message
from tests.parts import parts
from tests.registry import FakeAccounts, FakeChecks, FakeRegistry


@dataclass
class Running:
    """A served API and what stands behind it."""

    control: Path
    port: int
    desk: FakeDesk = field(default_factory=FakeDesk)
    explain: FakeExplain = field(default_factory=FakeExplain)
    intake: FakeIntake = field(default_factory=FakeIntake)
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    accounts: FakeAccounts = field(default_factory=FakeAccounts)
    checks: FakeChecks = field(default_factory=FakeChecks)
    events: list[Event] = field(default_factory=list)
    readiness: Readiness = field(default_factory=lambda: Readiness(mode="relay", checks={}))


MESSAGES = (
    message("0a", State.QUEUED),
    message("0b", State.DEFERRED, reason="451 4.3.0 busy", provider="primary"),
    message("0c", State.HELD, sender="", address="carol@c.example"),
    message("0d", State.CAPTURED, received_at=NOW - 7200),
    message("0e", State.ACCEPTED, ended_at=NOW - 5),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    tcp = tcp_socket("127.0.0.1", 0)
    control = tmp_path_factory.mktemp("spool") / "relay.sock"
    running = Running(control, tcp.getsockname()[1])

    async def readiness() -> Readiness:
        return running.readiness

    async def metrics() -> bytes:
        return b"relay_build_info 1\n"

    served = parts(
        desk=running.desk,
        explain=running.explain,
        intake=running.intake,
        registry=running.registry,
        accounts=running.accounts,
        checks=running.checks,
        observe=running.events.append,
        readiness=readiness,
        metrics=metrics,
    )
    server = HttpServer(*doors(create_app(served), served), tcp=tcp, control=control_socket(control))
    await server.start()
    yield running
    await server.stop()


@pytest.fixture
def api(served: Running) -> Running:
    """As if freshly started."""
    served.desk.messages = {view.id: view for view in MESSAGES}
    served.desk.acts.clear()
    served.explain.stuck = {"default:7": "primary: circuit open"}
    served.readiness = Readiness(mode="relay", checks={"spool": "ok"})
    return served
