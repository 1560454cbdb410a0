"""The upstreams of a scene as a process: ports by provider name, and what they recorded.

`scene` starts and ends it. What it does with mail is `collector`'s.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from proof.books import Lines
from waiting import free_port, greets, until

TESTS = Path(__file__).parent.parent


class Upstreams:
    """`lines`: the record, one file for all ports. `vanish`: share of dots that are recorded and never answered."""

    def __init__(self, folder: Path, names: Sequence[str], *, seed: int, vanish: float) -> None:
        self.ports = {name: free_port() for name in names}
        self.lines = Lines(folder / "record.jsonl")
        self._output = folder / "upstreams.log"
        self._words = [f"--record={self.lines.path}", f"--seed={seed}", f"--vanish={vanish}"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        ports = [f"--port={port}" for port in self.ports.values()]
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "proof.collector", *ports, *self._words],
                env=os.environ | {"PYTHONPATH": str(TESTS)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to answer
            )
        for port in self.ports.values():
            until(partial(greets, port), 20, f"an upstream greets; see {self._output}")

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Connections are made and commands sent, and nothing is read or answered meanwhile."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(10)
            assert not self._output.read_text(), f"the upstreams complained: {self._output}"
