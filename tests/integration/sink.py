"""Postfix's `smtp-sink` as upstream: fast, forgiving, and scriptable by its own options.

Built by the `sink` fixture; what it received is read from the files it dumps.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from waiting import greets, program, until


@dataclass(frozen=True)
class Sunk:
    """A message in smtp-sink's dump: `content` is what followed DATA, unstuffed, with LF for CRLF."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


class SmtpSink:
    """`smtp-sink` on a port of its own; `options` are its own (`-w 1`, `-q MAIL`, `-F`, …)."""

    def __init__(self, folder: Path, port: int, *options: str) -> None:
        self.folder, self.port, self.options = folder, port, options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        user = ["-u", "root"] if self.folder.owner() == "root" else []
        self._process = subprocess.Popen(
            [
                program("smtp-sink"),
                *user,
                *self.options,
                "-d",
                str(self.folder / "%s."),
                f"127.0.0.1:{self.port}",
                "500",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: greets(self.port), 10, "smtp-sink listens")

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(10)

    def messages(self) -> list[Sunk]:
        """Every whole message dumped so far."""
        return [_parse(path.read_bytes()) for path in sorted(self.folder.iterdir()) if path.stat().st_size]

    def wait_for(self, count: int, seconds: float = 15) -> list[Sunk]:
        def arrived() -> list[Sunk]:
            mails = self.messages()
            return mails if len(mails) >= count else []

        return until(arrived, seconds, f"{count} message(s) in smtp-sink")


def _parse(raw: bytes) -> Sunk:
    """smtp-sink puts X-Client-Addr … X-Rcpt-Args and Received in front, and an empty line behind."""
    head, _, rest = raw.partition(b"\nReceived: ")
    content = rest.partition(b"\n")[2]
    while content[:1] in (b"\t", b" "):
        content = content.partition(b"\n")[2]
    senders = re.findall(rb"^X-Mail-Args: <(.*?)>", head, re.M)
    recipients = re.findall(rb"^X-Rcpt-Args: <(.*?)>", head, re.M)
    return Sunk(senders[0].decode() if senders else "", tuple(r.decode() for r in recipients), content[:-1])
