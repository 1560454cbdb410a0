"""What the tests themselves lean on: ports that no two of their processes are dealt."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DEALING = "from waiting import free_port; print(*(free_port() for _ in range(400)), flush=True); input()"


def test_no_two_processes_are_dealt_one_port_though_nobody_listens_yet() -> None:
    command = [sys.executable, "-c", DEALING]
    dealing = [
        subprocess.Popen(command, cwd=Path(__file__).parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    dealt = []
    for process in dealing:
        assert process.stdout is not None
        dealt += process.stdout.readline().split()
    for process in dealing:
        process.communicate("\n", timeout=20)
        assert process.returncode == 0
    assert len(dealt) == 8 * 400
    assert len(set(dealt)) == len(dealt)
