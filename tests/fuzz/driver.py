"""Runs one target under atheris: `python -m fuzz.driver TARGET [libFuzzer options] [corpus folders]`, from `tests/`.

Started by `make fuzz` and by the short runs of `make test`, each target in a process of its own: libFuzzer never
returns. What fails is written to the folder of `-artifact_prefix`, shown, and ends the run.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import atheris

TARGETS = Path(__file__).parent / "targets"
SECONDS_EACH = 20  # an input that takes longer is a hang
MEGABYTES = 1024


def names() -> list[str]:
    return sorted(path.stem for path in TARGETS.glob("*.py"))


def dictionary(target: ModuleType) -> list[str]:
    """The words of a target in libFuzzer's format, as the option that names them; in memory, nothing to clean up."""
    words: tuple[bytes, ...] = getattr(target, "WORDS", ())
    lines = ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in words]
    file = os.memfd_create("words")
    os.write(file, "".join(lines).encode())
    return [f"-dict=/proc/self/fd/{file}"] if words else []


def main(arguments: list[str]) -> None:
    name, *options = arguments
    with atheris.instrument_imports(include=["relay"], enable_loader_override=False):
        target = import_module(name if "." in name else f"fuzz.targets.{name}")
    usual = [f"-max_len={target.LONGEST}", f"-timeout={SECONDS_EACH}", f"-rss_limit_mb={MEGABYTES}"]
    atheris.Setup([sys.argv[0], *dictionary(target), *usual, *options], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
