"""`relay queue` against a running relay."""

from __future__ import annotations

import json

import pytest

from relay.model import Labels, State, TimelineEvent
from tests.desk import NOW, message


@pytest.fixture
def queue(relay, run):
    return lambda *arguments: run("queue", *arguments, "-c", relay.config)


def test_list_is_one_tab_separated_line_a_message_with_the_reason(queue):
    listed = queue("list")
    assert (listed.code, listed.err) == (0, "")
    assert [row[0] for row in listed.rows] == ["0a", "0b", "0c", "0d"]
    assert listed.rows[0] == [
        "0a",
        "queued",
        "2026-11-18T11:05:40.000Z",
        "4096",
        "alice@a.example",
        "bob@b.example",
        "primary: circuit open",
    ]
    assert listed.rows[2][4] == "<>"


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["--id", "0b"], ["0b"]),
        (["--id", "0b", "--id", "0d"], ["0b", "0d"]),
        (["--from", "ALICE@*"], ["0a", "0b", "0d"]),
        (["--to", "*@c.example"], ["0c"]),
        (["--provider", "primary"], ["0b"]),
        (["--state", "held", "--state", "captured"], ["0c", "0d"]),
        (["--state", "held,captured"], ["0c", "0d"]),
        (["--state", "accepted"], ["0e"]),
        (["--older", "1h"], ["0d"]),
        (["--limit", "2"], ["0a", "0b"]),
        (["--tag", "Invoice"], ["0f"]),
        (["--search", "CAROL@"], ["0c"]),
        (["--search", "invo", "--from", "alice@*"], ["0f"]),
        (["--search", "%"], []),
        (["--from", "nobody@*"], []),
    ],
)
def test_filters(relay, queue, arguments, ids):
    if "--tag" in arguments or "--search" in arguments:
        relay.desk.messages["0f"] = message("0f", labels=Labels(tags=("Invoice",)))
    listed = queue("list", *arguments)
    assert listed.code == 0
    assert [row[0] for row in listed.rows] == ids


def test_list_goes_through_all_pages(relay, queue):
    views = [message(f"{number:013d}") for number in range(1203)]
    relay.desk.messages = {view.id: view for view in views}
    assert [row[0] for row in queue("list").rows] == [view.id for view in views]
    assert len(json.loads(queue("list", "--json").out)["data"]) == 1203
    assert len(queue("list", "--limit", "700").rows) == 700


def test_list_as_json_is_one_document_also_when_empty(relay, queue):
    data = json.loads(queue("list", "--json").out)
    assert ([m["id"] for m in data["data"]], data["has_more"]) == (["0a", "0b", "0c", "0d"], False)
    relay.desk.messages.clear()
    assert json.loads(queue("list", "--json").out) == {"data": [], "has_more": False}


def test_H9_an_address_cannot_break_out_of_its_cell(relay, queue):
    evil = message("0a", address="a\tb\n0z\x1b[2J\u2028@x")
    relay.desk.messages = {evil.id: evil}
    listed = queue("list")
    assert len(listed.rows) == 1
    assert listed.rows[0][5] == r"a\tb\n0z\x1b[2J\u2028@x"


@pytest.mark.parametrize(("flag", "value"), [("--state", "lost"), ("--older", "soon")])
def test_a_wrong_filter_is_wrong_usage(queue, flag, value):
    refused = queue("list", flag, value)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("relay: the filter cannot be read") or "request" in refused.err
    assert refused.err.count("\n") == 1


def test_show_has_facts_recipients_and_timeline(queue):
    shown = queue("show", "0b")
    assert shown.code == 0
    assert ["state", "deferred"] in shown.rows
    (recipient,) = [row for row in shown.rows if row[0] == "recipient"]
    assert recipient[1:6] == ["bob@b.example", "deferred", "primary", "1", "2026-11-18T11:07:10.000Z"]
    assert recipient[6].startswith("451 4.3.0 busy; and ")
    assert ["event", "2026-11-18T11:05:50.000Z", "attempt", "primary", "", "451 4.3.0 busy"] in shown.rows
    assert json.loads(queue("show", "0b", "--json").out)["timeline"][1]["kind"] == "attempt"


def test_show_has_what_was_said_to_a_provider(relay, queue):
    said = ("C: MAIL FROM:<a@example.com>", "S: 451 4.3.0 busy")
    event = TimelineEvent(at=NOW, kind="attempt", provider="primary", detail="451 4.3.0 busy", conversation=said)
    relay.desk.messages["0a"] = message("0a", timeline=(event,))
    assert queue("show", "0a").rows[-2:] == [["said", "", "", "primary", "", line] for line in said]


def test_show_has_what_its_sender_wrote_on_it(relay, queue):
    labels = Labels(tags=("Invoice", "e\tu"), metadata={"order": "17", "for": "bob"})
    relay.desk.messages["0a"] = message("0a", labels=labels)
    rows = queue("show", "0a").rows
    assert ["tags", r"Invoice,e\tu"] in rows and ["metadata", "order=17,for=bob"] in rows
    assert not {"tags", "metadata"} & {row[0] for row in queue("show", "0b").rows}


@pytest.mark.parametrize("action", ["retry", "hold", "release", "cancel", "reroute"])
def test_acting_on_what_is_found(relay, queue, action):
    relay.desk.messages["0c"] = message("0c", State.HELD, labels=Labels(tags=("Invoice",)))
    more = ["--provider", "backup"] if action == "reroute" else []
    done = queue(action, *more, "--tag", "Invoice", "--search", "bob@")
    assert (done.code, done.rows) == (0, [["0c", "changed", action]])


def test_show_of_what_is_not_there_fails_with_a_sentence(queue):
    missing = queue("show", "0z")
    assert (missing.code, missing.out) == (1, "")
    assert missing.err == "relay: there is no message '0z', or it was pruned from the history\n"


def test_stats(queue):
    stats = queue("stats")
    assert ["deferred", "1"] in stats.rows
    assert ["oldest_age", "60.0"] in stats.rows
    assert ["healthy", "yes"] in stats.rows
    assert json.loads(queue("stats", "--json").out)["states"]["held"] == 1


@pytest.mark.parametrize(
    ("action", "id", "state"),
    [("retry", "0b", "queued"), ("hold", "0a", "held"), ("release", "0d", "queued"), ("cancel", "0a", "cancelled")],
)
def test_acting_by_id(relay, queue, action, id, state):
    done = queue(action, id)
    assert (done.code, done.rows) == (0, [[id, "changed", action]])
    assert relay.desk.messages[id].state == State(state)


def test_acting_on_several_ids_says_what_became_of_each(relay, queue):
    done = queue("release", "0c", "0a", "--id", "0z")
    assert done.rows == [
        ["0c", "changed", "release"],
        ["0a", "skipped", "it is not held"],
        ["0z", "skipped", "no such message waits"],
    ]
    assert (done.code, done.err) == (1, "relay: release did not apply to 0a, 0z: see relay queue show\n")
    assert relay.desk.messages["0c"].state is State.QUEUED


def test_dry_run_changes_nothing(relay, queue):
    dry = queue("hold", "--from", "alice@*", "--dry-run")
    assert (dry.code, [row[:2] for row in dry.rows]) == (0, [[id, "would change"] for id in ("0a", "0b", "0d")])
    assert relay.desk.messages["0a"].state is State.QUEUED
    assert json.loads(queue("hold", "0a", "--dry-run", "--json").out) == {
        "action": "hold",
        "dry_run": True,
        "changed": ["0a"],
        "skipped": {},
    }


@pytest.mark.parametrize("action", ["retry", "hold", "release", "cancel", "reroute"])
def test_everything_must_be_said(relay, queue, action):
    more = ["--provider", "backup"] if action == "reroute" else []
    refused = queue(action, *more)
    assert (refused.code, refused.out) == (2, "")
    assert "--all" in refused.err
    assert relay.desk.acts == []
    assert queue(action, *more, "--all", "--dry-run").code == 0


def test_reroute(relay, queue):
    done = queue("reroute", "0b", "--provider", "backup")
    assert (done.code, relay.desk.acts[-1][2]) == (0, "backup")
    unknown = queue("reroute", "0b", "--provider", "nobody")
    assert unknown.code == 2
    assert unknown.err == "relay: reroute needs a provider that exists: provider: one of: backup, primary\n"
    assert queue("reroute", "0b").code == 2
