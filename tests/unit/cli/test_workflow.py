"""`relay workflow` and `relay event` against a running relay."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.automation import ANN, rule

DATA = json.dumps(ANN)


@pytest.fixture
def ask(relay, run):
    """A command of this relay's."""
    relay.workflows.__init__()
    relay.intake.__init__()
    return lambda *arguments, given=b"": run(*arguments, "-c", relay.config, given=given)


@pytest.fixture
def file(tmp_path):
    made = tmp_path / "welcome.yaml"
    made.write_text(yaml.safe_dump(rule(name="welcome")))
    return made


def test_a_workflow_is_added_seen_replaced_and_removed(relay, ask, file):
    assert ask("workflow", "add", file).rows == [["welcome", "1"]]
    assert ask("workflow", "list").rows == [["welcome", "user.created", "1", "api", "1"]]
    shown = ask("workflow", "show", "welcome")
    assert yaml.safe_load(shown.out)["trigger"] == {"type": "event", "event": "user.created"}
    file.write_text(shown.out.replace("Welcome", "Hello"))
    assert ask("workflow", "replace", "welcome", file).rows == [["welcome", "2"]]
    late = ask("workflow", "replace", "welcome", file)
    assert (late.code, "version 2" in late.err) == (1, True)
    assert json.loads(ask("workflow", "remove", "welcome", "--json").out) == {"name": "welcome", "removed": True}
    gone = ask("workflow", "show", "welcome")
    assert (gone.code, gone.out) == (1, "")


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump])
def test_a_rule_may_be_json_and_may_come_on_standard_input(relay, ask, write):
    added = ask("workflow", "add", "-", "--json", given=write(rule(name="a b")).encode())
    assert added.code == 0, added.err
    assert json.loads(added.out)["name"] == "a b"
    assert ask("workflow", "show", "a b").code == 0


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"a: [", "no YAML"),
        (b"!!python/object/apply:os.system [ls]", "no YAML"),
        (b"", "no workflow"),
        (b"[]", "no workflow"),
        (b"\xff", "not UTF-8"),
        (b"{}", "actions"),
        (b"workflows:\n- name: a\n", "without workflows:"),
        (b"- name: a\n", "without the dash"),
    ],
)
def test_H4_a_file_that_is_no_rule_is_refused(relay, ask, tmp_path, content, why):
    file = tmp_path / "rule.yaml"
    file.write_bytes(content)
    refused = ask("workflow", "add", file)
    assert (refused.code, refused.out) == (2, "")
    assert why in refused.err
    assert "Traceback" not in refused.err
    assert ask("workflow", "add", tmp_path / "none").code == 2


def test_what_is_wrong_with_a_rule_is_said_with_the_way_to_it(relay, ask, tmp_path):
    mail = {"to": "ann@example.org", "subject": "Hello", "body": "Hello"}
    file = tmp_path / "rule.yaml"
    file.write_text(yaml.safe_dump(rule("a", mail, mail | {"to": ["ann@example.org", "bob"], "subject": "{{ a"})))
    said = ask("workflow", "add", file).err
    assert "actions.1.data.subject: " in said
    assert "actions.1.data.to.1: " in said
    file.write_text(yaml.safe_dump(rule("a", mail, name="no/name")))
    assert " name: must be" in ask("workflow", "add", file).err


def test_an_event_that_nothing_waits_for_is_no_error_but_said(relay, ask, file):
    done = ask("event", "send", "user.craeted")
    assert (done.code, done.out) == (0, "")
    assert done.err == "no workflow waits for it: relay workflow list shows the events\n"
    assert ask("event", "send", "user.craeted", "--json").err == ""


def test_a_preview_mails_nothing(relay, ask, file):
    ask("workflow", "add", file)
    shown = ask("workflow", "preview", "welcome", "--data", DATA)
    assert (shown.code, shown.rows) == (0, [["0", "ann@example.org", "Welcome", "Hello Ann."]])
    wrong = ask("workflow", "preview", "welcome")
    assert (wrong.code, wrong.out) == (1, "")
    assert wrong.err.startswith("relay: welcome, action 0, failed: actions.0.data.to")
    assert relay.intake.submissions == []


def test_a_workflow_is_run_by_its_name(relay, ask, file):
    ask("workflow", "add", file)
    done = ask("workflow", "run", "welcome", "--data", DATA)
    (submission,) = relay.intake.submissions
    assert (done.code, done.rows) == (0, [["welcome", submission.message.id]])


@pytest.mark.parametrize("way", ["argument", "file", "stdin"])
def test_an_event_is_told_and_seen(relay, ask, file, tmp_path, way):
    (tmp_path / "data.json").write_text(DATA)
    data = {"argument": DATA, "file": f"@{tmp_path / 'data.json'}", "stdin": "-"}[way]
    ask("workflow", "add", file)
    done = ask("event", "send", "user.created", "--data", data, given=DATA.encode())
    (submission,) = relay.intake.submissions
    assert (done.code, done.rows, done.err) == (0, [["welcome", submission.message.id]], "")
    (row,) = ask("event", "list").rows
    assert [*row[1:3], *row[4:]] == ["event", "user.created", "control", "1", "0"]
    shown = dict(ask("event", "show", row[0]).rows)
    assert (shown["id"], shown["message"]) == (row[0], submission.message.id)
    assert json.loads(ask("event", "list", "--name", "x", "--json").out)["data"] == []


def test_what_failed_is_said_and_shown(relay, ask, file):
    ask("workflow", "add", file)
    done = ask("event", "send", "user.created")
    assert (done.code, done.out) == (1, "")
    assert "welcome, action 0, failed:" in done.err
    (row,) = ask("event", "list").rows
    assert row[-2:] == ["0", "1"]
    assert "failed\twelcome, action 0, failed:" in ask("event", "show", row[0]).out
    assert json.loads(ask("event", "send", "user.created", "--json").out)["messages"] == []


def test_what_was_not_to_be_is_said(relay, ask, tmp_path):
    file = tmp_path / "rule.yaml"
    file.write_text(yaml.safe_dump(rule(name="welcome") | {"if": "user.vip"}))
    assert ask("workflow", "add", file).code == 0
    done = ask("event", "send", "user.created", "--data", '{"user": {"vip": false}}')
    assert (done.code, done.out, done.err) == (0, "", "welcome made no mail: its if is false\n")


@pytest.mark.parametrize("data", ["{", "[]", "nothing", "@/none/there", '"x"'])
def test_H8_data_that_are_none_are_refused_without_being_repeated(relay, ask, data):
    refused = ask("event", "send", "user.created", "--data", data)
    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)


def test_what_there_is_not_is_said(relay, ask):
    assert ask("event", "show", "x").code == ask("workflow", "run", "x").code == 1
