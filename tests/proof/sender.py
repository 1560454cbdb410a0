"""A load as its campaign sees it: the process `python -m proof.load`, its journal, and how to end it.

`scene` makes them. What is sent, and how, is `load`'s.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from proof.books import Journal
from proof.letters import Mix
from waiting import until

TESTS = Path(__file__).parent.parent


class Load:
    """Sends until it is stopped, or `count` messages. `sessions`: connections that are kept; `fresh`: further ones
    that bring one message each; `rate`: messages a second at most, 0: as many as go.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        seed: int,
        run: str,
        domains: Sequence[str],
        count: int = 0,
        *,
        sessions: int = 8,
        fresh: int = 2,
        rate: float = 0,
        mix: Mix | None = None,
    ) -> None:
        self.file = folder / f"journal-{run}.jsonl"
        self.output = folder / "load.log"
        self.journal = Journal(self.file)
        options = {
            "port": port,
            "seed": seed,
            "run": run,
            "domains": ",".join(domains),
            "count": count,
            "sessions": sessions,
            "fresh": fresh,
            "rate": rate,
        } | {f"mix-{name}": share for name, share in asdict(mix or Mix()).items()}
        words = [f"--{name}={value}" for name, value in options.items()]
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "proof.load", f"--journal={self.file}", *words],
                env=os.environ | {"PYTHONPATH": str(TESTS)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to answer
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def answered(self) -> int:
        """Messages with an outcome so far."""
        return self.journal.read().answered

    def wait_for(self, count: int, seconds: float = 60) -> None:
        """Wait until so many messages have an outcome."""
        until(lambda: self.answered >= count or not self.running, seconds, f"{count} messages were answered")

    def wait(self, seconds: float = 600) -> None:
        """Wait until all of `count` were answered."""
        code = self._process.wait(seconds)
        # SIGTERM ends it by itself only before it began and after it has written everything.
        said = self.output.read_text()
        assert code in (0, -signal.SIGTERM) and not said, f"the load ended with {code}: {said[-2000:]}"

    def stop(self, seconds: float = 30) -> None:
        """Begin no more messages, finish those under way."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        self.wait(seconds)

    def kill(self) -> None:
        """End it now; what was under way stays without outcome."""
        if self.running:
            self._process.kill()
            self._process.wait(10)

    def remove(self) -> None:
        self.kill()
        with contextlib.suppress(FileNotFoundError):
            self.file.unlink()
