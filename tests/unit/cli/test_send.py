"""`relay send`: options in, one message in the spool of the relay that runs."""

from __future__ import annotations

import io
import json
import sys
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from relay.model import Source
from relay.smtp.data import unstuff

MAIL = ("--from", "App <app@example.org>", "--to", "ann@example.com", "--subject", "Grüße", "--body", "It works.")


def sent(relay) -> tuple[list[str], EmailMessage]:
    (submission,) = relay.intake.submissions
    message = message_from_bytes(unstuff(submission.body.data).replace(b"\r\n", b"\n"), policy=policy.default)
    assert isinstance(message, EmailMessage)
    return [recipient.address for recipient in submission.message.envelope.recipients], message


def test_it_prints_the_id_of_a_mail_that_is_safe(relay, run):
    done = run("-c", relay.config, "send", *MAIL)
    assert (done.code, done.out.strip()) == (0, relay.intake.submissions[0].message.id)
    recipients, message = sent(relay)
    assert recipients == ["ann@example.com"]
    assert (message["From"], message["Subject"]) == ("App <app@example.org>", "Grüße")
    assert message.get_content() == "It works.\n"
    assert relay.intake.submissions[0].message.source == Source(kind="http", client="unix", user="control")


def test_everything(relay, run, tmp_path):
    pdf, strange = tmp_path / "räume.pdf", tmp_path / "x.eml"
    pdf.write_bytes(b"%PDF\0\xff")
    strange.write_text("From: x\n\ny\n")
    done = run(
        *("-c", relay.config, "--json", "send", *MAIL, "--to", "bob@example.com", "--html", "<p>It works.</p>"),
        *("--cc", "c@example.com", "--bcc", "secret@example.com", "--reply-to", "help@example.org"),
        *("--attach", pdf, "--attach", strange, "--idempotency-key", "k1", "--send-at", "2026-11-19T00:00:00Z"),
    )
    answer = json.loads(done.out)
    assert (answer["status"], len(answer["recipients"])) == ("captured", 4)
    recipients, message = sent(relay)
    assert recipients == ["ann@example.com", "bob@example.com", "c@example.com", "secret@example.com"]
    assert (message["Cc"], message["Reply-To"], message["Bcc"]) == ("c@example.com", "help@example.org", None)
    files = [(part.get_filename(), part.get_content_type(), part.get_content()) for part in message.iter_attachments()]
    assert files == [
        ("räume.pdf", "application/pdf", b"%PDF\0\xff"),
        ("x.eml", "application/octet-stream", b"From: x\n\ny\n"),
    ]
    assert [key for _, key in relay.intake.claims] == ["k1"]
    assert relay.intake.submissions[0].due_at > 0


def test_the_text_may_come_from_input(relay, run):
    given, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO("Köln\n".encode()))
    try:
        done = run("-c", relay.config, "send", *MAIL[:-1], "-", "--identity", "invoices")
        assert (done.code, "one of them" in done.err) == (2, True)
        sys.stdin = io.TextIOWrapper(io.BytesIO("Köln\n".encode()))
        assert run("-c", relay.config, "send", *MAIL[2:-1], "-", "--identity", "invoices").code == 0
        sys.stdin = io.TextIOWrapper(io.BytesIO(b"\xff"))
        assert run("-c", relay.config, "send", *MAIL[:-1], "-").code == 1
    finally:
        sys.stdin = given
    _, message = sent(relay)
    assert (message["From"], message.get_content()) == ("Billing <billing@example.com>", "Köln\n")


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--to", "nobody"), 2, "to: the address has no domain"),
        (("--cc", "a\nBcc: e@x.example"), 2, "cc: has a line end"),
        (("--attach", "/nowhere/x.pdf"), 1, "cannot read /nowhere/x.pdf: no such file"),
        (("--send-at", "tomorrow"), 2, "send_at: must be a time"),
        (("--idempotency-key", "ä"), 2, "printable ASCII"),
        (("--html", "-", "--body", "-"), 2, "only one"),
    ],
)
def test_what_cannot_be_sent_is_a_sentence(relay, run, more, code, words):
    done = run("-c", relay.config, "send", *MAIL, *more)
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert relay.intake.submissions == []


def test_with_no_relay_running_it_says_so(run, tmp_path):
    config = tmp_path / "relay.yaml"
    config.write_text("spool: {url: sqlite:///var/spool.db}\n")
    done = run("-c", config, "send", *MAIL)
    assert (done.code, done.out) == (1, "")
    assert "no relay answers" in done.err


def test_help_has_an_example(run):
    assert "relay send --from" in run("send", "--help").out.partition("Example:")[2]
