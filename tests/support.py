"""What tests of several rooms share.

Used by tests only; it knows nothing of the relay.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

# A test session under cron or a bare PATH still finds what Debian puts here.
_PLACES = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/bin"))


def need(program: str, package: str) -> Path:
    """Where a program is; without it the test is skipped, naming its package, and under CI=true it fails."""
    found = shutil.which(program, path=_PLACES)
    if not found:
        lack(f"needs {program}: install the package {package}")
    return Path(found)


def lack(reason: str) -> NoReturn:
    """This machine lacks what the test needs: it is skipped, and under CI=true it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
