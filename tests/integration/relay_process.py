"""The relay as a user starts it: `.venv/bin/relay run -c FILE` in a folder of its own, on ports of its own.

Built by the `relay` fixture. It looks at the process from outside only: ports, control socket, log, exit code.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from clients import Door
from prometheus_client.parser import text_string_to_metric_families
from waiting import free_port, program, until

Config = dict[str, Any]
COMMAND = str(Path(sys.executable).with_name("relay"))


class UnixHTTP(http.client.HTTPConnection):
    """HTTP over the control socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self._path))


class Relay:
    """One relay: change `config` and call `start`, `reload` or `restart`. `door` is its first listener."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder = folder
        self.smtp_port, self.http_port = free_port(), free_port()
        self.config = self._defaults() | config
        self.file = folder / "relay.yaml"
        self.output = folder / "relay.log"
        self.control = folder / "spool" / "relay.sock"
        self.environment: dict[str, str] = {}
        self.wrapper: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def _defaults(self) -> Config:
        return {
            "hostname": "relay.test",
            "listeners": [{"name": "internal", "listen": f"127.0.0.1:{self.smtp_port}"}],
            "spool": {"url": "sqlite:///spool/spool.db"},
            "http": {"listen": f"127.0.0.1:{self.http_port}"},
            "log": {"level": "info", "format": "json"},
        }

    def _environment(self) -> dict[str, str]:
        """Ours without what would configure the relay behind the test's back."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
        return ours | self.environment

    @property
    def door(self) -> Door:
        return Door(port=self.smtp_port)

    @property
    def pid(self) -> int:
        assert self._process is not None, "the relay is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    # Starting and ending.

    def write(self, text: str | None = None) -> None:
        """Write `config`, or `text` instead of it, to the file the relay reads."""
        self.file.write_text(yaml.safe_dump(self.config, sort_keys=False) if text is None else text)

    def command(self, *arguments: str, powerless: bool = False) -> list[str]:
        """`powerless`: as root, but without root's right to read and write everything."""
        drop = [program("setpriv"), "--bounding-set=-dac_override,-dac_read_search"] if powerless else []
        return [*drop, COMMAND, *arguments]

    def launch(self) -> None:
        """Start without waiting."""
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [*self.wrapper, *self.command("run", "-c", str(self.file))],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C on a terminal is ours to answer
            )

    def start(self, *, write: bool = True) -> Relay:
        """Write `config` (unless `write` is false), start, and wait until /readyz says 200."""
        if write:
            self.write()
        self.launch()
        until(self._ready_or_dead, 20, f"the relay is ready; log: {self.output}")
        assert self._process is not None
        assert self._process.poll() is None, f"the relay ended with {self._process.returncode}:\n{self.log_text()}"
        return self

    def _ready_or_dead(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None or self.ready()

    def run_to_end(
        self, *, seconds: float = 20, powerless: bool = False, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Start it expecting that it refuses to run; gives exit code and output."""
        self.write(text)
        return subprocess.run(
            self.command("run", "-c", str(self.file), powerless=powerless),
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def terminate(self, seconds: float = 20) -> int:
        """SIGTERM; gives the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self) -> None:
        """kill -9."""
        self.signal(signal.SIGKILL)
        self.wait(10)

    def wait(self, seconds: float) -> int:
        assert self._process is not None
        code = self._process.wait(seconds)
        self._process = None
        return code

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def restart(self) -> Relay:
        assert self.terminate() == 0
        return self.start()

    def reload(self) -> None:
        """Write `config`, send SIGHUP, and wait until the log says what came of it."""
        self.write()
        self.hang_up()

    def hang_up(self) -> None:
        before = len(self.events("configuration re"))
        self.signal(signal.SIGHUP)
        until(lambda: len(self.events("configuration re")) > before, 10, "the log tells of the reload")

    def stop(self) -> None:
        """End it if it runs: for the fixture."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    # Looking at it.

    def ready(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get("/readyz")[0] == 200
        return False

    def get(self, path: str, *, tcp: bool = False, method: str = "GET") -> tuple[int, str]:
        """Status and body over the control socket, or over TCP."""
        connection = (
            http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=10) if tcp else UnixHTTP(self.control)
        )
        with contextlib.closing(connection):
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def cli(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a relay command against this relay, not on a terminal; `given` is its standard input."""
        return subprocess.run(
            self.command(*arguments, "-c", str(self.file)),
            cwd=self.folder,
            env=self._environment(),
            input=given,
            capture_output=True,
            text=True,
            timeout=30,
        )

    def ask(self, *arguments: str) -> Any:
        """Run a command with --json that must succeed, and give what it printed."""
        done = self.cli(*arguments, "--json")
        assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def queue(self, *filters: str) -> list[Any]:
        """`relay queue list`."""
        return list(self.ask("queue", "list", *filters)["data"])

    def states(self, message: str) -> dict[str, str]:
        """Address to state of one message, ended or not."""
        shown = self.ask("queue", "show", message)
        return {recipient["address"]: recipient["state"] for recipient in shown["recipients"]}

    def wait_for_states(self, message: str, seconds: float = 15, **expected: str) -> None:
        """Wait until the recipients, named by local part, have these states."""

        def local() -> dict[str, str]:
            return {address.split("@")[0]: state for address, state in self.states(message).items()}

        until(lambda: local() == expected, seconds, f"{message} is {expected}", every=0.2)

    def metrics(self) -> str:
        status, text = self.get("/metrics")
        assert status == 200, text
        return text

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels; 0 when there is none."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.metrics())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def log_text(self) -> str:
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def log(self) -> list[dict[str, Any]]:
        """The log's JSON lines."""
        lines = []
        for line in self.log_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                lines.append(json.loads(line))
        return [line for line in lines if isinstance(line, dict)]

    def events(self, word: str, **fields: Any) -> list[dict[str, Any]]:
        """Log lines whose event has this word in it and which carry these fields."""
        return [line for line in self.log() if word in str(line.get("event", "")) and fields.items() <= line.items()]

    def memory(self) -> int:
        """Resident bytes of the process now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def peak_memory(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024


def provider(name: str, port: int, **more: Any) -> Config:
    """A provider on 127.0.0.1 without TLS, unless `more` says otherwise."""
    return {"name": name, "host": "127.0.0.1", "port": port, "tls": "none"} | more
