"""Fixtures of the integration tests: the relay's real process, real upstreams, certificates.

Everything is on 127.0.0.1, on ports of its own, in folders of its own; each process is ended by its own pid.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import Certificate, issue
from ledger import Ledger
from postfix import Postfix, serving
from relay_process import Relay
from sink import SmtpSink
from waiting import free_port

RELAYS = pytest.StashKey[list[Relay]]()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return issue(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def relay(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Relay]]:
    """Make a relay: `relay(providers=[...], ...)`, top-level keys of the configuration; `.start()` it.

    After the test none may have printed a traceback: every expected failure is one line.
    """
    made: list[Relay] = request.node.stash.setdefault(RELAYS, [])
    numbers = itertools.count()

    def make(**config: Any) -> Relay:
        folder = tmp_path / f"relay{next(numbers)}"
        folder.mkdir()
        made.append(Relay(folder, config))
        return made[-1]

    yield make
    for one in made:
        one.stop()
    for one in made:
        assert "Traceback" not in one.log_text(), one.log_text()[-4000:]


@pytest.fixture
def postfix(certificate: Certificate) -> Iterator[Callable[..., Postfix]]:
    """Make and start a Postfix: `postfix(auth=True)` has a user app@relay.test with the password `right`."""
    with contextlib.ExitStack() as running:

        def make(*, auth: bool = False) -> Postfix:
            return running.enter_context(serving(certificate.pem, auth=auth))

        yield make


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Callable[..., SmtpSink]]:
    """Make and start an smtp-sink: `sink("-w", "1")`."""
    made: list[SmtpSink] = []

    def make(*options: str) -> SmtpSink:
        made.append(SmtpSink(tmp_path / f"sink{len(made)}", free_port(), *options))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def ledger() -> Iterator[Callable[[], Ledger]]:
    """Make and start a remembering upstream."""
    made: list[Ledger] = []

    def make() -> Ledger:
        made.append(Ledger())
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.remove()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """A failed test shows what its relays logged."""
    report = yield
    if report.failed:
        for one in item.stash.get(RELAYS, []):
            report.sections.append((f"log of {one.folder.name}", one.log_text()[-6000:]))
    return report
