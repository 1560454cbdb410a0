"""A relay to speak to: a real server in a thread of its own, over a fake desk, and the configuration that names it."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from relay.api.app import create_app
from relay.api.parts import Readiness
from relay.api.serving.entrance import doors
from relay.api.serving.server import HttpServer
from relay.api.serving.sockets import control_socket, tcp_socket
from relay.cli.main import main
from relay.model import State
from relay.testing.fakes import FakeIntake
from tests.automation import FakeWorkflows
from tests.desk import NOW, FakeDesk, FakeExplain, message
from tests.integrations import FakeIntegrations
from tests.parts import parts
from tests.registry import FakeAccounts, FakeChecks, FakeRegistry

CONFIG = """
hostname: relay.test
spool: {url: sqlite:///spool/spool.db}
providers:
  - {name: primary, host: smtp.example.org, username: u, password: canary-7351}
  - {name: backup, host: smtp.example.net}
"""


@dataclass
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        return [line.split("\t") for line in self.out.splitlines()]


@dataclass
class Relay:
    """`config`: a file whose control socket is this relay's."""

    config: Path
    port: int
    desk: FakeDesk
    readiness: Readiness
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    checks: FakeChecks = field(default_factory=FakeChecks)
    accounts: FakeAccounts = field(default_factory=FakeAccounts)
    intake: FakeIntake = field(default_factory=FakeIntake)
    integrations: FakeIntegrations = field(default_factory=FakeIntegrations)
    workflows: FakeWorkflows = field(default_factory=FakeWorkflows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("relay")
    (made / "relay.yaml").write_text(CONFIG)
    (made / "spool").mkdir()
    return made


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Relay]:
    tcp, control = tcp_socket("127.0.0.1", 0), control_socket(folder / "spool" / "relay.sock")
    running = Relay(
        folder / "relay.yaml", tcp.getsockname()[1], FakeDesk(), Readiness(mode="relay", checks={"spool": "ok"})
    )

    async def readiness() -> Readiness:
        return running.readiness

    async def metrics() -> bytes:
        return b""

    made = parts(
        desk=running.desk,
        explain=FakeExplain({"default:7": "primary: circuit open"}),
        registry=running.registry,
        checks=running.checks,
        accounts=running.accounts,
        intake=running.intake,
        integrations=running.integrations,
        workflows=running.workflows,
        readiness=readiness,
        metrics=metrics,
    )
    loop, up, leave = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        server = HttpServer(*doors(create_app(made), made), tcp=tcp, control=control)
        await server.start()
        up.set()
        await leave.wait()
        await server.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert up.wait(10)
    yield running
    loop.call_soon_threadsafe(leave.set)
    thread.join(10)
    loop.close()


@pytest.fixture
def relay(served: Relay) -> Relay:
    """As if freshly started."""
    views = (
        message("0a", State.QUEUED),
        message("0b", State.DEFERRED, reason="451 4.3.0 busy", provider="primary"),
        message("0c", State.HELD, sender="", address="carol@c.example"),
        message("0d", State.CAPTURED, received_at=NOW - 7200),
        message("0e", State.ACCEPTED, ended_at=NOW - 5),
    )
    served.desk.messages = {view.id: view for view in views}
    served.desk.acts.clear()
    served.intake.submissions.clear()
    served.readiness = Readiness(mode="relay", checks={"spool": "ok"})
    return served


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Result]]:
    """Run a command in this process; `given` is on its standard input."""
    before = os.dup(0)

    def command(*arguments: object, given: bytes = b"") -> Result:
        with tempfile.TemporaryFile() as file:
            file.write(given)
            file.seek(0)
            os.dup2(file.fileno(), 0)
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    yield command
    os.dup2(before, 0)
    os.close(before)
