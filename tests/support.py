"""What tests of several rooms share.

Used by tests only; it knows nothing of the relay.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

# A test session under cron or a bare PATH still finds what Debian puts here.
_PLACES = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/bin"))


def need(program: str, package: str) -> Path:
    """Where a program is; without it the test is skipped, naming its package, and under CI=true it fails."""
    found = shutil.which(program, path=_PLACES)
    if found:
        return Path(found)
    reason = f"needs {program}: install the package {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
