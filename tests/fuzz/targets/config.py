"""A configuration is usable as it stands, or a ConfigError whose every sentence has a place; never anything else.

Run by the fuzz driver and by the replay of the corpus. Hazard H4; a secret is in no sentence (H8).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from relay.config.build import providers, routes
from relay.config.load import ConfigError, Problem, load

LONGEST = 3000
SECRET = "hunter2canary"
ENVIRON = {"CANARY": SECRET}
WORDS = (
    b"hostname: ", b"\nlisteners:\n", b"\n  - name: ", b"address: ", b"127.0.0.1:2525", b"unix:/", b"fd:", b"allow: ",
    b"10.0.0.0/8", b"tls: ", b"starttls", b"cert: ", b"key: ", b"auth: ", b"optional", b"required", b"users:\n",
    b"password: ", b"${CANARY}", b"${", b"$$", b"max_message_size: ", b"35MiB", b"\nproviders:\n", b"host: ",
    b"preset: ", b"ses", b"region: ", b"limits: ", b"per_minute: ", b"per_day: ", b"timezone: ", b"Europe/Berlin",
    b"timeouts: ", b"priority: ", b"\nroutes:\n", b"match: ", b"header: ", b"rewrite: ", b"header_from: ",
    b"\nspool:\n  url: ", b"sqlite:///", b"\nretry:\n", b"30s", b"5d", b"\nhttp:\n", b"\nlog:\n", b"null", b"true",
    b"&a ", b"*a", b"<<: ", b"!!python/object:", b"? ", b"- ", b"[", b"{", b"]", b"}", b"|\n", b">-\n", b"---\n",
    b"...\n", b"%YAML 1.1\n", b"\"\\ud800\"", b"\"\\0\"", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\t", b": ", b"# ",
)  # fmt: skip

FOLDER = Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir())


def run(data: bytes) -> None:
    file = FOLDER / f"fuzz-{os.getpid()}.yaml"
    file.write_bytes(data)
    try:
        loaded = load(file, ENVIRON, run_secrets=FOLDER / "no-secrets")
    except ConfigError as error:
        explained(error, file, data)
    else:
        providers(loaded.config)
        routes(loaded.config)
        assert all(map(sentence, loaded.warnings)), loaded.warnings
    finally:
        file.unlink()


def explained(error: ConfigError, file: Path, data: bytes) -> None:
    assert error.problems
    lines = data.decode("utf-8", "replace").replace("\r\n", "\n").count("\n") + data.count(b"\r") + 2
    for problem in error.problems:
        assert problem.file == str(file), problem
        assert 1 <= problem.line <= lines + _exotic(data) and problem.column >= 1, problem
        assert sentence(problem.message), problem
        assert SECRET not in str(problem) or SECRET.encode() in data, problem
    assert all(isinstance(problem, Problem) for problem in error.problems)


def _exotic(data: bytes) -> int:
    """YAML 1.1 ends lines at these, too."""
    text = data.decode("utf-8", "replace")
    return sum(text.count(char) for char in "\x85\u2028\u2029")


def sentence(text: str) -> bool:
    """Something to read, in one line."""
    return len(text) > 8 and text.isprintable()
