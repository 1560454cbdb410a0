"""Mail about workflow runs: whatever the objects hold, it says it plainly, in bounds, and attaches all of it."""

from __future__ import annotations

import json
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

import msgspec
import pytest

from relay.automation.integrations import provider_of
from relay.automation.runs import LINES, Run, Told, draft, told
from relay.compose.message import Composed, compose
from relay.compose.words import line_problem, text_problem
from relay.model import Attached, MessageId, Registration
from relay.smtp.data import unstuff
from tests.parts import HOUSE
from tests.unit.automation.test_integrations import OPTIONS

NOW = 1_800_000_000.0
RUN = {"name": "build-42", "status": "success", "commit": {"hash": "0ff1ce", "tags": ["v1", "v2"]}, "dirty": False}
ATTESTATION = {"type": "in-toto", "materials": [{"name": "sbom", "size": 1.5}, {}], "note": None}
REGISTRATION = Registration(
    id=3, integration="smtp", options=OPTIONS, provider=provider_of(3, OPTIONS, False), created_at=NOW
)
ATTACHED = Attached(id=5, workflow="release", registration=3, options={}, created_at=NOW)


def of(run: Any = RUN, attestation: Any = ATTESTATION, workflow: str = "release") -> Told:
    files = {"run_bytes": written(run), "attestation_bytes": written(attestation)}
    return told(Run(workflow=workflow, run=run, attestation=attestation, **files))


def written(content: Any) -> bytes:
    """What Python does not write is of no use as a file either."""
    try:
        return json.dumps(content).encode()
    except ValueError:
        return b"{}"


def mail(what: Told, attached: Attached = ATTACHED) -> EmailMessage:
    made = compose(draft(what, REGISTRATION, attached), HOUSE, id=MessageId("0" * 13), client="unix", now=NOW)
    assert isinstance(made, Composed)
    return message_from_bytes(unstuff(b"".join(made.wire())), policy=default)  # type: ignore[return-value]


def test_who_it_is_from_and_to():
    made = draft(of(), REGISTRATION, ATTACHED)
    assert made.sender is not None
    assert (made.sender.address, [to.address for to in made.to], made.cc) == (OPTIONS["from"], [OPTIONS["to"]], ())
    copied = draft(of(), REGISTRATION, Attached(**{**_fields(ATTACHED), "options": {"cc": "security@example.com"}}))
    assert [cc.address for cc in copied.cc] == ["security@example.com"]


def _fields(one: Attached) -> dict[str, Any]:
    return {name: getattr(one, name) for name in ("id", "workflow", "registration", "options", "created_at")}


def test_it_shows_the_run_and_the_attestation_and_attaches_it_whole():
    seen = mail(of())
    assert seen["Subject"] == "[release] workflow run build-42 success"
    text = seen.get_body(("plain",)).get_content().replace("\r\n", "\n")
    for line in ("name: build-42", "commit.hash: 0ff1ce", "commit.tags.1: v2", "dirty: false"):
        assert f"\n{line}\n" in text
    for line in ("materials.0.name: sbom", "materials.0.size: 1.5", "materials.1: {}", "note: null"):
        assert f"\n{line}\n" in text
    html = seen.get_body(("html",)).get_content()
    assert "<b>commit.hash</b></td><td>0ff1ce</td>" in html
    (attached,) = seen.iter_attachments()
    assert (attached.get_filename(), attached.get_content_type()) == ("attestation.json", "application/json")
    assert json.loads(attached.get_content()) == ATTESTATION
    assert attached.get_content().startswith(b'{\n  "type": "in-toto",\n  "materials": [\n')


def test_the_file_has_numbers_as_they_were_written():
    raw = b'{"z":1.10,"a":123456789012345678901234567890,"e":1e999}'
    what = told(Run(workflow="w", run={}, attestation={}, run_bytes=b"{}", attestation_bytes=raw))
    assert what.files[0].content == b'{\n  "z": 1.10,\n  "a": 123456789012345678901234567890,\n  "e": 1e999\n}\n'


@pytest.mark.parametrize(
    ("run", "subject"),
    [
        ({}, "[release] workflow run"),
        ({"id": 42}, "[release] workflow run 42"),
        ({"id": "a1", "status": "failed"}, "[release] workflow run a1 failed"),
        ({"status": "failed"}, "[release] workflow run failed"),
        ({"name": "", "run_id": "r-1", "state": "done"}, "[release] workflow run r-1 done"),
        ({"name": {"a": 1}, "id": None, "number": 3, "status": True, "result": "ok"}, "[release] workflow run 3 ok"),
        ({"name": ["x"], "status": []}, "[release] workflow run"),
    ],
)
def test_the_subject_says_what_the_run_does(run, subject):
    assert of(run).subject == subject


ODD = ["a\r\nBcc: eve@x.example", "\x00\x1b[31m", "\ud800", "\u2028", "\u202egnp", "=?utf-8?q?x?=", "x" * 5000, "<b>"]


@pytest.mark.parametrize("odd", ODD)
def test_H1_nothing_in_it_becomes_a_header_or_markup(odd):
    what = of({"name": odd, "status": odd, odd: {odd: odd}}, {odd: [odd]}, workflow=odd)
    assert line_problem(what.subject) == ""
    assert len(what.subject) < 300
    assert text_problem(what.text) == text_problem(what.html) == ""
    assert "<b><b>" not in what.html
    seen = mail(what)
    assert seen["Bcc"] is None
    assert seen["To"] == OPTIONS["to"]


@pytest.mark.parametrize("count", [LINES - 1, LINES, LINES + 1, 50 * LINES])
def test_a_large_one_is_shown_in_part_and_attached_whole(count):
    many = {f"k{n}": n for n in range(count)}
    what = of(many, many)
    over = count > LINES
    assert what.text.count("\n") < 2 * LINES + 20
    assert ("… all of it is in run.json" in what.text) is over
    assert ("all of it is in attestation.json" in what.html) is over
    assert [file.filename for file in what.files] == ["attestation.json", "run.json"][: 1 + over]
    assert all(json.loads(file.content) == many for file in what.files)


def test_a_value_that_was_cut_is_whole_in_its_file():
    what = of({"log": "x" * 501})
    assert "x" * 500 + "…" in what.text
    assert [file.filename for file in what.files] == ["attestation.json", "run.json"]


@pytest.mark.parametrize(
    "value",
    [float("inf"), float("nan"), "", [], {}, [[]], [{}], None, True, {"": {"": ""}}, {"a.b": {"c": 1}}],
)
def test_no_value_is_too_odd(value):
    run = {"id": value, "status": value, "x": value}
    what = told(Run(workflow="w", run=run, attestation=run, run_bytes=b"", attestation_bytes=b"\xff"))
    assert mail(what)["Subject"]
    assert what.files[0].content == b"\xff"


def test_a_number_of_too_many_digits_is_called_so():
    assert "x: a number of very many digits" in of({"x": 10**5000}, {}).text


def test_H6_deep_ones_cost_no_more_than_flat_ones():
    deep: Any = 1
    for _ in range(50_000):
        deep = [deep]
    what = told(Run(workflow="w", run={"x": deep}, attestation={}, run_bytes=b"", attestation_bytes=b"[" * 500_000))
    assert len(what.text) < 5000
    assert what.files[0].content == b"[" * 500_000


def test_H6_a_large_file_of_many_levels_is_not_made_larger():
    wide = b"[" * 150 + b"1," * 500_000 + b"1" + b"]" * 150
    what = told(Run(workflow="w", run={}, attestation={}, run_bytes=b"", attestation_bytes=b'{"a":' + wide + b"}"))
    assert what.files[0].content == b'{"a":' + wide + b"}"


def test_fixed_words_are_there_for_a_run_that_says_nothing():
    what = of({}, {})
    assert "The workflow release ran." in what.text
    assert what.text.count("nothing") == what.html.count("nothing") == 2
    assert msgspec.json.decode(what.files[0].content) == {}
