"""The fixtures of the integration tests, for the mails: the relay's real process, a real Postfix, certificates."""

from __future__ import annotations

from integration.conftest import certificate, postfix, pytest_runtest_makereport, relay

__all__ = ["certificate", "postfix", "pytest_runtest_makereport", "relay"]
