"""`relay user`, `relay token` and `relay key` against a running relay."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys

import pytest

from relay.model import Scope

SECRET = "open s\u00e9same"


@pytest.fixture
def ask(relay, run):
    """A command of this relay's."""
    relay.accounts.__init__()
    return lambda *arguments, given=b"": run(*arguments, "-c", relay.config, given=given)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nmore"])
def test_a_user_is_added_with_the_password_of_standard_input(relay, ask, end):
    done = ask("user", "add", "crm", "--password-stdin", given=(SECRET + end).encode())
    assert (done.code, done.out, done.err) == (0, "", "")
    assert relay.accounts.passwords == {"crm": SECRET.encode()}
    assert relay.accounts.known["crm"].scopes == {Scope.SEND, Scope.QUEUE, Scope.PROVIDERS}


def test_scopes_may_be_given_together_or_one_by_one(relay, ask):
    ask("user", "add", "a", "--password-stdin", "--scope", "send,queue", given=SECRET.encode())
    added = ask("user", "add", "b", "--password-stdin", "--scope", "send", "--scope", "admin", "--json", given=b"x" * 8)
    assert relay.accounts.known["a"].scopes == {Scope.SEND, Scope.QUEUE}
    assert json.loads(added.out)["scopes"] == ["admin", "send"]
    assert ask("user", "list").rows == [
        ["a", "queue,send", "api", "2026-11-18T11:06:40.000Z"],
        ["b", "admin,send", "api", "2026-11-18T11:06:40.000Z"],
    ]
    assert [row["name"] for row in json.loads(ask("user", "list", "--json").out)["data"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "given", "why"),
    [
        (["crm"], SECRET.encode(), "--password-stdin"),
        (["crm", "--password-stdin"], b"\xff" * 9, "not UTF-8"),
        (["crm", "--password-stdin"], b"", "password"),
        (["crm", "--password-stdin"], b"x" * 100_000, "password"),
        (["crm", "--password-stdin", "--scope", "root"], SECRET.encode(), "scopes"),
        ([" ", "--password-stdin"], SECRET.encode(), "name"),
        (["--password-stdin"], SECRET.encode(), "NAME"),
        (["crm", SECRET], b"", ""),
    ],
)
def test_what_is_wrong_is_wrong_usage_in_a_sentence(relay, ask, arguments, given, why):
    refused = ask("user", "add", *arguments, given=given)
    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert why in refused.err
    assert relay.accounts.nobody()


def test_a_short_password_is_taken_and_called_short(relay, ask):
    added = ask("user", "add", "crm", "--password-stdin", given=b"short")
    assert (added.code, added.out) == (0, "")
    assert "that password is short" in added.err
    assert relay.accounts.passwords == {"crm": b"short"}


def test_a_user_is_removed_by_name_whatever_the_name(relay, ask):
    for name in ("crm", "a/b ?#%\u00e9"):
        assert ask("user", "add", name, "--password-stdin", given=SECRET.encode()).code == 0
        assert ask("user", "remove", name).code == 0
    assert relay.accounts.nobody()
    gone = ask("user", "remove", "crm")
    assert (gone.code, gone.err) == (1, "relay: there is no user 'crm'\n")
    assert ask("user", "add", "crm", "--password-stdin", given=SECRET.encode()).code == 0
    again = ask("user", "add", "crm", "--password-stdin", given=SECRET.encode())
    assert (again.code, "'crm'" in again.err) == (1, True)
    assert json.loads(ask("user", "remove", "crm", "--json").out) == {"name": "crm", "removed": True}


def test_a_token_stands_alone_on_standard_output(relay, ask):
    made = ask("token", "create", "--name", "ci", "--scope", "send", "--expires", "30d")
    assert (made.code, made.out) == (0, "secret-1\n")
    assert made.err == "token ci (1): send, until 2026-12-18T11:06:40.000Z; it is not shown again:\n"
    unnamed = ask("token", "create")
    assert "token-1 (2): providers, queue, send, without end" in unnamed.err
    assert json.loads(ask("token", "create", "--json").out)["token"] == "secret-3"
    assert ask("token", "list").rows[0] == [
        "1",
        "ci",
        "send",
        "2026-11-18T11:06:40.000Z",
        "2026-12-18T11:06:40.000Z",
        "",
    ]
    listed = ask("token", "list", "--json").out
    assert [row["id"] for row in json.loads(listed)["data"]] == [1, 2, 3]
    assert "secret" not in listed


def test_a_token_is_revoked_by_name_or_id(relay, ask):
    ask("token", "create", "--name", "ci")
    ask("token", "create", "--name", "cd")
    assert [ask("token", "revoke", which).code for which in ("ci", "2", "ci", "9")] == [0, 0, 1, 1]
    assert relay.accounts.nobody()
    assert ask("token", "create", "--expires", "soon").code == 2


def test_key_rotate_says_how_many(relay, ask):
    assert ask("key", "rotate").rows == [["rotated", "0"]]
    assert json.loads(ask("key", "rotate", "--json").out) == {"rotated": 0}


COMMANDS = [
    ["user"],
    ["user", "add"],
    ["user", "list"],
    ["user", "remove"],
    ["token"],
    ["token", "create"],
    ["token", "list"],
    ["token", "revoke"],
    ["key"],
    ["key", "rotate"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_help_has_an_example(run, command):
    shown = run(*command, "--help")
    assert shown.code == 0
    assert f"relay {' '.join(command)}" in shown.out.partition("Example:")[2]


@pytest.mark.parametrize(("second", "code"), [(SECRET, 0), ("another", 2)], ids=["same", "different"])
def test_on_a_terminal_it_asks_twice_and_shows_nothing(relay, second, code):
    relay.accounts.__init__()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "relay.cli.main", "user", "add", "crm", "-c", str(relay.config)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        seen = read_until(ours, b"Password of crm: ")
        os.write(ours, f"{SECRET}\n".encode())
        seen += read_until(ours, b"Again: ")
        os.write(ours, f"{second}\n".encode())
        seen += read_until(ours, None)
        assert process.wait(10) == code
    os.close(ours)
    assert SECRET not in seen.decode()
    assert bool(re.search("the two are not the same", seen.decode())) == bool(code)
    assert set(relay.accounts.known) == (set() if code else {"crm"})


def read_until(file: int, wanted: bytes | None) -> bytes:
    """What is written there up to this; None: to its end."""
    seen = b""
    while wanted is None or wanted not in seen:
        try:
            some = os.read(file, 1000)
        except OSError:  # Linux says so when nobody has the other side open any more
            some = b""
        if not some:
            assert wanted is None, seen
            break
        seen += some
    return seen
