"""`relay integration` against a running relay, and what it says without one."""

from __future__ import annotations

import json

import pytest

from relay.model import Phase
from relay.ports import Trouble
from tests.unit.automation.test_integrations import OPTIONS

SECRET = OPTIONS["password"]
OPTS = [word for name, value in OPTIONS.items() if name != "password" for word in ("--opt", f"{name}={value}")]
ADD = ["integration", "registered", "add", "smtp"]


@pytest.fixture
def ask(relay, run):
    """A command of this relay's."""
    relay.integrations.__init__()
    relay.checks.__init__()
    return lambda *arguments, given=b"": run(*arguments, "-c", relay.config, given=given)


def register(ask, *opts: str) -> None:
    assert ask(*ADD, *OPTS, "--password-stdin", *opts, given=SECRET.encode()).code == 0


def test_the_seed_s_command_registers(relay, ask):
    done = ask(*ADD, *OPTS, "--opt", f"password={SECRET}")
    assert (done.code, done.rows, done.err) == (0, [["1", "smtp"]], "")
    assert relay.integrations.registered[1].options == OPTIONS
    assert [provider.host for provider in relay.checks.verified] == [OPTIONS["host"]]


def test_H8_the_password_need_not_be_among_the_arguments_and_is_never_shown(relay, ask):
    done = ask(*ADD, *OPTS, "--password-stdin", "--json", given=SECRET.encode() + b"\n")
    assert relay.integrations.registered[1].options["password"] == SECRET
    assert json.loads(done.out)["options"]["password"] == "encrypted_password"
    for shown in (done, ask("integration", "registered", "list", "--json"), ask("integration", "registered", "list")):
        assert SECRET not in shown.out + shown.err


def test_registrations_are_listed_and_removed_with_their_attachments(relay, ask):
    register(ask)
    assert ask("integration", "registered", "list").rows == [
        ["1", "smtp", OPTIONS["host"], "587", OPTIONS["from"], OPTIONS["to"], "healthy"]
    ]
    for _ in range(2):
        ask("integration", "attached", "add", "--workflow", "release", "--integration", "1")
    gone = ask("integration", "registered", "remove", "1")
    assert (gone.code, gone.out, gone.err) == (0, "", "registration 1 removed, and 2 attachments of it\n")
    assert (relay.integrations.registered, relay.integrations.attached) == ({}, {})
    again = ask("integration", "registered", "remove", "1")
    assert (again.code, "no registration 1" in again.err) == (1, True)


@pytest.mark.parametrize("command", [["integration", "attached", "add"], ["workflow", "integration", "attach"]])
def test_both_of_the_seed_s_commands_attach(relay, ask, command):
    register(ask)
    done = ask(*command, "--workflow", "release", "--integration", "1", "--opt", "cc=security@example.com")
    assert (done.code, done.rows) == (0, [["2", "release", "1"]])
    assert relay.integrations.attached[2].options == {"cc": "security@example.com"}
    plain = ask(*command, "--workflow", "nightly", "--integration", "1", "--json")
    assert json.loads(plain.out)["options"] == {}
    assert ask("integration", "attached", "list").rows == [
        ["2", "release", "1", "security@example.com"],
        ["3", "nightly", "1", ""],
    ]
    assert ask("integration", "attached", "list", "--workflow", "nightly").rows == [["3", "nightly", "1", ""]]
    assert json.loads(ask("integration", "attached", "remove", "3", "--json").out) == {"id": 3, "removed": True}
    assert ask("integration", "attached", "remove", "3").code == 1


@pytest.mark.parametrize(
    ("opts", "why"),
    [
        (["--opt", "user"], "--opt user is no name=value"),
        (["--opt", "user=a", "--opt", SECRET], "--opt number 2 is no name=value"),
        (["--opt", f"={SECRET}"], "--opt number 1 is no name=value"),
        (["--opt", "to=a", "--opt", f"to={SECRET}"], "--opt to is given twice"),
        (["--opt", f"password={SECRET}"], "--password-stdin exclude each other"),
    ],
)
def test_H8_a_malformed_option_names_itself_and_no_secret(relay, ask, opts, why):
    refused = ask(*ADD, *opts, "--password-stdin", given=SECRET.encode())
    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert why in refused.err
    assert SECRET not in refused.err
    assert relay.integrations.registered == {}


def test_H8_what_the_relay_refuses_is_named_without_values(relay, ask):
    refused = ask(*ADD, *OPTS, "--opt", f"pasword={SECRET}")
    assert refused.code == 2
    assert "pasword: is no option of the registration, did you mean 'password'?" in refused.err
    assert "password: is missing" in refused.err
    assert SECRET not in refused.err
    assert "slack" in ask("integration", "registered", "add", "slack", "--opt", "a=b").err


def test_what_cannot_be_verified_says_why(relay, ask):
    relay.checks.trouble = Trouble(
        phase=Phase.AUTH, detail="535 5.7.8 no; user name or password is wrong: correct them"
    )
    refused = ask(*ADD, *OPTS, "--password-stdin", given=SECRET.encode())
    assert (refused.code, relay.integrations.registered) == (2, {})
    assert "nothing was registered: 535 5.7.8 no; user name or password is wrong: correct them" in refused.err


HELP = [
    ["integration"],
    ["integration", "registered"],
    ["integration", "registered", "add"],
    ["integration", "registered", "list"],
    ["integration", "registered", "remove"],
    ["integration", "attached"],
    ["integration", "attached", "add"],
    ["integration", "attached", "list"],
    ["integration", "attached", "remove"],
    ["workflow"],
    *[["workflow", verb] for verb in ("list", "show", "add", "replace", "remove", "preview", "run", "integration")],
    ["workflow", "integration", "attach"],
    ["event"],
    *[["event", verb] for verb in ("send", "list", "show")],
]


@pytest.mark.parametrize("command", HELP)
def test_every_help_has_an_example(run, command):
    shown = run(*command, "--help")
    assert shown.code == 0
    assert f"relay {command[0]}" in shown.out.partition("Example:")[2]
    assert "-c/--config, --json and --url may also stand here" in shown.out


@pytest.mark.parametrize(
    "command",
    [
        ["integration", "registered", "list"],
        [*ADD, "--opt", "password=x"],
        ["integration", "attached", "add", "--workflow", "w", "--integration", "1"],
        ["workflow", "list"],
        ["workflow", "run", "welcome"],
        ["event", "send", "user.created"],
        ["event", "list"],
    ],
)
def test_without_a_running_relay_it_says_so(run, tmp_path, command):
    (tmp_path / "relay.yaml").write_text("hostname: relay.test\nspool: {url: sqlite:///spool/spool.db}\n")
    refused = run(*command, "-c", tmp_path / "relay.yaml")
    assert (refused.code, refused.out) == (1, "")
    assert "start one with relay run" in refused.err
    assert not (tmp_path / "spool").exists()
