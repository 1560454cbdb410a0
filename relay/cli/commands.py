"""The commands, joined: global options, and what becomes of a failure.

Called by `main` for every command. Failures are sentences on standard error and an exit code; never a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.main import get_command

from relay import __version__
from relay.app.plan import Plan
from relay.cli import event, integration, key, provider, queue, token, user, workflow
from relay.cli.check import check
from relay.cli.explain import explain
from relay.cli.healthcheck import healthcheck
from relay.cli.options import Failure, Options
from relay.cli.output import complain, tell
from relay.cli.run import run
from relay.cli.send import send

_INTERRUPTED = 130  # what typer makes of Ctrl-C; our codes are 0, 1 and 2
_GLOBAL = "-c/--config, --json and --url may also stand here; see relay --help."


def _tell_of_global_options(group: typer.Typer) -> None:
    for command in group.registered_commands:
        command.epilog = _GLOBAL
    for inner in group.registered_groups:
        inner.epilog = _GLOBAL
        if inner.typer_instance is not None:
            _tell_of_global_options(inner.typer_instance)


app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
for command in (run, check, explain, send, healthcheck):
    app.command(epilog=_GLOBAL)(command)
for name, group in (
    ("queue", queue.app),
    ("provider", provider.app),
    ("user", user.app),
    ("token", token.app),
    ("key", key.app),
    ("workflow", workflow.app),
    ("event", event.app),
    ("integration", integration.app),
):
    _tell_of_global_options(group)
    app.add_typer(group, name=name, epilog=_GLOBAL)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"relay {__version__}")
        raise typer.Exit


@app.callback()
def relay(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "-c", "--config", metavar="FILE", help="default: $RELAY_CONFIG, ./relay.yaml, /etc/relay/relay.yaml"
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    url: Annotated[str, typer.Option("--url", help="another relay; its token comes from $RELAY_TOKEN")] = "",
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="print it")] = False,
) -> None:
    """Mail relay: takes mail from applications, keeps it safe, hands it to providers.

    \b
    Example:
      relay run --config config.example.yaml
      relay queue list
    """
    options = Options(config=config, json=json, url=url)
    context.call_on_close(options.closing.close)
    context.obj = options


def perform(arguments: Sequence[str]) -> int | Plan:
    """Perform one command: the exit code, or of `relay run` what is to be run."""
    try:
        result = get_command(app).main(arguments, prog_name="relay", standalone_mode=False)
        sys.stdout.flush()
        if isinstance(result, int):
            return 1 if result == _INTERRUPTED else result
        return result if isinstance(result, Plan) else 0
    except Exception as error:
        return _failed(error)
    except KeyboardInterrupt:
        return 1


def _failed(error: Exception) -> int:
    """Say it in a sentence on standard error; the exit code."""
    if isinstance(error, typer.TyperException):
        if error.format_message().startswith("Usage:"):  # a group without a command: its help
            print(error.format_message(), file=sys.stderr)
            return error.exit_code
        complain(f"relay: {error.format_message()} (relay --help lists what there is)")
        return error.exit_code
    if isinstance(error, Failure):
        return tell(error)
    from relay.config.load import ConfigError

    if isinstance(error, ConfigError):
        for problem in error.problems:
            complain(str(problem))
        return 2
    return tell(error)
