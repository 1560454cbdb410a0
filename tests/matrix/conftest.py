"""The fixtures of the integration tests, for the matrices: many cases against one real relay process.

Read by pytest. Of its own it makes scripted upstreams only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from integration.conftest import certificate, ledger, postfix, pytest_runtest_makereport, relay, sink

from relay.testing.upstream import Phases, Script, Upstreams

__all__ = ["certificate", "ledger", "postfix", "pytest_runtest_makereport", "relay", "sink"]


@pytest.fixture
def upstreams() -> Iterator[Callable[..., Upstreams]]:
    """Make and start scripted upstreams: `upstreams([{"dot": "vanish"}, Script(...)])`."""
    with contextlib.ExitStack() as living:

        def make(scripts: Iterable[Script | Phases | None], **options: Any) -> Upstreams:
            return living.enter_context(Upstreams(scripts, **options))

        yield make
