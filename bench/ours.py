"""The relay as a user starts it: default configuration, metrics, history and log on, one provider.

Its log goes to a file as JSON, which is what a service's log is.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.process import Child
from bench.waiting import free_port, greeted

COMMAND = Path(sys.executable).with_name("relay")
CONNECTIONS = 20

Config = Mapping[str, Any]


def provider(name: str, port: int, more: Config | None = None) -> Config:
    """20 connections, as Postfix has: without a limit the relay would take more."""
    base = {"name": name, "host": "127.0.0.1", "port": port, "tls": "none", "limits": {"connections": CONNECTIONS}}
    return base | dict(more or {})


class Relay(Child):
    """One relay in `folder`. `config`: top-level keys besides listener, spool and http."""

    def __init__(self, folder: Path, config: Config) -> None:
        super().__init__("relay")
        self.folder = folder
        self.file = folder / "relay.yaml"
        self.port, self.http = free_port(), free_port()
        self.config = {
            "listeners": [{"name": "internal", "listen": f"127.0.0.1:{self.port}"}],
            "spool": {"url": "sqlite:///spool.db"},
            "http": {"listen": f"127.0.0.1:{self.http}"},
        } | dict(config)

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file.write_text(yaml.safe_dump(self.config))

    def start(self) -> float:
        """Seconds until it greets. The spool is as it was: `clear` it before."""
        self.write()
        began = time.monotonic()
        self.launch([COMMAND, "run", "-c", self.file], output=self.folder / "relay.log", folder=self.folder)
        greeted(self.port, 60)
        return time.monotonic() - began

    def stop(self) -> None:
        self.end()

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
