"""The fixtures of the integration tests, for the matrices: many cases against one real relay process.

Read by pytest. It makes nothing of its own.
"""

from __future__ import annotations

from integration.conftest import certificate, ledger, postfix, pytest_runtest_makereport, relay, sink

__all__ = ["certificate", "ledger", "postfix", "pytest_runtest_makereport", "relay", "sink"]
