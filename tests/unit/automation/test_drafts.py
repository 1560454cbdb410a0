"""What was rendered is judged as strictly as a request is, at its place in the rule."""

from __future__ import annotations

from typing import Any

import pytest

from relay.automation import drafts
from relay.automation.jobs import Problem
from relay.compose.draft import Attachment, Draft
from relay.compose.mailboxes import Mailbox
from relay.model import Action, Enclosure, MailTemplate

FILE = Enclosure(filename="a.txt", content="text")
FULL = MailTemplate(
    to=("to0", "to1"),
    cc=("cc",),
    bcc=("bcc",),
    sender="from",
    reply_to="reply_to",
    subject="subject",
    text="body",
    html="html",
    attachments=(FILE, Enclosure(filename="b.pdf", content="AAEC", content_type="type", base64=True)),
)
GOOD: dict[tuple[str | int, ...], str] = {
    ("to", 0): "Ann <ann@example.org>",
    ("to", 1): "bob@example.org",
    ("cc",): "cid@example.org",
    ("bcc",): "dan@example.org",
    ("from",): "shop@example.com",
    ("reply_to",): "help@example.com",
    ("subject",): "Hello",
    ("body",): "Hello.\n",
    ("html",): "<p>Hello.</p>",
    ("attachments", 0, "filename"): "a.txt",
    ("attachments", 0, "content"): "grüße",
    ("attachments", 1, "filename"): "b.pdf",
    ("attachments", 1, "content_base64"): "AAEC",
    ("attachments", 1, "content_type"): "application/pdf",
}
DATA = ("actions", 3, "data")
EVERY = sorted(GOOD, key=str)
LINES = [place for place in EVERY if place[-1] not in ("body", "html", "content", "content_base64")]


def made(mail: MailTemplate, **changed: str) -> Draft | Problem:
    """Of action 3. Keys: the place below `data` with __ between; what is not given renders to what is in GOOD."""
    action = Action(service="smtp.send_email", mail=mail)
    job = drafts.job(action, 3)
    said = {tuple(int(p) if p.isdigit() else p for p in key.split("__")): value for key, value in changed.items()}
    values = [(GOOD | said)[text.place[3:]] for text in job.texts]
    return drafts.draft(action, 3, job, values)


def of(place: tuple[str | int, ...], value: str, mail: MailTemplate = FULL) -> Draft | Problem:
    return made(mail, **{"__".join(map(str, place)): value})


def good(found: Draft | Problem) -> Draft:
    assert isinstance(found, Draft), found
    return found


def test_a_job_has_every_text_with_its_place() -> None:
    job = drafts.job(Action(service="smtp.send_email", mail=FULL, condition="x"), 3)
    assert job.condition == "x"
    assert {text.place[:3] for text in job.texts} == {DATA}
    assert [text.place[3:] for text in job.texts] == list(GOOD)
    assert [text.place[3:] for text in job.texts if text.html] == [("html",)]


@pytest.mark.parametrize(
    ("filename", "kind", "base64", "html"),
    [
        ("a.html", "", False, True),
        ("{{ x }}.HTM", "", False, True),
        ("a.txt", "text/html", False, True),
        ("a.html", "text/plain", False, False),
        ("a.html", "", True, False),
        ("a.svg", "", False, True),
        ("a.xhtml", "", False, True),
        ("a", "image/svg+xml", False, True),
        ("a", "application/xml; charset=utf-8", False, True),
        ("a.xml", "text/csv", False, False),
        ("a.csv", "", False, False),
    ],
)
def test_H3_a_file_of_markup_is_escaped_as_html(filename: str, kind: str, base64: bool, html: bool) -> None:
    file = Enclosure(filename=filename, content="x", content_type=kind, base64=base64)
    mail = MailTemplate(to=("to",), subject="s", attachments=(file,))
    job = drafts.job(Action(service="smtp.send_email", mail=mail), 0)
    assert next(text.html for text in job.texts if str(text.place[-1]).startswith("content")) is html
    assert not any(text.html for text in job.texts if text.place[-1] in ("filename", "subject"))


def test_a_draft_has_what_was_rendered() -> None:
    assert good(made(FULL)) == Draft(
        to=(Mailbox("ann@example.org", "Ann"), Mailbox("bob@example.org")),
        cc=(Mailbox("cid@example.org"),),
        bcc=(Mailbox("dan@example.org"),),
        sender=Mailbox("shop@example.com"),
        reply_to=(Mailbox("help@example.com"),),
        subject="Hello",
        text="Hello.\n",
        html="<p>Hello.</p>",
        attachments=(
            Attachment(filename="a.txt", content="grüße".encode(), content_type="text/plain; charset=utf-8"),
            Attachment(filename="b.pdf", content=b"\0\1\2", content_type="application/pdf"),
        ),
    )


@pytest.mark.parametrize("place", EVERY, ids=str)
@pytest.mark.parametrize("bad", ["a\ud800b@example.org", "a\x00b@example.org"])
def test_H1_no_field_has_control_characters_or_half_a_surrogate_pair(place: tuple[str | int, ...], bad: str) -> None:
    if place == ("attachments", 0, "content") and "\x00" in bad:
        return  # a file may have anything in it
    found = of(place, bad)
    assert isinstance(found, Problem)
    assert found.place == (*DATA, *place)
    assert bad not in found.text


@pytest.mark.parametrize("place", LINES, ids=str)
@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\x0b", "\x85", "\u2028", "\r\n\r\n", "=?utf-8?q?=0d=0a?="])
def test_H1_no_line_end_gets_into_a_header(place: tuple[str | int, ...], end: str) -> None:
    found = of(place, f"ann@example.org{end}Bcc: eve@evil.example")
    assert isinstance(found, Problem)
    assert found.place == (*DATA, *place)


@pytest.mark.parametrize("place", [("to", 0), ("to", 1), ("cc",), ("bcc",), ("from",), ("reply_to",)], ids=str)
@pytest.mark.parametrize(
    "value",
    [
        "a@x.example, b@y.example",
        "a@x.example,b@y.example",
        "a@x.example; b@y.example",
        "Ann <a@x.example>, Bob <b@y.example>",
        "a@x.example, Bob <b@y.example>",
        "<a@x.example>,<b@y.example>",
    ],
)
def test_H1_each_is_one_mailbox_and_the_fix_is_said(place: tuple[str | int, ...], value: str) -> None:
    found = of(place, value)
    assert isinstance(found, Problem)
    assert found.place == (*DATA, *place)
    assert "write a list" in found.text


@pytest.mark.parametrize("value", ["nobody", "a b@example.org", "group:;", "@x.example", "x" * 2000, "<>"])
def test_H1_what_is_no_mailbox(value: str) -> None:
    found = of(("to", 0), value)
    assert isinstance(found, Problem)
    assert found.place == (*DATA, "to", 0)
    assert found.text


def test_a_name_may_have_a_comma_in_quotes() -> None:
    assert good(made(FULL, to__0='"Name, Inc. x@y" <a@x.example>')).to[0] == Mailbox("a@x.example", "Name, Inc. x@y")


def test_one_alone_has_a_place_without_a_number() -> None:
    found = made(MailTemplate(to=("x",), subject="s", text="t"), to="")
    assert isinstance(found, Problem)
    assert found.place == (*DATA, "to")
    assert "is empty" in found.text


@pytest.mark.parametrize("place", [("to", 0), ("to", 1), ("subject",), ("attachments", 0, "filename")], ids=str)
@pytest.mark.parametrize("empty", ["", " \n"])
def test_what_is_needed_may_not_be_empty(place: tuple[str | int, ...], empty: str) -> None:
    found = of(place, empty)
    assert isinstance(found, Problem)
    assert found.place == (*DATA, *place)


def test_what_is_optional_and_empty_is_left_out() -> None:
    found = good(made(FULL, cc="", bcc=" ", **{"from": "\n"}, reply_to="", attachments__1__content_type=""))
    assert (found.cc, found.bcc, found.sender, found.reply_to) == ((), (), None, ())
    assert found.attachments[1].content_type == "application/pdf"  # by its name


def test_an_empty_text_is_a_text() -> None:
    assert good(made(FULL, body="")).text == ""


@pytest.mark.parametrize("white", ["\n", "\r\n", "  \t"])
def test_ends_of_a_line_are_stripped(white: str) -> None:
    found = good(made(FULL, subject=f"{white}Hello{white}", to__0=f"{white}ann@example.org{white}"))
    assert (found.subject, found.to[0].address) == ("Hello", "ann@example.org")


def test_a_subject_is_bounded() -> None:
    assert good(made(FULL, subject="x" * 998))
    found = made(FULL, subject="x" * 999)
    assert isinstance(found, Problem)
    assert "998" in found.text


def test_from_and_identity_are_both_kept_for_who_knows_identities() -> None:
    mail = MailTemplate(to=("to",), sender="from", identity="{{ x }}", subject="s", text="t")
    found = good(made(mail, to="a@x.example", identity=" invoices "))
    assert (found.identity, found.sender) == ("invoices", Mailbox("shop@example.com"))


@pytest.mark.parametrize(
    ("value", "content"),
    [("AAEC", b"\0\1\2"), ("AA\r\nEC\n", b"\0\1\2"), ("AA EC", b"\0\1\2"), ("", b"")],
)
def test_base64_is_decoded(value: str, content: bytes) -> None:
    assert good(made(FULL, attachments__1__content_base64=value)).attachments[1].content == content


@pytest.mark.parametrize("value", ["A", "AAE", "AA-C", "é", "{}"])
def test_what_is_no_base64(value: str) -> None:
    found = made(FULL, attachments__1__content_base64=value)
    assert isinstance(found, Problem)
    assert found.place == (*DATA, "attachments", 1, "content_base64")
    assert "base64" in found.text


@pytest.mark.parametrize("kind", ["pdf", "multipart/mixed", "message/rfc822", "text/plain; name=x", "a/b\r\nX: y"])
def test_H1_what_is_no_content_type(kind: str) -> None:
    found = made(FULL, attachments__1__content_type=kind)
    assert isinstance(found, Problem)
    assert found.place == (*DATA, "attachments", 1, "content_type")


@pytest.mark.parametrize("place", EVERY)
@pytest.mark.parametrize(
    "value", ["s3cr3t\r\nX: y", "message/s3cr3t", "multipart/s3cr3t", "a@s3cr3t..x", "s3cr3t, b@x"]
)
def test_H8_no_problem_repeats_what_was_rendered(place: tuple[str | int, ...], value: str) -> None:
    found = of(place, value)
    assert isinstance(found, Draft) or "s3cr3t" not in found.text


def kind_of(filename: str, kind: str = "") -> Draft | Problem:
    file = Enclosure(filename="x", content="x", content_type="x" if kind else "")
    mail = MailTemplate(to=("to",), subject="s", attachments=(file,))
    said: dict[str, Any] = {"attachments__0__filename": filename, "attachments__0__content_type": kind}
    return made(mail, to="a@x.example", **said)


@pytest.mark.parametrize(
    ("filename", "kind", "becomes"),
    [
        ("a.txt", "", "text/plain; charset=utf-8"),
        ("a.json", "", "application/json"),
        ("a.unknown", "", "application/octet-stream"),
        ("a.eml", "", "application/octet-stream"),
        ("a.tar.gz", "", "application/octet-stream"),
        ("a", "text/csv", "text/csv; charset=utf-8"),
        ("a", "text/csv; charset=UTF-8", "text/csv; charset=UTF-8"),
        ("a", "application/pdf", "application/pdf"),
    ],
)
def test_text_is_said_to_be_utf_8(filename: str, kind: str, becomes: str) -> None:
    assert good(kind_of(filename, kind)).attachments[0].content_type == becomes


def test_text_in_another_charset_is_refused() -> None:
    found = kind_of("a.txt", "text/plain; charset=iso-8859-1")
    assert isinstance(found, Problem)
    assert "utf-8" in found.text


@pytest.mark.parametrize("name", ["../x", "a\\b", ".", "x" * 256])
def test_H1_what_is_no_file_name(name: str) -> None:
    found = made(FULL, attachments__0__filename=name)
    assert isinstance(found, Problem)
    assert found.place == (*DATA, "attachments", 0, "filename")


@pytest.mark.parametrize(
    ("field", "draft", "name"),
    [
        ("to", Draft(), "to"),
        ("identity", Draft(), "identity"),
        ("text", Draft(), "body"),
        ("attachments", Draft(text=""), "body"),
        ("attachments", Draft(html=""), "html"),
        ("attachments", Draft(attachments=(Attachment(filename="a", content=b""),)), "attachments"),
    ],
)
def test_what_is_said_of_a_whole_mail_has_a_place_in_the_rule(field: str, draft: Draft, name: str) -> None:
    assert drafts.place(draft, field, 3) == (*DATA, name)
