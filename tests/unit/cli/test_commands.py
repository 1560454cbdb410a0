"""Global options, exit codes, and the commands that are not about the queue."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from relay.api.parts import Readiness
from relay.cli.options import divide


@pytest.mark.parametrize(
    ("given", "options", "rest"),
    [
        (["queue", "list", "--json"], ["--json"], ["queue", "list"]),
        (["--json", "queue", "list"], ["--json"], ["queue", "list"]),
        (["queue", "-c", "x", "list", "--state", "held"], ["-c", "x"], ["queue", "list", "--state", "held"]),
        (["check", "--config=x"], ["--config=x"], ["check"]),
        (["check", "-cx"], ["-cx"], ["check"]),
        (
            ["send", "--body", "-cool", "--subject", "--json", "-cx"],
            ["-cx"],
            ["send", "--body", "-cool", "--subject", "--json"],
        ),
        (["send", "--body"], [], ["send", "--body"]),
        (["queue", "show", "--", "--json"], [], ["queue", "show", "--", "--json"]),
        (["check", "-c"], ["-c"], ["check"]),
    ],
)
def test_global_options_may_stand_anywhere(given, options, rest):
    assert divide(given) == (options, rest)


def test_global_options_before_and_behind_give_the_same(relay, run):
    before = run("-c", relay.config, "--json", "queue", "list")
    behind = run("queue", "list", "--json", "--config", relay.config)
    assert (before.code, before.out) == (0, behind.out)


def test_version(run):
    assert re.fullmatch(r"relay \d+\.\d+\.\d+\n", run("--version").out)


COMMANDS = ["run", "check", "explain", "healthcheck"]
QUEUE = ["list", "show", "retry", "hold", "release", "reroute", "cancel", "stats"]


@pytest.mark.parametrize("command", [*([name] for name in COMMANDS), *(["queue", name] for name in QUEUE), ["queue"]])
def test_every_help_has_an_example(run, command):
    shown = run(*command, "--help")
    assert shown.code == 0
    assert "Example:" in shown.out
    assert f"relay {' '.join(command)}" in shown.out.partition("Example:")[2]


@pytest.mark.parametrize("wrong", [["frob"], ["queue", "frob"], ["queue", "list", "--frob"], ["queue", "show"], ["-c"]])
def test_wrong_usage_is_2_and_a_sentence(run, wrong):
    refused = run(*wrong)
    assert (refused.code, refused.out) == (2, "")
    assert "Traceback" not in refused.err
    assert refused.err.startswith("relay: ")


def test_nothing_to_do_shows_the_help(run):
    assert run("queue").code == 2
    assert "Usage: relay queue" in run("queue").err


def test_check_names_place_and_mistake(run, tmp_path):
    wrong = tmp_path / "relay.yaml"
    wrong.write_text("hostname: relay.test\nlisteners: 5\n")
    checked = run("check", "-c", wrong)
    assert (checked.code, checked.out) == (2, "")
    assert checked.err.startswith(f"{wrong}:2:")
    problems = json.loads(run("check", "--json", "-c", wrong).out)["problems"]
    assert (problems[0]["file"], problems[0]["line"]) == (str(wrong), 2)


def test_check_says_what_it_checked_and_no_secret(relay, run):
    checked = run("check", "-c", relay.config)
    assert (checked.code, checked.out) == (0, f"{relay.config}: ok: 1 listener, 2 providers, 0 routes\n")
    assert "canary-7351" not in checked.out + checked.err
    assert json.loads(run("check", "-c", relay.config, "--json").out)["ok"] is True


@pytest.mark.parametrize("command", [["check"], ["queue", "list"], ["healthcheck"]])
def test_a_missing_configuration_is_2_for_every_command(run, tmp_path, command):
    missing = run(*command, "-c", tmp_path / "none.yaml")
    assert (missing.code, missing.out) == (2, "")
    assert "none.yaml" in missing.err


def test_a_missing_configuration_is_2_for_run(tmp_path):
    """It reads in a process of its own, which speaks to our standard error."""
    missing = subprocess.run(relay_command("run", "-c", tmp_path / "none.yaml"), capture_output=True, text=True)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr == f"{tmp_path}/none.yaml: the configuration cannot be read: no such file or directory\n"


def test_explain(relay, run):
    told = run("explain", "--from", "a@x", "--to", "b@y", "--size", "10KiB", "-c", relay.config)
    assert told.code == 0
    assert ["size", "10240"] in told.rows
    assert ["provider", "primary", "skipped", "circuit open", "", ""] in told.rows
    told = run("explain", "--from", "a@x", "--to", "b@y", "--json", "-c", relay.config)
    assert json.loads(told.out)["rule"] == "default"
    assert run("explain", "--from", "a@x", "--to", "b@y", "--size", "big", "-c", relay.config).code == 2
    assert run("explain", "--from", "a@x", "-c", relay.config).code == 2


def test_healthcheck(relay, run):
    well = run("healthcheck", "-c", relay.config)
    assert (well.code, well.rows) == (0, [["status", "ok"], ["mode", "relay"], ["spool", "ok"]])
    relay.readiness = Readiness(mode="relay", checks={"spool": "disk is full"})
    ill = run("healthcheck", "-c", relay.config)
    assert (ill.code, ill.rows[-1], ill.err) == (1, ["spool", "disk is full"], "relay: the relay is not ready\n")


def test_another_relay_by_url(relay, run, monkeypatch):
    relay.accounts.__init__()
    made = run("token", "create", "--scope", "queue", "-c", relay.config)
    assert run("healthcheck", "--url", f"http://127.0.0.1:{relay.port}").code == 0
    refused = run("queue", "list", "--url", f"http://127.0.0.1:{relay.port}/")
    assert (refused.code, refused.out) == (1, "")
    assert "this needs a token" in refused.err
    monkeypatch.setenv("RELAY_TOKEN", made.out.strip())
    assert run("queue", "list", "--url", f"http://127.0.0.1:{relay.port}/").code == 0
    assert "scope admin" in run("token", "list", "--url", f"http://127.0.0.1:{relay.port}/").err
    relay.accounts.__init__()
    for url in ("ftp://x", "127.0.0.1:80", "http://127.0.0.1:99999", "http://[::1"):
        wrong = run("queue", "list", "--url", url)
        assert (wrong.code, "--url must be like" in wrong.err) == (2, True)


@pytest.mark.parametrize("command", [["explain", "--from", "a@x", "--to", "b@y"], ["healthcheck"], ["queue", "list"]])
def test_without_a_relay_and_a_spool_it_says_so(run, tmp_path, command):
    (tmp_path / "relay.yaml").write_text("hostname: relay.test\nspool: {url: sqlite:///none/spool.db}\n")
    alone = run(*command, "-c", tmp_path / "relay.yaml")
    assert (alone.code, alone.out) == (1, "")
    assert "relay run" in alone.err
    assert not (tmp_path / "none").exists()


def test_what_is_no_relay_is_told_apart(run):
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.settimeout(5)
        port = stranger.getsockname()[1]
        with subprocess.Popen(
            [sys.executable, "-m", "relay.cli.main", "healthcheck", "--url", f"http://127.0.0.1:{port}"],
            stderr=subprocess.PIPE,
            text=True,
        ) as asking:
            connection, _ = stranger.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"220 mail.example.org ESMTP\r\n")
            _, told = asking.communicate(timeout=10)
    assert asking.returncode == 1
    assert told.startswith(f"relay: no answer from http://127.0.0.1:{port}")
    assert "Traceback" not in told


def relay_command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "relay.cli.main", *map(str, arguments)]


def test_a_reader_that_has_seen_enough_gets_no_complaint(relay):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        done = subprocess.run(
            relay_command("queue", "list", "-c", relay.config), stdout=closed, stderr=subprocess.PIPE, check=False
        )
    assert done.stderr == b""


def on_terminal(command: list[str]) -> str:
    """What a command shows on a terminal of 200 columns."""
    ours, theirs = pty.openpty()
    environ = os.environ | {"COLUMNS": "200", "TERM": "xterm"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environ):
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:  # EIO: how Linux says that the last writer closed a terminal
            pass
    os.close(ours)
    return shown.decode()


def test_on_a_terminal_it_is_a_table_with_a_head(relay):
    shown = on_terminal(relay_command("queue", "list", "-c", relay.config))
    assert "STATE" in shown
    assert "primary: circuit open" in shown
    assert "\t" not in shown


def test_without_a_terminal_the_environment_changes_nothing(relay):
    environ = os.environ | {"FORCE_COLOR": "1", "COLUMNS": "20", "TERM": "xterm-256color"}
    done = subprocess.run(
        relay_command("queue", "list", "-c", relay.config), env=environ, capture_output=True, text=True, check=True
    )
    assert "\x1b" not in done.stdout
    assert done.stdout.splitlines()[0].count("\t") == 6


def test_help_is_quick_because_heavy_things_are_not_imported():
    heavy = "{'fastapi', 'uvicorn', 'rich', 'pydantic', 'structlog', 'prometheus_client', 'apsw', 'aiosmtpd'}"
    program = f"import relay.cli.commands, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_H8_an_internal_error_is_a_sentence_without_what_it_held(run, tmp_path):
    """A control socket path that no socket can have, by way of a folder that is too deep."""
    deep = tmp_path.joinpath(*["d" * 50] * 3)
    deep.mkdir(parents=True)
    Path(deep / "relay.yaml").write_text("hostname: relay.test\n")
    told = run("healthcheck", "-c", deep / "relay.yaml")
    assert told.code == 1
    assert told.err.count("\n") == 1
    assert "Traceback" not in told.err
