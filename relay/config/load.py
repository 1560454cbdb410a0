"""Finding and loading a configuration: file, environment, secrets, schema, rules.

Called by `app` at start and on SIGHUP, and by the commands. It answers with a configuration that can be used as it
stands, or raises ConfigError with every problem it could find; it changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from relay.config import rules
from relay.config.environment import override
from relay.config.expand import RUN_SECRETS, expander
from relay.config.problems import ConfigError, Document, Problem, explain
from relay.config.reader import read
from relay.config.schema import Config

__all__ = ["ConfigError", "Loaded", "Problem", "find", "load"]

_MAX_FILE = 4 << 20  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """`path` None: the built-in defaults. `warnings`: sentences for the log; none of them stops anything."""

    config: Config
    path: Path | None
    warnings: tuple[str, ...] = ()


def find(environ: Mapping[str, str]) -> Path | None:
    """The file that is used when nobody named one; None: the built-in defaults."""
    if named := environ.get("RELAY_CONFIG"):
        return Path(named)
    usual = (Path("relay.yaml"), Path("/etc/relay/relay.yaml"))
    return next((path for path in usual if path.exists()), None)


def load(path: Path | None, environ: Mapping[str, str], *, run_secrets: Path = RUN_SECRETS) -> Loaded:
    """The configuration in a file, or the built-in defaults, with the environment's changes. Raises ConfigError."""
    document = Document("")
    if path is not None:
        document = read(_text(path), str(path), expander(environ, run_secrets))
    warnings = override(document, environ)
    config = _validate(document, path.absolute().parent if path else Path.cwd())
    return Loaded(config=config, path=path, warnings=(*warnings, *rules.warnings(config)))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise _unusable(path, f"cannot be read: {(error.strerror or 'it failed').lower()}") from None
    if len(raw) > _MAX_FILE:
        raise _unusable(path, f"is larger than {_MAX_FILE >> 20} MiB: this is no configuration")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise ConfigError([Problem(str(path), line, column, "this is not UTF-8: save the file as UTF-8")]) from None


def _unusable(path: Path, why: str) -> ConfigError:
    return ConfigError([Problem(str(path), 0, 0, f"the configuration {why}")])


def _validate(document: Document, folder: Path) -> Config:
    problems = list(document.problems)
    try:
        config = Config.model_validate(document.data, context={"folder": folder})
    except ValidationError as error:
        # What was found while reading comes first: where a value could not be read, its type is not judged too.
        known = {(p.file, p.line, p.column) for p in problems}
        found = (explain(document, one) for one in error.errors(include_url=False))
        problems += [p for p in found if (p.file, p.line, p.column) not in known]
    else:
        if not problems:
            problems = [document.report(at, sentence) for at, sentence in rules.check(config)]
    if problems:
        raise ConfigError(problems)
    return config
