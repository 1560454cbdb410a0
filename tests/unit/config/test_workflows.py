"""Workflows as people write them: seed a's as they stand, what is refused and where, names, YAML over HTTP."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from relay import model
from relay.config import workflows
from relay.config.build import workflows as built
from relay.config.load import load
from relay.config.rules import check
from relay.config.schema import Config

SEED = (Path(__file__).parents[2] / "seeds" / "a-smtp-integration-and-workflow-actions.txt").read_text(encoding="utf-8")
SEEDS = re.findall(r"^```yaml\n(.*?)^```", SEED, re.DOTALL | re.MULTILINE)
MAIL = {"to": "a@example.com", "subject": "s", "body": "b"}


def rule(data: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A workflow of one mail, of which some things are otherwise."""
    return {"actions": [{"service": "smtp.send_email", "data": MAIL | (data or {})}], **more}


def refused(document: Any) -> dict[tuple[str | int, ...], str]:
    """Place to sentence."""
    with pytest.raises(ValidationError) as caught:
        workflows.parse(document)
    found = {error["loc"]: error["msg"].removeprefix("Value error, ") for error in caught.value.errors()}
    assert "{it}" not in str(found)
    return found


def in_data(given: dict[str, Any]) -> dict[tuple[str | int, ...], str]:
    """The same, as seen from `data`."""
    return {place[3:]: sentence for place, sentence in refused(rule(given)).items()}


# Seed a.


def test_seed_a_has_an_action_alone_and_two_with_their_event() -> None:
    assert len(SEEDS) == 3
    events = [workflows.parse(workflows.from_yaml(text)).event for text in SEEDS]
    assert events == ["", "user.created", "employee.created"]


@pytest.mark.parametrize("text", SEEDS, ids=["action", "welcome", "onboarding"])
def test_seed_a_stands_in_the_configuration_as_it_is(tmp_path: Path, text: str) -> None:
    item = "  - " + text.replace("\n", "\n    ")
    (tmp_path / "relay.yaml").write_text(f"workflows:\n{item}\n")
    [made] = built(load(tmp_path / "relay.yaml", {}).config)
    by_http = workflows.parse(workflows.from_yaml(text))
    assert made == workflows.workflow(by_http, name=made.name)
    assert made.name in ("workflow", "user.created", "employee.created")


def test_seed_as_templates_are_kept_as_they_were_written() -> None:
    made = workflows.workflow(workflows.parse(workflows.from_yaml(SEEDS[1])), name="welcome", origin="api", version=3)
    assert made == model.Workflow(
        name="welcome",
        event="user.created",
        actions=(
            model.Action(
                service="smtp.send_email",
                mail=model.MailTemplate(
                    to=("{{ user.email }}",),
                    subject="Welcome to faneX-ID",
                    text="Hello {{ user.username }}, your account has been created successfully.",
                ),
            ),
        ),
        origin="api",
        version=3,
        document=made.document,
    )


# Everything there is.

FULL: dict[str, Any] = {
    "if": "user.active",
    "trigger": {"type": "event", "event": "order paid"},
    "actions": [
        {
            "service": "smtp.send_email",
            "if": "total > 5",
            "data": {
                "to": ["Ann <ann@example.com>", "{{ user.email }}"],
                "cc": "c@example.com",
                "bcc": ["b@example.com"],
                "subject": "Paid: {{ total }}\n",
                "body": "Hello\n\tyou",
                "html": "<p>{{ total }}</p>",
                "from": "Shop <shop@example.com>",
                "reply_to": "{{ desk }}",
                "identity": "invoices",
                "attachments": [
                    {"filename": "a.txt", "content": "{{ total }}", "content_type": "text/plain"},
                    {"filename": "{{ id }}.pdf", "content_base64": "aGk="},
                ],
            },
        }
    ],
}


def test_all_that_can_be_said() -> None:
    made = workflows.workflow(workflows.parse(FULL | {"name": "paid"}), name="paid", changed_at=5.0, changed_by="ann")
    assert (made.condition, made.event, made.changed_at, made.changed_by) == ("user.active", "order paid", 5.0, "ann")
    [action] = made.actions
    assert action.condition == "total > 5"
    assert action.mail == model.MailTemplate(
        to=("Ann <ann@example.com>", "{{ user.email }}"),
        cc=("c@example.com",),
        bcc=("b@example.com",),
        sender="Shop <shop@example.com>",
        reply_to="{{ desk }}",
        identity="invoices",
        subject="Paid: {{ total }}",
        text="Hello\n\tyou",
        html="<p>{{ total }}</p>",
        attachments=(
            model.Enclosure(filename="a.txt", content="{{ total }}", content_type="text/plain"),
            model.Enclosure(filename="{{ id }}.pdf", content="aGk=", base64=True),
        ),
    )


@pytest.mark.parametrize("given", [FULL, rule(), rule({"to": ["a@example.com"]}, **{"if": None})])
def test_a_document_is_what_was_written_without_its_name(given: dict[str, Any]) -> None:
    judged = workflows.parse(given | {"name": "n"})
    assert workflows.document(judged) == given
    assert json.loads(json.dumps(workflows.document(judged))) == given
    assert workflows.parse(given) == judged.model_copy(update={"name": None})


def test_null_is_as_good_as_left_out() -> None:
    given = rule({"cc": None, "html": None, "attachments": None}, trigger=None, name=None)
    made = workflows.workflow(workflows.parse(given), name="n")
    assert (made.event, made.actions[0].mail.cc, made.actions[0].mail.html) == ("", (), None)
    assert refused({"actions": None}) == {("actions",): "Field required"}


# What is refused, and where.


@pytest.mark.parametrize("name", ["", " a", ".a", "a/b", "a\n", "ä", "x" * 101, "preview", "a\tb"])
def test_names_that_are_none(name: str) -> None:
    assert set(refused(rule(name=name))) == {("name",)}
    with pytest.raises(ValidationError):
        TypeAdapter[str](workflows.Name).validate_python(name)


def test_names_that_are_some() -> None:
    for name in ("a", "7", "Welcome mail 2.0_b-c", "x" * 100, "previews"):
        assert workflows.parse(rule(name=name)).name == name


@pytest.mark.parametrize("event", ["", " ", "a\nb", "a\x7f", "a\u2028b", "\ud800", "x" * 201, 5, None])
def test_H1_names_of_events_are_one_printable_line(event: object) -> None:
    assert set(refused(rule(trigger={"type": "event", "event": event}))) == {("trigger", "event")}
    assert workflows.parse(rule(trigger={"type": "event", "event": "Größe/x"})).event == "Größe/x"


@pytest.mark.parametrize(
    "value",
    ["", "nobody", "a@example.com, b@example.com", "a@example.com, B <b@example.com>", "a@x\r\nBcc: b@x", "a b@x"],
)
@pytest.mark.parametrize("field", ["to", "cc", "bcc", "from", "reply_to"])
def test_H1_a_mailbox_is_one_mailbox(field: str, value: str) -> None:
    place = (field,) if field in ("from", "reply_to") else (field, 0)
    assert set(in_data({field: value})) == {place}


def test_a_mailbox_is_judged_when_it_is_made_if_it_is_a_template() -> None:
    workflows.parse(rule({"to": "{{ a }}, {{ b }}", "from": "{% if a %}x{% endif %}"}))
    workflows.parse(rule({"to": ['"Ann, B" <a@example.com>', "Ann@home <a@example.com>", "<a@example.com>"]}))


@pytest.mark.parametrize("field", ["to", "cc", "bcc", "subject", "body", "html", "from", "reply_to", "identity"])
@pytest.mark.parametrize("value", ["\x00", "a\x1bb", "\ud800", "\x7f"], ids=ascii)
def test_H1_control_characters_and_half_pairs_are_in_no_text(field: str, value: str) -> None:
    assert {place[0] for place in in_data({field: value})} == {field}
    assert {place[0] for place in in_data({field: "{{ a }}" + value})} == {field}


@pytest.mark.parametrize(
    "value", ["a\nb", "a\r\nBcc: x@example.com", "a\u2028b", "=?utf-8?q?a=0d=0aBcc:_x?="], ids=ascii
)
def test_H1_a_plain_subject_is_one_line(value: str) -> None:
    assert set(in_data({"subject": value})) == {("subject",)}
    assert set(in_data({"identity": value})) == {("identity",)}
    attachment = {"filename": value, "content": "", "content_type": value}
    places = {("attachments", 0, "filename"), ("attachments", 0, "content_type")}
    assert set(in_data({"attachments": [attachment]})) == places


@pytest.mark.parametrize("value", [5, True, 1.5, {"a": "b"}])
def test_a_template_is_a_string(value: object) -> None:
    for field in ("subject", "body", "html", "from", "identity"):
        assert set(in_data({field: value})) == {(field,)}
    assert set(in_data({"to": [value]})) == {("to", 0)}
    assert ("to",) in in_data({"to": value})
    assert set(refused(rule(**{"if": value}))) == {("if",)}


@pytest.mark.parametrize("field", ["to", "cc", "subject", "body", "html", "from"])
def test_a_broken_template_is_named(field: str) -> None:
    [(place, sentence)] = in_data({field: "{{ user.email }"}).items()
    assert place[0] == field
    assert "unexpected" in sentence


def test_a_broken_condition_is_named() -> None:
    assert set(refused(rule(**{"if": "a and"}))) == {("if",)}
    given = rule()
    given["actions"][0]["if"] = "== 1"
    assert set(refused(given)) == {("actions", 0, "if")}
    assert set(refused(rule(**{"if": "a" * 4097}))) == {("if",)}


def test_attachments() -> None:
    one = {"filename": "a.txt", "content": "x"}
    assert len(workflows.parse(rule({"attachments": [one] * 20})).actions[0].data.attachments) == 20
    assert set(in_data({"attachments": [one] * 21})) == {("attachments",)}
    for wrong in ({"filename": "a.txt"}, one | {"content_base64": "aGk="}):
        assert set(in_data({"attachments": [wrong]})) == {("attachments", 0)}
    for text in ("hunter", "aGk", "aGk=aGk=", "ä"):
        wrong = {"filename": "a", "content_base64": text}
        assert set(in_data({"attachments": [wrong]})) == {("attachments", 0, "content_base64")}
    workflows.parse(rule({"attachments": [{"filename": "a", "content_base64": " aG\n k=\n"}]}))


def test_a_mail_has_somebody_a_subject_and_a_text() -> None:
    assert set(refused({"actions": [{"service": "smtp.send_email", "data": {}}]})) == {
        ("actions", 0, "data", "to"),
        ("actions", 0, "data", "subject"),
    }
    assert in_data({"body": None}) == {(): "needs body, or html, or both"}
    assert in_data({"to": []}) == {("to",): "must have at least one entry"}
    workflows.parse(rule({"body": None, "html": "<p>"}))


def test_bounds() -> None:
    [action] = rule()["actions"]
    workflows.parse({"actions": [action] * 50})
    assert set(refused({"actions": [action] * 51})) == {("actions",)}
    assert refused({"actions": []}) == {("actions",): "must have at least one entry"}
    workflows.parse(rule({"to": ["a@example.com"] * 100, "body": "x" * 65536}))
    assert set(in_data({"to": ["a@example.com"] * 101})) == {("to",)}
    assert set(in_data({"body": "x" * 65537})) == {("body",)}


def test_H6_a_document_is_bounded_before_a_template_in_it_is_read() -> None:
    """256 KiB of all texts together, counted as bytes: fifty broken templates are not even looked at."""
    action = {"service": "smtp.send_email", "data": MAIL | {"body": "{{ é" * 5000}}
    assert list(refused({"actions": [action] * 50})) == [()]
    aliases = "a: &a '" + "x" * 60000 + "'\nb: [" + "*a, " * 20000 + "]"
    assert list(refused(workflows.from_yaml(aliases))) == [()]


@pytest.mark.parametrize("document", [None, [], "text", 5, {}, {"actions": [None]}, {"actions": {"a": 1}}])
def test_what_is_no_workflow(document: Any) -> None:
    assert refused(document)


def test_what_else_there_is_is_unknown() -> None:
    found = refused(rule({"text": "x", "from_": "a@example.com"}, mode="single", if_="a"))
    data = ("actions", 0, "data")
    assert set(found) == {("mode",), ("if_",), (*data, "text"), (*data, "from_")}
    assert set(refused({"actions": [{"service": "smtp.send", "data": MAIL}]})) == {("actions", 0, "service")}
    assert set(refused(rule(trigger={"type": "time", "event": "x"}))) == {("trigger", "type")}


# Names.


@pytest.mark.parametrize(
    ("event", "taken", "name"),
    [
        ("user.created", (), "user.created"),
        ("user.created", ("user.created",), "user.created-2"),
        ("user.created", ("user.created", "user.created-2"), "user.created-3"),
        ("", (), "workflow"),
        ("", ("workflow",), "workflow-2"),
        ("order/paid:now", (), "order-paid-now"),
        ("/x", (), "x"),
        ("Größe", (), "Gr--e"),
        ("日本", (), "workflow"),
        ("preview", (), "preview-2"),
        ("x" * 200, (), "x" * 100),
        ("x" * 200, ("x" * 100,), "x" * 98 + "-2"),
    ],
)
def test_a_name_is_made_of_the_event(event: str, taken: tuple[str, ...], name: str) -> None:
    assert workflows.name_for(event, taken) == name
    assert TypeAdapter[str](workflows.Name).validate_python(name) == name


def test_nameless_ones_of_the_file_get_names_that_nobody_has() -> None:
    event = {"type": "event", "event": "a"}
    config = Config.model_validate({"workflows": [rule(trigger=event), rule(name="a"), rule(trigger=event), rule()]})
    assert list(check(config)) == []
    assert [one.name for one in built(config)] == ["a-2", "a", "a-3", "workflow"]
    assert {(one.origin, one.version, one.changed_by) for one in built(config)} == {("file", 1, "")}


def test_the_configuration_takes_a_thousand(tmp_path: Path) -> None:
    assert len(built(Config.model_validate({"workflows": [rule()] * 1000}))) == 1000
    with pytest.raises(ValidationError):
        Config.model_validate({"workflows": [rule()] * 1001})


def test_the_file_puts_the_environment_into_its_templates_once(tmp_path: Path) -> None:
    text = "workflows: [{actions: [{service: smtp.send_email, data: {to: %s, subject: '$$5 {{ a }}', body: ''}}]}]"
    (tmp_path / "relay.yaml").write_text(text % '"${TO}"')
    [made] = built(load(tmp_path / "relay.yaml", {"TO": "a@example.com"}).config)
    assert (made.actions[0].mail.to, made.actions[0].mail.subject) == (("a@example.com",), "$5 {{ a }}")


# YAML over HTTP.


def test_H4_yaml_is_text_and_nothing_else() -> None:
    text = "{name: 007, if: yes, when: 12:30, none: ~, dollar: '${HOME} $$', list: [1, 2.5]}"
    assert workflows.from_yaml(text) == {
        "name": "007",
        "if": "yes",
        "when": "12:30",
        "none": None,
        "dollar": "${HOME} $$",
        "list": ["1", "2.5"],
    }
    assert workflows.from_yaml("") is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: !!python/object/apply:os.system [true]", "line 1, column 7: YAML tags are not allowed"),
        ("a: 1\nb: 2\na: 3", "line 3, column 1: 'a' is there twice, already in line 1"),
        ("a: 1\n---\nb: 2", "line 2, column 1: a second document"),
        ("a: [", "line 2, column 1: a bracket or brace is not closed"),
        ("[" * 30 + "]" * 30, "line 1, column 22: this is nested too deeply"),
        ("a: *b", "line 1, column 4: an alias to nothing"),
        ("a: \x00", "line 1, column 1: a character that YAML does not allow"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 10)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)),
            "line 5, column",
        ),
        (("k" * 900 + ": 1\n") * 2, "line 2, column 1: 'kkk"),
    ],
    ids=["tag", "twice", "documents", "open", "deep", "alias", "nul", "bomb", "long key"],
)
def test_H4_what_yaml_can_do_is_refused_with_its_place(text: str, sentence: str) -> None:
    with pytest.raises(workflows.Unreadable) as caught:
        workflows.from_yaml(text)
    assert str(caught.value).startswith(sentence)
    assert len(str(caught.value)) < 400
